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

from actors.engines.openai.address import server_root
from actors.engines.openai.chat import completion_in
from actors.engines.openai.failures import Fault, ServerFailure, failure_of_status, message_in
from actors.engines.openai.key import ApiKey
from actors.engines.openai.proxy import proxy_for
from manifests.errors import ConfigError

AT_ONCE = 32
CHAT_S = 30.0
"""For the smallest chat, which some models think about first."""
MOST_BYTES = 16 * 2**20
"""More than any list of models takes."""

Answered = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body, without the key."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What one server says it serves. ``models`` is None where it does not say."""

    address: str
    models: tuple[str, ...] | None
    is_vllm: bool = False
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A server that does not say what it serves, and what it said in place of that. ``is_there``: it may
    answer all the same."""

    address: str
    message: str
    is_there: bool
    status: int = 0


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

        One that does not say what it serves is asked for the model itself, where that is named. Raises
        ConfigError when none can be used, one wants another key, or not all serve the model.
        """
        answers = list(self._threads.map(self._listing, addresses))
        if model:
            answers = list(self._threads.map(lambda answer: self._asked_for(answer, model), answers))
        silent = [answer for answer in answers if isinstance(answer, Unlisted)]
        for answer in silent:
            if answer.status in (401, 403):
                raise ConfigError(f"{answer.address}: HTTP {answer.status}: the server {self._key.refused()}")
        listings = [answer for answer in answers if isinstance(answer, Listing)]
        if not listings:
            raise ConfigError(_silence(silent, model))
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
        url = f"{server_root(served.address)}/tokenize"
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

    def _listing(self, address: str) -> Listing | Unlisted:
        """What a server says it serves."""
        answer = self._answer(address, "GET", f"{address}/models")
        if isinstance(answer, Unlisted):
            return answer
        status, headers, body = answer
        if status in (404, 405, 501):
            return Listing(address, None)
        if status != 200:
            return self._unlisted(address, failure_of_status(status, headers, body).message, status)
        try:
            return _read_listing(address, json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            shown = self._key.hidden_in(message_in(body))[:200]
            return self._unlisted(address, f"/models answers what is no list of models: {shown!r}")

    def _asked_for(self, answer: Listing | Unlisted, model: str) -> Listing | Unlisted:
        """A server that is there, whatever it says of its models, may still serve this one: the smallest chat
        tells. Servers refuse some settings of it, but never for want of the model (which is 404)."""
        if isinstance(answer, Listing) or not answer.is_there:
            return answer
        address = answer.address
        question = {"model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1}
        chat = self._answer(address, "POST", f"{address}/chat/completions", question, CHAT_S)
        if isinstance(chat, Unlisted):
            return self._unlisted(address, f"{answer.message}; asked for {model!r}: {chat.message}")
        status, headers, body = chat
        failure = failure_of_status(status, headers, body)
        if status == 200:
            try:
                completion_in(body)
            except ServerFailure as error:
                failure = error
            else:
                return Listing(address, None)
        if failure.fault in (Fault.REQUEST, Fault.BUSY):
            return Listing(address, None)
        return self._unlisted(address, f"{answer.message}; asked for {model!r}: {failure.message}", status)

    def _unlisted(self, address: str, message: str, status: int = 0) -> Unlisted:
        return Unlisted(address, self._key.hidden_in(message), True, status)

    def _answer(
        self, address: str, method: str, url: str, question: Any = None, within_s: float = 0.0
    ) -> Answered | Unlisted:
        """What a server answers, or why it does not."""
        within_s = max(within_s, self._timeout_s)
        proxy = proxy_for(address)
        remark = proxy.remark if proxy else ""
        try:
            return self._ask(method, url, question, within_s)
        except (TimeoutError, httpx.TimeoutException) as error:
            reached = not isinstance(error, httpx.ConnectTimeout)
            return Unlisted(address, f"no answer within {within_s:g} s{remark}", reached)
        except (httpx.HTTPError, OSError) as error:
            reached = not isinstance(error, httpx.ConnectError | OSError)
            message = " ".join(str(error).split()) or type(error).__name__
            return Unlisted(address, f"{message}{remark}", reached)

    def _ask(self, method: str, url: str, question: Any = None, within_s: float = 0.0) -> Answered:
        """An answer that is complete in time.

        httpx's own limits are between two bytes: a server that sends one now and then would be waited for
        for ever. Not for a thread in which an event loop runs.
        """

        within_s = within_s or self._timeout_s
        proxy = proxy_for(url)

        async def ask() -> Answered:
            client = httpx.AsyncClient(
                headers=self._key.headers,
                timeout=httpx.Timeout(within_s, connect=self._timeout_s),
                trust_env=False,
                proxy=proxy.url if proxy else None,
                verify=_system_certificates(),
            )
            body = b""
            async with asyncio.timeout(within_s), client:
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


def _read_listing(address: str, answer: Any) -> Listing:
    """OpenAI's form of a list, or the bare one. Raises where it is neither."""
    cards = answer if isinstance(answer, list) and answer else answer["data"]
    lengths = [length for card in cards if type(length := card.get("max_model_len")) is int and length > 0]
    return Listing(
        address,
        tuple(str(card["id"]) for card in cards),
        is_vllm=any(card.get("owned_by") == "vllm" for card in cards),
        max_model_len=min(lengths, default=None),
    )


def _silence(silent: Sequence[Unlisted], model: str) -> str:
    """What to do where no server can be used."""
    failures = "\n  ".join(f"{answer.address}: {answer.message}" for answer in silent)
    if not model and any(answer.is_there for answer in silent):
        return f"engine.model: no server says what it serves: name it with --model\n  {failures}"
    return (
        f"no server answers:\n  {failures}\nstart one ('vllm serve {model or 'MODEL'} --port 8000') or "
        "give the address of one that runs (--server-url http://HOST:8000/v1)"
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
