"""The openai engine against a real HTTP server: what is asked, of whom, and how much at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from actors.engines.base import Completion, Request
from actors.engines.openai.engine import OpenAiEngine
from manifests.errors import EngineError
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
from tests.actors.openai_server import GOOD, OpenAiServer, Reply, answer_of, digest

__all__ = ["quick_rests", "server", "two"]  # fixtures


def test_the_request_says_what_the_configuration_says(server: OpenAiServer) -> None:
    engine = engine_for(
        server,
        sampling={"max_tokens": 77, "top_p": 0.9, "seed": 5, "stop": ["END"]},
        openai={"extra_body": {"max_tokens": None, "max_completion_tokens": 77}},
    )
    images = [b"first", b"second" * 100_000]
    request = Request("d", 1, [], 'One:\n<image>\nand two: <image> "What\nchanged?"', 0.3, jpegs=images)
    completion = read(engine, request)
    expected = ["One:", digest(images[0]), "and two: ", digest(images[1]), ' "What\nchanged?"']
    assert completion.text == " | ".join(expected)
    assert (completion.finish_reason, completion.prompt_tokens, completion.completion_tokens) == (
        "stop",
        7,
        3,
    )
    body = server.calls[0].body
    del body["messages"]
    assert body == {
        "model": "reader",
        "max_completion_tokens": 77,
        "temperature": 0.3,
        "top_p": 0.9,
        "seed": 5,
        "stop": ["END"],
    }
    assert "Authorization" not in server.calls[0].headers


def test_a_prompt_without_the_image_it_promises_is_refused(server: OpenAiServer) -> None:
    with pytest.raises(EngineError, match="2 <image> placeholders for 1 image"):
        read(engine_for(server), page(prompt="<image><image>"))
    assert not server.calls


def test_vllm_gets_what_only_it_understands() -> None:
    sampling = {"min_tokens": 2, "ngram_size": 30, "ngram_whitelist": ["<td>", "<table>", "x"]}
    with OpenAiServer(owner="vllm") as server:
        read(engine_for(server, sampling={**sampling, "skip_special_tokens": False}))
        read(engine_for(server, sampling={"max_tokens": 8193, "stop_repetition": False}))
    told, short = (call.body for call in server.calls)
    assert (told["min_tokens"], told["repetition_penalty"], told["skip_special_tokens"]) == (2, 1.0, False)
    assert told["vllm_xargs"] == {"ngram_size": 30, "window_size": 90, "whitelist_token_ids": [4, 7]}
    assert told["repetition_detection"]["min_count"] == 12
    assert short["max_tokens"] == 8192, "all that the server has for prompt and answer"
    assert not {"vllm_xargs", "repetition_detection"} & short.keys()


@pytest.mark.parametrize(
    ("body", "finish_reason"),
    [
        (answer_of("", "stop"), "stop"),
        (answer_of("cut", "length"), "length"),
        (answer_of("again and " * 300, "length"), "repetition"),
        (answer_of("again and", "repetition"), "repetition"),
        (answer_of("odd", None), "stop"),  # type: ignore[arg-type]
        (answer_of(None, "length"), "length"),
        (answer_of("cut", "model_length"), "length"),
        (answer_of("cut", "MAX_TOKENS"), "length"),
        (answer_of(None, "MAX_TOKENS"), "length"),
        (answer_of("some", "SAFETY"), "refusal"),
        (answer_of(None, "content_filter"), "refusal"),
        (answer_of("", "RECITATION"), "refusal"),
        (answer_of("I will look", "tool_calls"), "tool_calls"),
        (answer_of("odd", "because"), "because"),
    ],
)
def test_finish_reasons(server: OpenAiServer, body: str, finish_reason: str) -> None:
    server.script = lambda call: Reply(body=body)
    assert read(engine_for(server)).finish_reason == finish_reason


@pytest.mark.parametrize("content", [None, "", "some of it"])
def test_a_refusal_in_the_models_own_words_is_told(server: OpenAiServer, content: str | None) -> None:
    message = {"role": "assistant", "content": content, "refusal": "I cannot\nread this."}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    server.script = lambda call: Reply(body=body)
    completion = read(engine_for(server))
    assert (completion.text, completion.finish_reason) == (content or "", "refusal")
    assert completion.detail == "I cannot read this."


def test_a_field_given_as_null_is_left_out(server: OpenAiServer) -> None:
    nothing = {"temperature": None, "seed": None, "top_p": None, "max_tokens": None}
    read(engine_for(server, openai={"extra_body": nothing}), replace(page(), temperature=0.5))
    assert server.calls[0].body.keys() == {"model", "messages"}


def test_an_answer_in_parts_is_the_text_of_them(server: OpenAiServer) -> None:
    parts = [
        {"type": "thinking", "thinking": "…"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    server.script = lambda call: Reply(body=answer_of(parts))  # type: ignore[arg-type]
    assert read(engine_for(server)).text == "ab"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_request_may_have_a_lower_limit_of_its_own(server: OpenAiServer, field: str) -> None:
    engine = engine_for(server, openai={"extra_body": {"max_tokens": None, field: 99, "min_tokens": 50}})

    async def work(engine: OpenAiEngine) -> None:
        for limit in (0, 16, 1000):
            await engine.read(replace(page(), max_tokens=limit))

    run(engine, work)
    told = [(call.body[field], call.body["min_tokens"]) for call in server.calls]
    assert told == [(99, 50), (16, 16), (99, 50)]


def test_every_request_of_many_gets_its_own_answer(two: list[OpenAiServer]) -> None:
    engine = engine_for(*two, openai={"max_concurrency": 20})
    assert (engine.info.concurrency, engine.info.window) == (40, 50)
    expect_each_its_own(run(engine, lambda engine: read_all(engine, 300)))
    assert all(server.most_in_flight <= 20 for server in two)
    assert all(len(server.calls) > 75 for server in two)


def test_the_least_loaded_server_is_asked(two: list[OpenAiServer]) -> None:
    slow, quick = two

    async def work(engine: OpenAiEngine) -> list[Completion]:
        slow.hold()
        reading = asyncio.ensure_future(read_all(engine, 100))
        await until(lambda: len(quick.calls) >= 90)
        slow.go_on()
        return await reading

    expect_each_its_own(run(engine_for(*two, openai={"max_concurrency": 8}), work))
    assert slow.most_in_flight <= 8


def test_a_server_that_takes_few_at_once_gets_few(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(429) if server.in_flight > 4 else Reply(seconds=0.01)
    expect_each_its_own(run(engine_for(server), lambda engine: read_all(engine, 100)))
    refused = len(server.calls) - 100
    assert 0 < refused < 150


def test_retry_after_is_honoured_and_others_take_over(two: list[OpenAiServer]) -> None:
    busy, other = two
    busy.script = lambda call: Reply(429, headers={"Retry-After": "0.5"}) if call.number == 1 else GOOD

    async def work(engine: OpenAiEngine) -> None:
        await read_all(engine, 4)
        assert len(busy.calls) <= 2  # what was sent before the refusal
        while len(busy.calls) <= 2:
            await engine.read(page())

    run(engine_for(*two), work)
    refused_at = busy.calls[0].at
    assert busy.calls[-1].at - refused_at >= 0.49
    assert other.calls[-1].at < refused_at + 5


def test_a_server_alone_is_waited_for(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(503, headers={"Retry-After": "0.4"}) if call.number == 1 else GOOD
    read(engine_for(server))
    first, second = server.calls
    assert second.at - first.at >= 0.39


def test_a_cancelled_request_is_taken_back(server: OpenAiServer) -> None:
    server.script = lambda call: Reply(hang=True) if call.number <= 2 else GOOD

    async def work(engine: OpenAiEngine) -> Completion:
        stuck = [asyncio.ensure_future(engine.read(page())) for _ in range(3)]  # two are sent, one waits
        await until(lambda: len(server.calls) == 2)
        for task in (stuck[2], *stuck[:2]):
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await until(lambda: server.disconnected == 2 and server.in_flight == 0)
        return await engine.read(page())

    assert run(engine_for(server, openai={"max_concurrency": 2}), work).text.endswith("Read.")


def test_connections_are_kept_and_used_again(server: OpenAiServer) -> None:
    async def work(engine: OpenAiEngine) -> None:
        for _ in range(20):
            await engine.read(page())

    run(engine_for(server), work)
    assert len({call.peer for call in server.calls}) == 1
