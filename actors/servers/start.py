"""Before the first page: whether servers answer, and what they serve."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from actors.servers.address import root_of
from actors.servers.failures import message_in
from actors.servers.key import ApiKey
from manifests.errors import ConfigError

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Listing:
    """What one server says it serves. ``models`` is None where it does not say."""

    address: str
    models: tuple[str, ...] | None
    is_vllm: bool = False
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """The model to ask for, a server that serves it, and whether all that answered are vLLM's."""

    model: str
    address: str
    is_vllm: bool
    max_model_len: int | None


class StartCheck:
    """Asks servers what they serve, with connections of its own that do not outlive the block."""

    def __init__(self, key: ApiKey, timeout_s: float) -> None:
        self._key = key
        self._client = httpx.Client(
            headers=key.headers, timeout=timeout_s, trust_env=False, verify=_system_certificates()
        )

    def __enter__(self) -> StartCheck:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def served(self, addresses: Sequence[str], model: str) -> Served:
        """What is served where. Servers that cannot be reached are left for later, if not all are such.

        Raises ConfigError when none can be reached, one wants another key, or not all serve the model.
        """
        with ThreadPoolExecutor(AT_ONCE) as threads:
            answers = list(threads.map(self._listing, addresses))
        listings = [answer for answer in answers if isinstance(answer, Listing)]
        if not listings:
            words = "\n  ".join(
                f"{address}: {answer}" for address, answer in zip(addresses, answers, strict=True)
            )
            raise ConfigError(
                f"no server answers:\n  {words}\nstart one ('vllm serve {model or 'MODEL'} --port 8000') or "
                "give the address of one that runs (--server-url http://HOST:8000/v1)"
            )
        model = model or _only_model(listings)
        for listing in listings:
            if listing.models is not None and model not in listing.models:
                raise ConfigError(
                    f"engine.model: {listing.address} does not serve {model!r}; "
                    f"it serves {_names(listing.models)}"
                )
        lengths = [listing.max_model_len for listing in listings if listing.max_model_len]
        return Served(
            model,
            listings[0].address,
            all(listing.is_vllm for listing in listings),
            min(lengths, default=None),
        )

    def token_ids(self, served: Served, tokens: Sequence[str]) -> list[int]:
        """Ids of those tokens that a vLLM server's model has as one; none where it will not tell."""
        ids: list[int] = []
        for token in tokens:
            question = {"model": served.model, "prompt": token, "add_special_tokens": False}
            try:
                found = self._client.post(f"{root_of(served.address)}/tokenize", json=question).json()[
                    "tokens"
                ]
            except (httpx.HTTPError, ValueError, LookupError, TypeError):
                return ids
            if isinstance(found, list) and len(found) == 1 and isinstance(found[0], int):
                ids += found
        return ids

    def _listing(self, address: str) -> Listing | str:
        """What a server serves, or why it could not be asked. Raises ConfigError when it wants a key."""
        try:
            response = self._client.get(f"{address}/models")
        except httpx.HTTPError as error:
            return " ".join(str(error).split()) or type(error).__name__
        if response.status_code in (401, 403):
            raise ConfigError(f"{address}: HTTP {response.status_code}: the server {self._key.refused()}")
        if response.status_code in (404, 405, 501):
            return Listing(address, None)
        if response.status_code != 200:
            return self._key.hidden_in(f"HTTP {response.status_code}: {message_in(response.content)}")
        try:
            return _read_listing(address, response.json()["data"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return f"/models answers what is no list of models: {message_in(response.content)[:200]!r}"


@cache
def _system_certificates() -> ssl.SSLContext:
    """Those aiohttp goes by too. Loading them takes 0.1 s."""
    return ssl.create_default_context()


def _read_listing(address: str, cards: list[dict[str, Any]]) -> Listing:
    lengths = [card["max_model_len"] for card in cards if isinstance(card.get("max_model_len"), int)]
    return Listing(
        address,
        tuple(str(card["id"]) for card in cards),
        is_vllm=any(card.get("owned_by") == "vllm" for card in cards),
        max_model_len=min(lengths, default=None),
    )


def _only_model(listings: Sequence[Listing]) -> str:
    known = {model for listing in listings for model in listing.models or ()}
    if len(known) == 1:
        return known.pop()
    if not known:
        raise ConfigError(
            f"engine.model: {listings[0].address} does not say what it serves: name it with --model"
        )
    raise ConfigError(f"engine.model: the servers serve {_names(sorted(known))}: choose one with --model")


def _names(models: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(model) for model in models[:most])
    more = len(models) - most
    return (shown or "nothing") + (f" and {more} more" if more > 0 else "")
