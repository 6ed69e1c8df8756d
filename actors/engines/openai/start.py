"""Before the first page: whether servers answer, and what they serve."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from actors.engines.openai.address import root_of
from actors.engines.openai.failures import failure_of_status, message_in
from actors.engines.openai.key import ApiKey
from manifests.errors import ConfigError

AT_ONCE = 32
MOST_BYTES = 16 * 2**20
"""More than any list of models takes."""


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
    """Asks servers what they serve, each question in a connection of its own."""

    def __init__(self, key: ApiKey, timeout_s: float) -> None:
        self._key = key
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(AT_ONCE)

    def __enter__(self) -> StartCheck:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown()

    def served(self, addresses: Sequence[str], model: str) -> Served:
        """What is served where. Servers that cannot be reached are left for later, if not all are such.

        Raises ConfigError when none can be reached, one wants another key, or not all serve the model.
        """
        answers = list(self._threads.map(self._listing, addresses))
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
        url = f"{root_of(served.address)}/tokenize"
        ids: list[int] = []
        for token in tokens:
            question = {"model": served.model, "prompt": token, "add_special_tokens": False}
            try:
                _, _, answer = self._threads.submit(self._ask, "POST", url, question).result()
                found = json.loads(answer)["tokens"]
            except (httpx.HTTPError, OSError, ValueError, LookupError, TypeError, RecursionError):
                return ids
            if isinstance(found, list) and len(found) == 1 and isinstance(found[0], int):
                ids += found
        return ids

    def _listing(self, address: str) -> Listing | str:
        """What a server serves, or why it could not be asked. Raises ConfigError when it wants a key."""
        try:
            status, headers, answer = self._ask("GET", f"{address}/models")
        except (TimeoutError, httpx.TimeoutException):
            return f"no answer within {self._timeout_s:g} s"
        except (httpx.HTTPError, OSError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        if status in (401, 403):
            raise ConfigError(f"{address}: HTTP {status}: the server {self._key.refused()}")
        if status in (404, 405, 501):
            return Listing(address, None)
        if status != 200:
            return self._key.hidden_in(failure_of_status(status, headers, answer).words)
        try:
            return _read_listing(address, json.loads(answer)["data"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            words = self._key.hidden_in(message_in(answer))
            return f"/models answers what is no list of models: {words[:200]!r}"

    def _ask(self, method: str, url: str, question: Any = None) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body, without the key, of an answer that is complete in time.

        httpx's own limits are between two bytes: a server that sends one now and then would be waited for
        for ever. Not for a thread in which an event loop runs.
        """

        async def ask() -> tuple[int, Mapping[str, str], bytes]:
            client = httpx.AsyncClient(
                headers=self._key.headers,
                timeout=self._timeout_s,
                trust_env=False,
                verify=_system_certificates(),
            )
            body = b""
            async with asyncio.timeout(self._timeout_s), client:
                async with client.stream(method, url, json=question) as response:
                    async for part in response.aiter_bytes():
                        body += part
                        if len(body) > MOST_BYTES:
                            break
                return response.status_code, response.headers, self._key.struck_from(body)

        return asyncio.run(ask())


@cache
def _system_certificates() -> ssl.SSLContext:
    """Those aiohttp goes by too. Loading them takes 0.1 s."""
    return ssl.create_default_context()


def _read_listing(address: str, cards: list[dict[str, Any]]) -> Listing:
    lengths = [length for card in cards if type(length := card.get("max_model_len")) is int and length > 0]
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
