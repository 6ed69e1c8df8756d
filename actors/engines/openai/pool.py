"""Several servers as one: who gets the next request, who rests, and when all hope is gone."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.engines.openai.failures import Fault, ServerFailure
from actors.engines.openai.limit import AdaptiveLimit
from manifests.errors import EngineUnavailable

FIRST_REST_S = 0.5
LONGEST_REST_S = 15.0
REPORTED_AFTER_S = 2.0
"""An outage that is over sooner is not worth a word."""
QUIET_S = 60.0
"""No answer to anything for so long is told, although it may be that pages take their time."""


def backoff_s(times: int) -> float:
    """How long to wait after so many failures in a row: doubling, and spread so that not all come at once."""
    return float(min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(times - 1, 16)) * random.uniform(0.5, 1.0))  # noqa: S311


@dataclass(slots=True, eq=False)
class Server:
    """One server's state. Times are ``time.monotonic``'s."""

    address: str
    limit: AdaptiveLimit
    in_flight: int = 0
    rests: int = 0
    """Rests since its last good answer."""
    rested_at: float = float("-inf")
    open_at: float = float("-inf")
    is_down: bool = False
    """Then one request at a time finds out whether it is back."""
    failing_since: float | None = None
    answered_at: float = float("-inf")
    last_error: str = ""

    def has_room(self, now: float) -> bool:
        return now >= self.open_at and self.in_flight < (1 if self.is_down else self.limit.value)

    @property
    def load(self) -> float:
        return self.in_flight / self.limit.value


@dataclass(slots=True, eq=False)
class _Waiter:
    avoid: Server | None
    turn: asyncio.Future[Server] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ServerPool:
    """Hands out places at servers, the least loaded first, in the order they are asked for.

    Every place taken is given back by exactly one of ``answered``, ``failed`` and ``release``. Used from
    one event loop.
    """

    def __init__(self, addresses: Sequence[str], most: int, outage_s: float) -> None:
        self.servers = [Server(address, AdaptiveLimit(most)) for address in addresses]
        self._outage_s = outage_s
        self._waiters: deque[_Waiter] = deque()
        self._quiet_since = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_answered(self) -> bool:
        """Whether any server ever answered well."""
        return any(server.answered_at > float("-inf") for server in self.servers)

    @property
    def waiting(self) -> str:
        """What requests wait for at present, as a sentence for people; empty while servers answer."""
        now = time.monotonic()
        outage_s = now - self._silent_since()
        if outage_s >= REPORTED_AFTER_S:
            limit = f"engine.openai.outage_s is {self._outage_s:g}"
            return f"servers do not answer for {outage_s:.0f} s ({limit}): {self._errors()}"
        in_flight = sum(server.in_flight for server in self.servers)
        if in_flight and now - self._quiet_since >= QUIET_S:
            return f"no answer for {now - self._quiet_since:.0f} s to any of {in_flight} requests"
        return ""

    async def acquire(self, avoid: Server | None = None) -> Server:
        """A place at a server, at another than ``avoid`` where there is one with room.

        Waits for room. Raises EngineUnavailable when no server has answered well for as long as an outage may
        last.
        """
        waiter = _Waiter(avoid)
        self._waiters.append(waiter)
        self._hand_out()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self.release(waiter.turn.result())
            raise

    def release(self, server: Server) -> None:
        """Give a place back without an answer."""
        server.in_flight -= 1
        self._hand_out()

    def answered(self, server: Server, sent_at: float) -> None:
        """Give a place back after a good answer to a request sent at ``sent_at``."""
        server.answered_at = self._quiet_since = time.monotonic()
        server.failing_since = None
        if sent_at >= server.rested_at:
            server.rests, server.is_down = 0, False
        server.limit.grow()
        self.release(server)

    def failed(self, server: Server, failure: ServerFailure, sent_at: float) -> None:
        """Give a place back after a failure. A busy server rests, and one that is down is tried gently."""
        now = time.monotonic()
        server.last_error = failure.message
        if failure.fault in (Fault.BUSY, Fault.DOWN, Fault.TIMEOUT, Fault.SETUP):
            server.limit.cut(sent_at, now)
        if failure.fault in (Fault.BUSY, Fault.DOWN, Fault.SETUP):
            self._rest(server, failure, sent_at, now)
        self.release(server)

    def _rest(self, server: Server, failure: ServerFailure, sent_at: float, now: float) -> None:
        server.failing_since = now if server.failing_since is None else server.failing_since
        server.is_down = server.is_down or failure.fault is not Fault.BUSY
        if sent_at >= server.rested_at:  # else it is news of before the last rest
            server.rests += 1
            server.rested_at = now
            server.open_at = max(server.open_at, now + backoff_s(server.rests))
        if failure.retry_after_s is not None:  # a wish beyond an outage may be a mistake, which would park it
            rest_s = min(failure.retry_after_s, self._outage_s)
            server.open_at = max(server.open_at, now + rest_s)

    def _hand_out(self) -> None:
        now = time.monotonic()
        while self._waiters:
            waiter = self._waiters[0]
            if waiter.turn.done():  # cancelled
                self._waiters.popleft()
                continue
            if now >= self._given_up_at():
                self._waiters.popleft()
                waiter.turn.set_exception(EngineUnavailable(self._outage()))
                continue
            server = self._next_server(waiter.avoid, now)
            if server is None:
                break
            self._waiters.popleft()
            if not any(other.in_flight for other in self.servers):
                self._quiet_since = now
            server.in_flight += 1
            waiter.turn.set_result(server)
        self._look_again(now)

    def _next_server(self, avoid: Server | None, now: float) -> Server | None:
        ready = [server for server in self.servers if server.has_room(now)]
        others = [server for server in ready if server is not avoid]
        return min(others or ready, key=lambda server: server.load, default=None)

    def _given_up_at(self) -> float:
        """When the last server to fall silent has been failing for as long as an outage may last."""
        return self._silent_since() + self._outage_s

    def _silent_since(self) -> float:
        """Since when no server answers; infinity while one does."""
        since = [server.failing_since for server in self.servers]
        return max(float("inf") if moment is None else moment for moment in since)

    def _look_again(self, now: float) -> None:
        """Where requests wait for a moment rather than for a place, look again at that moment."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._waiters:
            return
        moments = [server.open_at for server in self.servers if server.open_at > now]
        moment = min([*moments, self._given_up_at()])
        if moment < float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, moment - now), self._hand_out)

    def _errors(self) -> str:
        return "; ".join(f"{server.address}: {server.last_error}" for server in self.servers)

    def _outage(self) -> str:
        return (
            f"no server has answered for {self._outage_s:g} s ({self._errors()}): see to the server, then "
            "start this job again, which goes on where it stopped (engine.openai.outage_s is how long it "
            "waits)"
        )
