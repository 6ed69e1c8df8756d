"""The openai engine when servers fail: one page's fault costs one page, a server's fault costs none."""

from __future__ import annotations

import asyncio
import time

import pytest

from actors.engines.openai import pool
from actors.engines.openai.engine import OpenAiEngine
from actors.engines.openai.failures import retry_after
from actors.engines.openai.limit import START, AdaptiveLimit
from manifests.errors import ConfigError, EngineError, EngineUnavailable
from tests.actors.openai_engine import (
    engine_for,
    expect_each_its_own,
    page,
    quick_rests,
    read,
    read_all,
    run,
    server,
    two,
    until,
)
from tests.actors.openai_server import GOOD, OpenAiServer, Reply, answer_of

__all__ = ["quick_rests", "server", "two"]  # fixtures

KEY = "sk-0123456789-abcdefghij"
SPOILT = [
    Reply(500, "oops"),
    Reply(body="<html>not JSON</html>"),
    Reply(body="[1, 2]"),
    Reply(body='{"choices": []}'),
    Reply(body="[" * 100_000),
    Reply(body=answer_of(None)),
    Reply(headers={"Content-Encoding": "gzip"}, body="not gzip"),
    Reply(cut=True),
    Reply(408),
    Reply(409, "try again"),
]


@pytest.mark.parametrize("spoilt", SPOILT)
def test_an_answer_that_comes_to_nothing_is_asked_for_again(server: OpenAiServer, spoilt: Reply) -> None:
    server.script = lambda call: spoilt if call.number == 1 else GOOD
    assert read(engine_for(server)).text.endswith("Read.")
    assert len(server.calls) == 2


@pytest.mark.parametrize("spoilt", SPOILT[:2])
def test_a_page_that_is_never_answered_well_costs_only_itself(server: OpenAiServer, spoilt: Reply) -> None:
    server.script = lambda call: spoilt if "poison" in call.parts else GOOD

    async def work(engine: OpenAiEngine) -> None:
        poisoned = asyncio.ensure_future(engine.read(page(prompt="<image>poison")))
        expect_each_its_own(await read_all(engine, 50))
        with pytest.raises(EngineError, match=r"(500: oops|no chat completion: <html>).*attempt 3"):
            await poisoned

    run(engine_for(server, openai={"attempts": 3}), work)
    assert sum("poison" in call.parts for call in server.calls) == 3
    assert not any(call.is_probe for call in server.calls), "it answered others meanwhile"


def test_a_page_that_fails_alone_is_told_from_a_server_that_does(server: OpenAiServer) -> None:
    """Nothing else is read meanwhile, so the engine asks the server a question of its own."""
    server.script = lambda call: GOOD if call.is_probe else Reply(500)
    with pytest.raises(EngineError, match="500"):
        read(engine_for(server, openai={"attempts": 2}))
    assert [call.is_probe for call in server.calls] == [False, False, True]


