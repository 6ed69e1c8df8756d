"""Addresses of OpenAI-compatible servers as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from manifests.errors import ConfigError

EXAMPLE = "http://localhost:8000/v1"


def server_addresses(urls: Iterable[str]) -> tuple[str, ...]:
    """Each server's base address, without a slash at its end and each once: ``http://host:8000/v1``.

    ``/v1`` is added where there is no path; any other path is the provider's own and stands as it is.
    Raises ConfigError for what is no address of a server, without showing a password in it.
    """
    addresses = tuple(dict.fromkeys(_address(url.strip()) for url in urls))
    if not addresses:
        raise ConfigError(
            "engine.openai.server_urls: the openai engine needs the address of a server: "
            f"--server-url {EXAMPLE}; 'vllm serve MODEL --port 8000' starts one"
        )
    return addresses


def server_root(address: str) -> str:
    """Where a server has what is not OpenAI's (vLLM's ``/tokenize``)."""
    return address.removesuffix("/v1")


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        why = "" if "@" in url else f": {error}"  # which may quote a password
        raise ConfigError(f"engine.openai.server_urls: not an address, like {EXAMPLE}{why}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"engine.openai.server_urls: the address of {parts.hostname} holds a user name or password: "
            "leave them out; a key is read from the environment variable that engine.openai.api_key_env names"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(f"engine.openai.server_urls: must be like {EXAMPLE}; got {url!r}")
    if parts.query or parts.fragment or any(mark.isspace() for mark in url):
        shown = url.partition("?")[0]  # what follows is often a key
        raise ConfigError(
            f"engine.openai.server_urls: only scheme, host, port and path, like {EXAMPLE}; got {shown!r} and "
            "more: a key is read from the environment variable that engine.openai.api_key_env names"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc.lower()}{path or '/v1'}"
