"""An engine that hangs against pages that do: the page reader with engines that give up single requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from actors import page_reader
from actors.chunks import TextLayer
from actors.engines.base import Completion, Request
from actors.retry import RetryPolicy
from manifests.errors import EngineDead, EngineError
from results.rows import Status
from tests.actors.test_page_reader import Bench, FakeEngine, chunk, page, say_page

LIMIT_S = 0.2


@pytest.fixture(autouse=True)
def no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_reader, "LINGER_S", 0.0)


def hanging(hangs: Callable[[int, int], bool]) -> Callable[[Request], Awaitable[Completion]]:
    """``hangs`` is given the number of the request and of its page."""
    count = 0

    async def answer(request: Request) -> Completion:
        nonlocal count
        count += 1
        if hangs(count, request.page):
            await asyncio.Event().wait()
        return await say_page(request)

    return answer


def bench_for(
    answer: Callable[[Request], Awaitable[Completion]], concurrency: int = 8, attempts: int = 2
) -> Bench:
    retry = RetryPolicy(engine_error_attempts=attempts)
    return Bench(FakeEngine(answer, concurrency=concurrency), page_timeout_s=LIMIT_S, retry=retry)


@pytest.mark.parametrize("concurrency", [1, 2, 8, 64])
@pytest.mark.parametrize("attempts", [1, 2])
def test_an_engine_that_hangs_after_some_pages_is_dead_and_no_page_is_blamed(
    concurrency: int, attempts: int
) -> None:
    bench = bench_for(hanging(lambda count, page: count > 12), concurrency, attempts)
    with pytest.raises(
        EngineDead, match=r"answers nothing: several pages took 0.2 s each.*engine.page_timeout_s"
    ):
        bench.read(chunk(*map(page, range(1, 73))))
    assert len(bench.rows) == 12 and {row.status for row in bench.rows} == {Status.OK}
    assert not bench.failures
    asked = [request.page for request in bench.engine.asked]
    assert len(asked) <= 12 + 2 * (attempts * concurrency + 1), "not wave after wave"


def test_it_is_found_in_any_chunk_that_is_read_at_the_time() -> None:
    bench = bench_for(hanging(lambda count, page: count > 2))

    async def read() -> list[object]:
        chunks = [chunk(page(n)) for n in range(1, 7)]
        return await asyncio.gather(*map(bench.reader.read, chunks), return_exceptions=True)

    dead = [outcome for outcome in asyncio.run(read()) if isinstance(outcome, EngineDead)]
    assert dead and not bench.failures


@pytest.mark.parametrize("poison", [1, 40, 72])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_page_that_hangs_costs_itself_alone(poison: int, concurrency: int) -> None:
    bench = bench_for(hanging(lambda count, page: page == poison), concurrency)
    report = bench.read(chunk(*map(page, range(1, 73))))
    assert report.statuses == {"ok": 71}
    (row,) = report.failures
    assert (row.page, row.reason, row.attempts) == (poison, "reading took longer than 0.2 s", 2)


def test_pages_that_hang_while_others_are_answered_cost_themselves() -> None:
    async def answer(request: Request) -> Completion:
        if request.page in (3, 30):
            await asyncio.Event().wait()
        await asyncio.sleep(LIMIT_S / 4)
        return await say_page(request)

    report = bench_for(answer).read(chunk(*map(page, range(1, 73))))
    assert [row.page for row in report.failures] == [3, 30]


def test_refusals_are_a_sign_of_life() -> None:
    async def answer(request: Request) -> Completion:
        if request.page == 3:
            await asyncio.Event().wait()
        await asyncio.sleep(LIMIT_S / 4)
        raise EngineError("will not")

    report = bench_for(answer, 4).read(chunk(*map(page, range(1, 13))))
    assert len(report.failures) == 12


def test_the_text_layer_does_not_cover_up_that_an_engine_hangs() -> None:
    layer = TextLayer("own text", (), trusted=True)
    bench = bench_for(hanging(lambda count, page: count > 12), attempts=1)
    with pytest.raises(EngineDead):
        bench.read(chunk(*(page(n, layer=layer) for n in range(1, 73))))
    assert {row.status for row in bench.rows} == {Status.OK}


def test_an_engine_that_hangs_when_it_is_given_one_page_at_a_time_is_found_at_the_second() -> None:
    """As suspects are read: alone, each in a call of its own."""
    bench = bench_for(hanging(lambda count, page: True))

    async def read() -> None:
        first = await bench.reader.read(chunk(page(1)))
        assert [row.page for row in first.failures] == [1]
        with pytest.raises(EngineDead):
            await bench.reader.read(chunk(page(2)))

    asyncio.run(read())


def test_cancelling_a_read_while_a_page_waits_for_its_verdict_leaves_nothing_behind() -> None:
    bench = bench_for(hanging(lambda count, page: True), concurrency=1, attempts=1)

    async def read() -> None:
        reading = asyncio.ensure_future(bench.reader.read(chunk(page(1), page(2))))
        await asyncio.sleep(LIMIT_S * 1.5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    asyncio.run(read())