def test_a_server_that_fails_at_everything_fails_no_page(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(500, "engine core died") if call.number <= 12 else GOOD
    expect_each_its_own(run(engine_for(server, openai={"attempts": 2}), lambda engine: read_all(engine, 3)))


@pytest.mark.parametrize("body", ["<html>hello</html>", "[" * 100_000, answer_of(None)])
def test_a_server_that_never_said_anything_of_use_is_not_waited_for(server: OpenAiServer, body: str) -> None:
    server.script = lambda call: Reply(body=body)
    with pytest.raises(ConfigError, match=r"is it an OpenAI-compatible server.*Check --server-url"):
        read(engine_for(server, openai={"attempts": 2}))


def test_an_outage_that_lasts_ends_the_engine(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(500, "engine core died")
    engine = engine_for(server, openai={"attempts": 2, "outage_s": 0.3})
    with pytest.raises(
        EngineUnavailable, match=r"no server has answered for 0.3 s \(.*engine core died\): see to"
    ):
        read(engine)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_the_pages_own_and_final(server: OpenAiServer, status: int) -> None:
    words = '{"error": {"message": "The prompt is too\\n long"}}'
    server.script = lambda call: Reply(status, words) if "long" in call.parts else GOOD
    with pytest.raises(EngineError, match=f"HTTP {status}: The prompt is too long$"):
        read(engine_for(server), page(prompt="<image>long"))
    assert len(server.calls) == 1


def test_what_one_server_refuses_another_may_answer(two: list[OpenAiServer]) -> None:
    two[0].script = lambda call: Reply(400, "this model takes no images")
    expect_each_its_own(run(engine_for(*two), lambda engine: read_all(engine, 30)))
    two[1].script = two[0].script
    with pytest.raises(EngineError, match="HTTP 400: this model takes no images"):
        read(engine_for(*two))


def test_a_refusal_before_the_page_was_sent_is_understood(server: OpenAiServer) -> None:
    server.unread = 413
    with pytest.raises(EngineError, match=r"not even read|connection broke"):
        read(engine_for(server, openai={"attempts": 1}), page(jpeg=bytes(20 * 2**20)))


def test_a_wrong_key_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    with OpenAiServer(key="sk-right") as server:
        with pytest.raises(ConfigError, match="refuses the key in the environment variable MY_KEY") as caught:
            engine_for(server, openai={"api_key_env": "MY_KEY"})
        assert "sk-" not in str(caught.value)
        with pytest.raises(ConfigError, match="none in the environment variable OPENAI_API_KEY"):
            engine_for(server)
        monkeypatch.setenv("MY_KEY", "sk-right\n")
        read(engine_for(server, openai={"api_key_env": "MY_KEY"}))
        assert server.calls[0].headers["Authorization"] == "Bearer sk-right"


def test_a_key_refused_by_the_first_page_stops_the_start(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(401, "who are you?")
    with pytest.raises(ConfigError, match=r"HTTP 401: who are you\?: the server refuses"):
        read(engine_for(server))


def test_a_key_refused_later_is_an_outage(server: OpenAiServer) -> None:
    async def work(engine: OpenAiEngine) -> None:
        await engine.read(page())
        server.key = "sk-new"
        with pytest.raises(EngineUnavailable, match="HTTP 401"):
            await engine.read(page())

    run(engine_for(server, openai={"outage_s": 0.2}), work)


@pytest.mark.parametrize("status", [400, 200])
def test_the_key_is_never_shown(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.script = lambda call: (
        GOOD if call.is_probe else Reply(status, f"you sent {call.headers['Authorization']}")
    )
    engine = engine_for(server, openai={"attempts": 1})
    with pytest.raises(EngineError, match=r"you sent Bearer \*\*\*"):
        read(engine)
    assert "sk-secret" not in repr(engine.__dict__)


@pytest.mark.parametrize("before", range(150, 215, 5))
def test_no_part_of_a_long_key_is_shown(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Words of a server are cut, and the cut may go through the key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script = lambda call: Reply(body="x" * before + KEY)
    with pytest.raises(ConfigError, match="xxx") as caught:
        read(engine_for(server, openai={"attempts": 1}))
    assert KEY[:8] not in str(caught.value)


def test_no_row_holds_the_key(server: OpenAiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script = lambda call: Reply(body=answer_of(f"your key is {KEY}"))
    assert read(engine_for(server)).text == "your key is ***"


def test_a_word_in_place_of_a_key_stays_in_the_text(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    server.script = lambda call: Reply(body=answer_of("THIS PAGE IS EMPTY"))
    assert read(engine_for(server)).text == "THIS PAGE IS EMPTY"


def test_a_redirect_is_not_followed(server: OpenAiServer) -> None:
    """It would carry page and key elsewhere."""
    server.script = lambda call: Reply(307, headers={"Location": f"{server.url}/elsewhere"})
    with pytest.raises(ConfigError, match=r"HTTP 307 to http://127.*/elsewhere"):
        read(engine_for(server))


def test_a_server_that_hangs_on_one_page_costs_that_page(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(hang=True) if "poison" in call.parts else GOOD

    async def work(engine: OpenAiEngine) -> None:
        poisoned = asyncio.ensure_future(engine.read(page(prompt="<image>poison")))
        expect_each_its_own(await read_all(engine, 20))
        with pytest.raises(EngineError, match=r"no answer within 0\.4 s"):
            await poisoned

    run(engine_for(server, page_timeout_s=0.4), work)


def test_a_server_that_hangs_on_all_pages_is_left_for_another(two: list[OpenAiServer]) -> None:
    two[0].script = lambda call: Reply(hang=True)
    expect_each_its_own(run(engine_for(*two, page_timeout_s=0.8), lambda engine: read_all(engine, 20)))
    assert sum(call.is_probe for call in two[0].calls) == 1, "asked once, not by each of its requests"


def test_a_server_that_dies_and_comes_back_loses_no_page(server: OpenAiServer) -> None:
    async def work(engine: OpenAiEngine) -> None:
        server.hold()
        reading = asyncio.ensure_future(read_all(engine, 50))
        await until(lambda: server.in_flight > 10)
        await asyncio.to_thread(server.stop)
        server.go_on()
        late = asyncio.ensure_future(engine.read(page()))
        await asyncio.to_thread(server.start)
        expect_each_its_own(await reading)
        await late

    run(engine_for(server), work)


def test_a_dead_server_is_left_for_the_living(two: list[OpenAiServer]) -> None:
    async def work(engine: OpenAiEngine) -> None:
        two[0].hold()
        reading = asyncio.ensure_future(read_all(engine, 50))
        await until(lambda: two[0].in_flight > 10)
        await asyncio.to_thread(two[0].stop)
        two[0].go_on()
        expect_each_its_own(await reading)
        expect_each_its_own(await read_all(engine, 50))

    run(engine_for(*two), work)


def test_all_servers_dead_for_too_long_end_the_engine(two: list[OpenAiServer]) -> None:
    engine = engine_for(*two, openai={"outage_s": 0.3})
    for dead in two:
        dead.stop()

    async def work(engine: OpenAiEngine) -> list[BaseException | object]:
        return await asyncio.gather(*(engine.read(page(n)) for n in range(10)), return_exceptions=True)

    started = time.monotonic()
    ends = run(engine, work)
    assert all(isinstance(end, EngineUnavailable) and "cannot be reached" in str(end) for end in ends)
    assert time.monotonic() - started >= 0.3
    for dead in two:
        dead.start()


def test_one_dead_server_of_two_at_the_start_joins_later(two: list[OpenAiServer]) -> None:
    two[0].stop()
    engine = engine_for(*two)

    async def work(engine: OpenAiEngine) -> None:
        expect_each_its_own(await read_all(engine, 20))
        await asyncio.to_thread(two[0].start)
        while not two[0].calls:
            await engine.read(page())

    run(engine, work)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(value: str, seconds: float | None) -> None:
    assert retry_after(value, 10.0) == seconds


def test_the_limit_climbs_fast_falls_by_half_and_then_climbs_slowly() -> None:
    limit = AdaptiveLimit(200)
    assert limit.value == START
    for _ in range(START):
        limit.grow()
    assert limit.value == 2 * START
    limit.cut(sent_at=1.0, now=2.0)
    limit.cut(sent_at=1.5, now=2.1)  # of the same burst
    assert limit.value == START
    for _ in range(START + 1):
        limit.grow()
    assert limit.value == START + 1
    for moment in range(3, 20):
        limit.cut(moment, moment)
    assert limit.value == 1
    for _ in range(10**5):
        limit.grow()
    assert limit.value == 200


def test_rests_grow_and_are_spread() -> None:
    rests = [pool.backoff_s(times) for times in range(1, 40)]
    assert all(0 < rest <= pool.LONGEST_REST_S for rest in rests)
    assert len(set(rests)) == len(rests)
