"""The vLLM engine with a real vLLM on the CPU and a tiny model that truly reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest

from actors.engines.base import Completion, Request
from actors.engines.load import load_engine
from actors.engines.settings import EngineConfig, Sampling
from actors.engines.vllm import engine as vllm
from actors.engines.vllm.sampling import sampling_params
from manifests.errors import ConfigError, EngineDead, EngineError
from tests.engines.read_rows import ending, read_row
from tests.engines.tiny_reader.model import MODEL
from tests.engines.tiny_reader.pages import draw, numbers

PROMPT = ""
SLOTS = 16


def config(**fields: Any) -> EngineConfig:
    vllm = {
        "max_model_len": 1024,
        "max_num_seqs": SLOTS,
        "max_num_batched_tokens": 2048,
        "enforce_eager": True,
        "gpu_memory_utilization": 0.1,
        **fields.pop("vllm", {}),
    }
    settings = {"kind": "vllm", "model": str(MODEL), "device": "cpu", "sampling": {"max_tokens": 12}}
    return EngineConfig.model_validate({**settings, "vllm": vllm, **fields})


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all: an engine is read from one."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner) -> Iterator[Any]:
    """Loaded in another thread than it is read in, as a replica does. The last test of it kills it."""
    with ThreadPoolExecutor(1) as thread:
        loaded = thread.submit(load_engine, config(images_per_prompt=2)).result()
    yield loaded
    runner.run(loaded.close())


def ask(number: str, prompt: str = PROMPT, images: int = 1, temperature: float = 0.0) -> Request:
    return Request(f"{number}.png", 1, [draw(number)] * images, prompt, temperature)


def one_token_alone(*arguments: Any) -> Any:
    """Sampling that can only say the same thing over and over."""
    params = sampling_params(*arguments)
    params.allowed_token_ids = [100]
    return params


async def settled(engine: Any, *requests: Request) -> list[Any]:
    return await asyncio.gather(*(engine.read(request) for request in requests), return_exceptions=True)


def test_every_page_gets_its_own_answer_however_many_are_asked_at_once(
    engine: Any, runner: asyncio.Runner
) -> None:
    asked = numbers(4 * SLOTS, seed=3)
    answers = runner.run(settled(engine, *map(ask, asked)))
    assert [answer.text.strip() for answer in answers] == asked
    assert {(answer.finish_reason, answer.prompt_tokens > 16) for answer in answers} == {("stop", True)}
    assert all(4 <= answer.completion_tokens <= 6 for answer in answers)


def test_vllm_always_has_the_next_page_waiting(engine: Any) -> None:
    info = engine.info
    assert (info.name, info.model, info.abortable) == ("vllm", MODEL.name, True)
    assert info.concurrency > SLOTS and info.window >= info.concurrency


def test_a_page_that_cannot_be_read_fails_alone(engine: Any, runner: asyncio.Runner) -> None:
    (good,) = numbers(1, seed=4)
    nothing = Request("nothing.png", 1, [np.zeros((0, 10, 3), np.uint8)], PROMPT)
    bad = [
        ask(good, PROMPT + "x" * 2000),
        ask(good, "<image>" * 3, images=3),
        nothing,
        ask(good, "<image><image>"),
    ]
    *errors, answer = runner.run(settled(engine, *bad, ask(good)))
    assert answer.text.strip() == good
    assert all(isinstance(error, EngineError) for error in errors)
    too_long, too_many, empty, mismatch = map(str, errors)
    assert "maximum context length is 1024 tokens" in too_long
    assert "At most 2 image(s) may be provided" in too_many
    assert "ZeroDivisionError" in empty
    assert "2 <image> placeholders for 1 image" in mismatch


def test_a_prompt_may_hold_several_images(engine: Any, runner: asyncio.Runner) -> None:
    one, two = runner.run(settled(engine, ask("1234"), ask("1234", "<image> and <image>", 2)))
    assert two.prompt_tokens - one.prompt_tokens >= 16  # what the model pays for an image of one tile


def test_an_answer_is_cut_at_its_length_and_ended_when_it_repeats_itself(
    engine: Any, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_sampling", Sampling(max_tokens=2))
    cut: Completion = runner.run(engine.read(ask("1234")))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 2)
    monkeypatch.setattr(engine, "_sampling", Sampling(max_tokens=900, min_tokens=900))
    of_its_own: Completion = runner.run(engine.read(replace(ask("1234"), max_tokens=2)))
    assert (of_its_own.finish_reason, of_its_own.completion_tokens) == ("length", 2)
    monkeypatch.setattr(engine, "_sampling", Sampling(max_tokens=900))
    monkeypatch.setattr(vllm, "sampling_params", one_token_alone)
    looping: Completion = runner.run(engine.read(ask("1234")))
    assert (looping.finish_reason, looping.completion_tokens) == ("repetition", 600)


def test_a_row_says_how_its_answer_ended(
    engine: Any, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(max_tokens: int, only: int | None = None) -> tuple[str, str, str]:
        def limited(*arguments: Any) -> Any:
            params = sampling_params(*arguments)
            params.allowed_token_ids = [only] if only is not None else None
            return params

        monkeypatch.setattr(engine, "_sampling", Sampling(max_tokens=max_tokens))
        monkeypatch.setattr(vllm, "sampling_params", limited)
        return ending(runner.run(read_row(engine, "1234")))

    end = engine._llm.get_tokenizer().eos_token_id
    assert read(12) == ("ok", "stop", "")
    assert read(2) == ("fallback", "length", "truncated after 1 attempt")
    assert read(900, only=100) == ("fallback", "repetition", "repetition after 1 attempt")
    assert read(12, only=end) == ("fallback", "stop", "empty answer after 1 attempt")


def test_a_cancelled_page_is_aborted_in_vllm(
    engine: Any, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, aborted = engine._llm, []
    abort = llm.engine_core.abort_requests_async

    async def noted(ids: list[str]) -> None:
        aborted.extend(ids)
        await abort(ids)

    async def cancel() -> None:
        page = asyncio.ensure_future(engine.read(ask("1234")))
        while not llm.get_num_unfinished_requests():
            await asyncio.sleep(0)
        page.cancel()
        await asyncio.gather(page, return_exceptions=True)
        assert page.cancelled() and not llm.get_num_unfinished_requests()

    monkeypatch.setattr(llm.engine_core, "abort_requests_async", noted)
    monkeypatch.setattr(engine, "_sampling", Sampling(max_tokens=900, min_tokens=900))
    runner.run(cancel())
    assert len(aborted) == 1


def test_what_the_model_would_ignore_in_silence_is_refused() -> None:
    refused = {
        "engine.processor_args.max_patch: the model's processor takes no such argument; did you mean "
        "max_patches?": {"processor_args": {"max_patch": 2}},
        "engine.engine_args.limit_mm_per_prompt.smell: the model takes image and video": {
            "engine_args": {"limit_mm_per_prompt": {"smell": 1}}
        },
    }
    for message, fields in refused.items():
        with pytest.raises(ConfigError) as caught:
            load_engine(config(**fields))
        assert str(caught.value) == message


def test_a_dead_engine_core_is_told_at_once_and_from_then_on(engine: Any, runner: asyncio.Runner) -> None:
    async def kill() -> list[Any]:
        pages = [asyncio.ensure_future(engine.read(ask("1234"))) for _ in range(4)]
        while not engine._llm.get_num_unfinished_requests():
            await asyncio.sleep(0)
        for process in psutil.Process().children():  # not those of the server that other tests use
            if "EngineCore" in process.name():
                process.kill()
        return await asyncio.gather(*pages, return_exceptions=True)

    engine._sampling = Sampling(max_tokens=900, min_tokens=900)
    errors = runner.run(kill())
    assert all(isinstance(error, EngineDead) for error in errors)
    with pytest.raises(EngineDead, match="vLLM's process ended: it gave no reason"):
        runner.run(engine.read(ask("1234")))


def test_too_little_memory_is_told_by_vllms_process_and_in_our_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE")
    with pytest.raises(ConfigError) as caught:
        load_engine(config(engine_args={"kv_cache_memory_bytes": 200_000}))
    assert "for the KV cache, too little for the longest page: --set engine.vllm.max_model_len=" in str(
        caught.value
    )
