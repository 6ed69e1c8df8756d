"""One request to whichever server has room, until it is answered or nobody will."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from actors.engines.base import Completion
from actors.engines.openai.chat import OK, Body, completion_in
from actors.engines.openai.failures import Fault, ServerFailure, failure_of_status
from actors.engines.openai.key import ApiKey
from actors.engines.openai.pool import Server, ServerPool, backoff_s
from actors.engines.openai.proxy import proxy_for
from manifests.errors import ConfigError, EngineError

KEEP_ALIVE_S = 3.0
"""Less than the 5 s after which uvicorn (vLLM's server) closes an idle connection: a request that meets
the closing is lost."""
MAX_ANSWER_BYTES = 32 * 2**20
PROBE_S = 30.0
SLOWER = 3.0
"""A page that was read before may take so many times the slowest answer when it is asked for again."""
FINAL = (Fault.REQUEST, Fault.TIMEOUT)
"""Another attempt would come to the same, or take as long."""
DOUBT_AFTER = 2
"""Attempts that come to nothing before a server is asked whether it answers anything."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits, and how often it asks."""

    connect_s: float
    answer_s: float
    attempts: int


@dataclass(slots=True)
class _Check:
    """A question to a server that failed at a page: whether it answers another."""

    sent_at: float
    answers: asyncio.Task[bool]


class ServerClient:
    """Pooled connections to the servers of a ``ServerPool``. Belongs to the event loop it is made in.

    Whether a page or its server is at fault is told by asking the server for a page that was read before: one
    that fails at it too is down for all, and where one answers it and then fails at ours again, ours is at
    fault. Until a page was read, ``probe`` stands in for it.
    """

    def __init__(self, pool: ServerPool, key: ApiKey, patience: Patience, probe: Body) -> None:
        self._pool = pool
        self._key = key
        self._patience = patience
        self._probe = probe
        self._known: Body | None = None
        self._slowest_s = 0.0
        self._checks: dict[Server, _Check] = {}
        self._proxies = {server: proxy_for(server.address) for server in pool.servers}
        self._timeout = aiohttp.ClientTimeout(total=patience.answer_s, connect=patience.connect_s)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),  # the pool limits
            headers={**key.headers, "Content-Type": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def close(self) -> None:
        for check in self._checks.values():
            check.answers.cancel()
        await self._session.close()

    async def ask(self, body: Body) -> Completion:
        """Have a server answer. Failures that are no fault of the request are waited out.

        Raises EngineError when servers that answer others do not answer this, EngineUnavailable when none has
        answered for too long, ConfigError when the first answer is that the key or the model is wrong.
        """
        attempts, refusals, avoid, proved = 0, 0, None, None
        while True:
            server = await self._pool.acquire(avoid)
            sent_at = time.monotonic()
            answer = await self._ask_one(server, body, sent_at)
            if isinstance(answer, Completion):
                return answer
            avoid = server
            self._raise_if_never_well(server, answer)
            refusals += answer.fault is Fault.REQUEST
            if refusals == 1 and answer.fault is Fault.REQUEST and len(self._pool.servers) > 1:
                continue  # it may be this server that takes no images, or fewer tokens than the others
            counts = self._speaks_against_page(server, answer, sent_at)
            attempts += counts
            final = answer.fault in FINAL or (counts and attempts >= self._patience.attempts)
            is_last = final and (server is proved or self._was_well(server, answer, sent_at))
            if server is not proved and (final or (counts and attempts == DOUBT_AFTER)):
                if not await self._answers_others(server, answer, sent_at):
                    self._raise_if_nonsense(server, answer)
                    attempts, refusals, proved = 0, 0, None
                    continue
                proved = server
            if is_last:
                raise EngineError(f"{server.address}: {answer.message}{_count(answer, attempts)}")
            if answer.fault is Fault.SPOILED:
                await asyncio.sleep(backoff_s(attempts))

    def _was_well(self, server: Server, failure: ServerFailure, sent_at: float) -> bool:
        """Whether a failed request met a server that was well, should that answer another now. If not, it may
        have come back just now: the request is sent once more, to a server of which we know."""
        if failure.fault is Fault.TIMEOUT and server.answered_at > sent_at:
            return True
        return self._known is None and not server.is_down

    async def _ask_one(self, server: Server, body: Body, sent_at: float) -> Completion | ServerFailure:
        """One attempt, and what is learned from it."""
        try:
            completion = await self._complete(server, body, self._timeout)
        except ServerFailure as failure:
            self._pool.failed(server, failure, sent_at)
            return failure
        except BaseException:
            self._pool.release(server)
            raise
        self._pool.answered(server, sent_at)
        self._known = body
        self._slowest_s = max(self._slowest_s, time.monotonic() - sent_at)
        return completion

    def _speaks_against_page(self, server: Server, failure: ServerFailure, sent_at: float) -> bool:
        """Whether an attempt counts: not when the server is busy, or is there for nobody."""
        if failure.fault in (Fault.SPOILED, Fault.TIMEOUT):
            return True
        return failure.fault in (Fault.DOWN, Fault.SETUP) and server.answered_at > sent_at

    def _raise_if_never_well(self, server: Server, failure: ServerFailure) -> None:
        """Of a server that has answered nobody yet, a refusal is for the user to see to."""
        if failure.fault is Fault.SETUP and not self._pool.has_answered:
            remedy = "check --server-url and --model"
            if failure.status in (401, 403):
                remedy = f"the server {self._key.refused()}"
            raise ConfigError(f"{server.address}: {failure.message}: {remedy}")

    def _raise_if_nonsense(self, server: Server, failure: ServerFailure) -> None:
        """A server that is up, and has said nothing of use to anybody yet, will not by waiting."""
        if failure.status == OK and not self._pool.has_answered:
            raise ConfigError(
                f"{server.address}: {failure.message}: is it an OpenAI-compatible server, and the model one "
                "for chats? Check --server-url and --model"
            )

    async def _answers_others(self, server: Server, failure: ServerFailure, sent_at: float) -> bool:
        """Whether a server that failed just now at a request answers another; if not, it is down.

        It is asked once and not by every request it failed at.
        """
        failed_at = time.monotonic()
        if server.is_down and sent_at < server.rested_at:
            return False
        if self._known is None and failure.fault is Fault.REQUEST:
            return True  # nothing to compare with: the first page, or the warm-up
        check = self._checks.get(server)
        while check is not None and check.sent_at < failed_at:
            if check.answers.done():
                check = None
            elif not await asyncio.shield(check.answers):
                return False
            else:
                check = self._checks.get(server)
        if check is None:
            probed = failure.fault is Fault.TIMEOUT or self._known is None
            bodies = [*([self._probe] if probed else []), *([self._known] if self._known else [])]
            server.is_down |= failure.fault is Fault.TIMEOUT  # until it answers, one request at a time
            check = _Check(time.monotonic(), asyncio.ensure_future(self._is_well(server, bodies)))
            self._checks[server] = check
        return await asyncio.shield(check.answers)

    async def _is_well(self, server: Server, bodies: list[Body]) -> bool:
        """Whether a server answers all of these."""
        server.in_flight += 1
        sent_at = time.monotonic()
        for body in bodies:
            longest_s = PROBE_S if body is self._probe else max(PROBE_S, SLOWER * self._slowest_s)
            timeout = aiohttp.ClientTimeout(total=min(longest_s, self._patience.answer_s))
            try:
                await self._complete(server, body, timeout)
            except ServerFailure as failure:
                if body is self._probe and failure.fault is Fault.REQUEST:
                    continue  # it answers: in a model's place that takes no question without an image
                if failure.fault is Fault.TIMEOUT and server.answered_at > sent_at:
                    break  # it is slow, and answers others
                self._pool.failed(server, _for_all(failure, body is self._probe), sent_at)
                return False
            except BaseException:
                self._pool.release(server)
                raise
        self._pool.answered(server, sent_at)
        return True

    async def _complete(self, server: Server, body: Body, timeout: aiohttp.ClientTimeout) -> Completion:
        """The server's answer. Raises ServerFailure, in words without the key."""
        proxy = self._proxies[server]
        try:
            async with self._session.post(
                f"{server.address}/chat/completions",
                data=body.parts(),
                headers={"Content-Length": str(body.size)},
                timeout=timeout,
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
            ) as response:
                answer = self._key.struck_from(await _limited(response.content))
            if response.status != OK:
                raise failure_of_status(response.status, response.headers, answer)
            return completion_in(answer)
        except ServerFailure as error:
            failure = error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            failure = ServerFailure(Fault.DOWN, f"cannot be reached: {_message(error)}")
        except aiohttp.ClientHttpProxyError as error:
            failure = ServerFailure(Fault.DOWN, f"cannot be reached: the proxy answers HTTP {error.status}")
        except TimeoutError:
            failure = ServerFailure(Fault.TIMEOUT, f"no answer within {timeout.total:g} s")
        except (aiohttp.ClientError, OSError) as error:
            failure = ServerFailure(
                Fault.SPOILED, f"the connection broke before the answer: {_message(error)}"
            )
        failure.message = self._key.hidden_in(failure.message)
        if proxy and failure.fault in (Fault.DOWN, Fault.TIMEOUT, Fault.SETUP):
            failure.message += proxy.remark
        raise failure


def _for_all(failure: ServerFailure, of_probe: bool) -> ServerFailure:
    """A failure at what was answered before, or at the smallest question: one of the server's."""
    if failure.fault in (Fault.BUSY, Fault.DOWN, Fault.SETUP):
        return failure
    message = failure.message if of_probe else f"{failure.message} (also to a page that was read before)"
    return ServerFailure(Fault.DOWN, message, failure.status, failure.retry_after_s)


def _count(failure: ServerFailure, attempts: int) -> str:
    return "" if failure.fault is Fault.REQUEST else f" (attempt {max(attempts, 1)})"


async def _limited(content: aiohttp.StreamReader) -> bytes:
    """A body, unless it is larger than any answer."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise ServerFailure(Fault.SPOILED, f"its answer is larger than {MAX_ANSWER_BYTES:,} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _message(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
