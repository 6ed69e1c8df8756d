"""Who gets the next request among several servers, by the pool's own words: no HTTP here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engines.openai import pool as pool_module
from actors.engines.openai.failures import Fault, ServerFailure
from actors.engines.openai.pool import Server, ServerPool
from manifests.errors import EngineUnavailable

DOWN = ServerFailure(Fault.DOWN, "refused")
BUSY = ServerFailure(Fault.BUSY, "later")


@pytest.fixture(autouse=True)
def no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "FIRST_REST_S", 0.0)


def run(
    work: Callable[[ServerPool], Coroutine[Any, Any, None]], servers: int = 2, outage_s: float = 60
) -> None:
    async def main() -> None:
        pool = ServerPool([f"http://{number}/v1" for number in range(servers)], 10, 60.0)
        await asyncio.wait_for(work(pool), 10)

    asyncio.run(main())


async def fail(pool: ServerPool, server: Server, failure: ServerFailure = DOWN) -> None:
    """Have one request to this server fail."""
    server.in_flight += 1
    pool.failed(server, failure, time.monotonic())


async def answer(pool: ServerPool, server: Server, sent_at: float | None = None) -> None:
    server.in_flight += 1
    pool.answered(server, time.monotonic() if sent_at is None else sent_at)


def waits(task: asyncio.Future[Any]) -> bool:
    return not task.done()


def test_a_request_goes_to_another_server_than_the_one_that_failed_it() -> None:
    async def work(pool: ServerPool) -> None:
        first, second = pool.servers
        for _ in range(9):
            assert await pool.acquire(avoid=first) is second
        assert await pool.acquire() is first, "the least loaded"
        await pool.acquire(avoid=first)
        assert await pool.acquire(avoid=second) is first
        assert await pool.acquire(avoid=first) is first, "the other is full"

    run(work)


def test_a_server_that_is_down_is_tried_by_one_request_at_a_time() -> None:
    async def work(pool: ServerPool) -> None:
        (server,) = pool.servers
        await fail(pool, server)
        assert await pool.acquire() is server
        second, third = (asyncio.ensure_future(pool.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        assert waits(second)
        pool.answered(server, time.monotonic())
        assert [await second, await third] == [server, server]

    run(work, servers=1)


def test_an_answer_to_an_old_request_does_not_mean_that_a_server_is_back() -> None:
    async def work(pool: ServerPool) -> None:
        (server,) = pool.servers
        long_ago = time.monotonic()
        await fail(pool, server)
        await answer(pool, server, sent_at=long_ago)
        assert server.is_down
        await answer(pool, server)
        assert not server.is_down

    run(work, servers=1)


def test_a_busy_server_gets_fewer_but_not_one_by_one() -> None:
    async def work(pool: ServerPool) -> None:
        (server,) = pool.servers
        await fail(pool, server, BUSY)
        assert [await pool.acquire() for _ in range(5)] == [server] * 5
        sixth = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        assert waits(sixth)
        sixth.cancel()

    run(work, servers=1)


def test_a_server_that_asks_for_a_day_is_asked_again_when_an_outage_would_be_over() -> None:
    async def work() -> None:
        servers = ServerPool(["a", "b"], 8, outage_s=0.05)
        for _ in range(2):
            server = await servers.acquire()
            if server.address == "a":
                busy = ServerFailure(Fault.BUSY, "HTTP 429", 429, retry_after_s=86_400.0)
                servers.failed(server, busy, time.monotonic())
            else:
                servers.answered(server, time.monotonic())
        held = [await servers.acquire() for _ in range(8)]
        assert {server.address for server in held} == {"b"}
        assert (await servers.acquire()).address == "a"

    asyncio.run(asyncio.wait_for(work(), 20))


def test_a_place_given_to_somebody_who_left_is_given_to_the_next() -> None:
    async def work(pool: ServerPool) -> None:
        (server,) = pool.servers
        for _ in range(10):
            await pool.acquire()
        leaving = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        pool.release(server)  # hands it to the one who leaves in the same turn of the loop
        leaving.cancel()
        staying = asyncio.ensure_future(pool.acquire())
        assert await staying is server
        assert server.in_flight == 10

    run(work, servers=1)


def test_hope_is_gone_when_all_servers_have_failed_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now))

    async def work(pool: ServerPool) -> None:
        nonlocal now
        first, second = pool.servers
        await fail(pool, first)
        now += 100
        pool.release(await pool.acquire(avoid=first))  # the second never failed
        await fail(pool, second)
        now += 59
        pool.release(await pool.acquire())  # nor has it failed for long
        await answer(pool, second)
        now += 59
        pool.release(await pool.acquire())  # it answered
        await fail(pool, second)
        now += 60
        with pytest.raises(EngineUnavailable, match=r"no server has answered for 60 s"):
            await pool.acquire()

    run(work)
