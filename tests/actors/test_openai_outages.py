"""Servers that are there and wrong for everybody, or not there: no page is failed, and the reason is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from actors.engines.base import Completion
from actors.engines.openai import pool
from actors.engines.openai.engine import OpenAiEngine
from manifests.errors import EngineError, EngineUnavailable
from tests.actors.openai_engine import (
    engine_for,
    expect_each_its_own,
    page,
    quick_rests,
    read_all,
    run,
    server,
    two,
    until,
)
from tests.actors.openai_server import GOOD, Call, OpenAiServer, Reply, answer_of

__all__ = ["quick_rests", "server", "two"]  # fixtures

ANSWERED = 12


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "REPORTED_AFTER_S", 0.0)


def after(answers: int, then: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
    """A server that turns."""
    return lambda call: GOOD if call.number <= answers else then(call)


WRONG = {
    "400 to everything": (lambda call: Reply(400, "no such model loaded"), "HTTP 400: no such model loaded"),
    "413 to everything": (lambda call: Reply(413, "too large"), "HTTP 413: too large"),
    "500 to pages, its small probe answered": (
        lambda call: GOOD if call.is_probe else Reply(500, "no vision tower"),
        "HTTP 500: no vision tower",
    ),
    "nonsense to pages": (lambda call: GOOD if call.is_probe else Reply(body="<html>"), "no chat completion"),
    "401": (lambda call: Reply(401, "who are you?"), "HTTP 401: who are you"),
    "402": (lambda call: Reply(402, "balance too low"), "HTTP 402: balance too low"),
    "403": (lambda call: Reply(403, "not for you"), "HTTP 403: not for you"),
    "404": (lambda call: Reply(404, "moved away"), "HTTP 404: moved away"),
    "429": (lambda call: Reply(429, "quota used up"), "HTTP 429: quota used up"),
    "503": (lambda call: Reply(503, "maintenance"), "HTTP 503: maintenance"),
}


@pytest.mark.parametrize(("then", "reason"), WRONG.values(), ids=list(WRONG))
def test_a_server_that_turns_wrong_for_all_fails_no_page_and_goes_on_when_it_is_mended(
    server: OpenAiServer, then: Callable[[Call], Reply], reason: str
) -> None:
    server.script = after(ANSWERED, then)

    async def work(engine: OpenAiEngine) -> None:
        reading = asyncio.ensure_future(read_all(engine, 90))
        await until(lambda: reason in engine.waiting)
        told = rf"servers do not answer for \d s \(engine.openai.outage_s is 600\): {server.url}: .*{reason}"
        assert re.match(told, engine.waiting)
        server.script = lambda call: GOOD
        expect_each_its_own(await reading)
        assert engine.waiting == ""

    run(engine_for(server), work)


@pytest.mark.parametrize(("then", "reason"), WRONG.values(), ids=list(WRONG))
def test_if_it_lasts_every_page_is_given_back_with_the_reason(
    server: OpenAiServer, then: Callable[[Call], Reply], reason: str
) -> None:
    server.script = after(ANSWERED, then)

    async def work(engine: OpenAiEngine) -> list[Completion | BaseException]:
        pages = (engine.read(page(n, f"image {n}".encode())) for n in range(40))
        return await asyncio.gather(*pages, return_exceptions=True)

    outcomes = run(engine_for(server, openai={"outage_s": 0.6}), work)
    errors = [outcome for outcome in outcomes if not isinstance(outcome, Completion)]
    assert len(outcomes) - len(errors) <= ANSWERED
    assert all(isinstance(error, EngineUnavailable) and reason in str(error) for error in errors)


def test_a_server_that_hangs_on_everything_is_an_outage(server: OpenAiServer) -> None:
    server.script = after(ANSWERED, lambda call: Reply(hang=True))

    async def work(engine: OpenAiEngine) -> None:
        reading = asyncio.ensure_future(read_all(engine, 40))
        await until(lambda: "no answer within 1 s" in engine.waiting)
        server.script = lambda call: GOOD
        expect_each_its_own(await reading)

    run(engine_for(server, page_timeout_s=1.0), work)


def test_a_server_that_hangs_on_pages_and_answers_its_small_probe_is_an_outage(server: OpenAiServer) -> None:
    server.script = after(ANSWERED, lambda call: GOOD if call.is_probe else Reply(hang=True))

    async def work(engine: OpenAiEngine) -> list[Completion | BaseException]:
        pages = (engine.read(page(n, f"image {n}".encode())) for n in range(40))
        return await asyncio.gather(*pages, return_exceptions=True)

    outcomes = run(engine_for(server, page_timeout_s=0.3, openai={"outage_s": 1}), work)
    errors = [outcome for outcome in outcomes if not isinstance(outcome, Completion)]
    assert len(errors) >= 28 and {type(error) for error in errors} == {EngineUnavailable}


def test_silence_is_told_before_any_request_is_out_of_time(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "QUIET_S", 0.1)

    async def work(engine: OpenAiEngine) -> None:
        server.hold()
        reading = asyncio.ensure_future(read_all(engine, 5))
        await until(lambda: "s to any of 5 requests" in engine.waiting)
        server.go_on()
        expect_each_its_own(await reading)
        assert engine.waiting == ""

    run(engine_for(server), work)


@pytest.mark.parametrize("refused", [Reply(400, "too long"), Reply(500, "oops"), Reply(body=answer_of(None))])
def test_pages_that_are_refused_while_others_are_read_cost_themselves_alone(
    server: OpenAiServer, refused: Reply
) -> None:
    server.script = lambda call: refused if "poison" in call.parts else GOOD

    async def work(engine: OpenAiEngine) -> None:
        poisoned = [asyncio.ensure_future(engine.read(page(prompt="<image>poison"))) for _ in range(5)]
        expect_each_its_own(await read_all(engine, 60))
        failures = await asyncio.gather(*poisoned, return_exceptions=True)
        assert [type(failure) for failure in failures] == [EngineError] * 5

    run(engine_for(server, openai={"attempts": 3}), work)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_refused_pages_at_the_end_are_told_from_a_wrong_server_however_many(
    server: OpenAiServer, count: int
) -> None:
    """Nothing else is read meanwhile: the server is asked for a page that it has read before."""
    server.script = lambda call: Reply(400, "too long") if "giant" in call.parts else GOOD

    async def work(engine: OpenAiEngine) -> None:
        await read_all(engine, 5)
        giants = (engine.read(page(n, prompt="<image>giant")) for n in range(count))
        failures = await asyncio.gather(*giants, return_exceptions=True)
        assert {str(failure) for failure in failures} == {f"{server.url}: HTTP 400: too long"}
        assert {type(failure) for failure in failures} == {EngineError}

    run(engine_for(server), work)


def test_a_server_that_came_back_with_less_room_refuses_what_it_read_before(server: OpenAiServer) -> None:
    """A blank page would still be answered: only a real one tells."""
    small = b"s"
    server.script = after(
        ANSWERED, lambda call: GOOD if call.is_probe or len(str(call.body)) < 300 else Reply(400, "too long")
    )
    pages = [page(n, bytes([n]) * 2000) for n in range(30)]

    async def work(engine: OpenAiEngine) -> list[Completion | BaseException]:
        await engine.read(page(jpeg=small))
        return await asyncio.gather(*map(engine.read, pages), return_exceptions=True)

    outcomes = run(engine_for(server, openai={"outage_s": 2}), work)
    errors = [outcome for outcome in outcomes if not isinstance(outcome, Completion)]
    assert len(errors) >= 30 - ANSWERED
    assert {type(error) for error in errors} == {EngineUnavailable}
    assert "(also to a page that was read before)" in str(errors[0])


def test_one_server_of_two_that_turns_wrong_leaves_its_pages_to_the_other(two: list[OpenAiServer]) -> None:
    two[0].script = after(5, lambda call: GOOD if call.is_probe else Reply(500, "broken"))
    two[1].script = lambda call: Reply(seconds=0.01)

    async def work(engine: OpenAiEngine) -> None:
        expect_each_its_own(await read_all(engine, 100))
        assert engine.waiting == ""

    run(engine_for(*two, openai={"attempts": 2, "max_concurrency": 8}), work)
