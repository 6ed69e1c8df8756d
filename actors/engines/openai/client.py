"""One request to whichever server has room, until it is answered or nobody will."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from actors.engines.base import Completion
from actors.engines.openai.chat import OK, Body, completion_of
from actors.engines.openai.failures import Fault, ServerFailure, failure_of_status
from actors.engines.openai.key import ApiKey
from actors.engines.openai.pool import Server, ServerPool, backoff_s
from manifests.errors import ConfigError, EngineError

KEEP_ALIVE_S = 3.0
"""Less than the 5 s after which uvicorn (vLLM's server) closes an idle connection: a request that meets
the closing is lost."""
MAX_ANSWER_BYTES = 32 * 2**20
PROBE_S = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits, and how often it asks."""

    connect_s: float
    answer_s: float
    attempts: int


class ServerClient:
    """Pooled connections to the servers of a ``ServerPool``. Belongs to the event loop it is made in."""

    def __init__(self, pool: ServerPool, key: ApiKey, patience: Patience, probe: Body) -> None:
        self._pool = pool
        self._key = key
        self._patience = patience
        self._probe = probe
        self._timeout = aiohttp.ClientTimeout(total=patience.answer_s, connect=patience.connect_s)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),  # the pool limits
            headers={**key.headers, "Content-Type": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, body: Body) -> Completion:
        """Have a server answer. Failures that are no fault of the request are waited out.

        Raises EngineError when servers that answer others do not answer this, EngineDead when none has
        answered for too long, ConfigError when the first answer is that the key or the model is wrong.
        """
        first_sent_at, attempts, refusals, avoid = time.monotonic(), 0, 0, None
        while True:
            server = await self._pool.acquire(avoid)
            sent_at = time.monotonic()
            answer = await self._ask_one(server, body, sent_at)
            if isinstance(answer, Completion):
                return answer
            avoid = server
            refusals += answer.fault is Fault.REQUEST
            if refusals == 1 and answer.fault is Fault.REQUEST and len(self._pool.servers) > 1:
                continue  # it may be this server that takes no images, or fewer tokens than the others
            self._raise_if_final(server, answer)
            if answer.fault is Fault.SPOILED or server.answered_at > sent_at:  # it does answer others
                attempts += 1
            if attempts >= self._patience.attempts or answer.fault is Fault.TIMEOUT:
                if server.answered_at > first_sent_at or await self._is_well(server):
                    raise EngineError(f"{server.address}: {answer.words} (attempt {max(attempts, 1)})")
                self._raise_if_nonsense(server, answer)
                first_sent_at, attempts = time.monotonic(), 0
            elif answer.fault is Fault.SPOILED:
                await asyncio.sleep(backoff_s(attempts))

    async def _ask_one(self, server: Server, body: Body, sent_at: float) -> Completion | ServerFailure:
        """One attempt, and what the pool learns from it."""
        try:
            completion = await self._complete(server, body, self._timeout)
        except ServerFailure as failure:
            self._pool.failed(server, failure, sent_at)
            return failure
        except BaseException:
            self._pool.release(server)
            raise
        self._pool.answered(server, sent_at)
        return completion

    def _raise_if_final(self, server: Server, failure: ServerFailure) -> None:
        if failure.fault is Fault.REQUEST:
            raise EngineError(f"{server.address}: {failure.words}")
        if failure.fault is Fault.SETUP and not self._pool.has_answered:
            remedy = "check --server-url and --model"
            if failure.status in (401, 403):
                remedy = f"the server {self._key.refused()}"
            raise ConfigError(f"{server.address}: {failure.words}: {remedy}")

    def _raise_if_nonsense(self, server: Server, failure: ServerFailure) -> None:
        """A server that is up, and has said nothing of use to anybody yet, will not by waiting."""
        if failure.status == OK and not self._pool.has_answered:
            raise ConfigError(
                f"{server.address}: {failure.words}: is it an OpenAI-compatible server, and the model one "
                "for chats? Check --server-url and --model"
            )

    async def _is_well(self, server: Server) -> bool:
        """Whether a server that failed at one request answers the smallest one; if not, it is down.

        It counts as down while it is asked, so that it is asked once and not by every request it held.
        """
        if server.is_down:
            return False
        server.is_down = True
        server.in_flight += 1
        sent_at = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=min(PROBE_S, self._patience.answer_s))
        try:
            await self._complete(server, self._probe, timeout)
        except ServerFailure as failure:
            if failure.fault is not Fault.REQUEST:
                down = ServerFailure(Fault.DOWN, failure.words, failure.status, failure.retry_after_s)
                self._pool.failed(server, down, sent_at)
                return False
        except BaseException:
            self._pool.release(server)
            raise
        self._pool.answered(server, sent_at)
        return True

    async def _complete(self, server: Server, body: Body, timeout: aiohttp.ClientTimeout) -> Completion:
        """The server's answer. Raises ServerFailure, in words without the key."""
        try:
            async with self._session.post(
                f"{server.address}/chat/completions",
                data=body.parts(),
                headers={"Content-Length": str(body.size)},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answer = self._key.struck_from(await _limited(response.content))
            if response.status != OK:
                raise failure_of_status(response.status, response.headers, answer)
            return completion_of(answer)
        except ServerFailure as error:
            failure = error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            failure = ServerFailure(Fault.DOWN, f"cannot be reached: {_words(error)}")
        except TimeoutError:
            failure = ServerFailure(Fault.TIMEOUT, f"no answer within {timeout.total:g} s")
        except (aiohttp.ClientError, OSError) as error:
            failure = ServerFailure(Fault.SPOILED, f"the connection broke before the answer: {_words(error)}")
        failure.words = self._key.hidden_in(failure.words)
        raise failure


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


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
