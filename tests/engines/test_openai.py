"""The openai engine against a real ``vllm serve`` with a model that truly reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from actors.engines.base import Completion, Request
from actors.engines.openai.engine import OpenAiEngine
from actors.engines.settings import EngineConfig
from actors.render.image import encode_jpeg
from manifests.errors import ConfigError, EngineError
from tests.engines.tiny_reader.model import MODEL
from tests.engines.tiny_reader.pages import draw, numbers
from tests.engines.vllm_serve import VllmServe

PAGES = 60
SERVED_LENGTH = 1024


def use(server: VllmServe, work: Callable[[OpenAiEngine], Coroutine[Any, Any, Any]], **fields: Any) -> Any:
    """Load the engine and use it in an event loop of its own."""
    openai = {"server_urls": [server.url], "outage_s": 5, **fields.pop("openai", {})}

    async def main() -> Any:
        engine = await asyncio.to_thread(OpenAiEngine, EngineConfig(openai=openai, **fields))
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def page(number: str, prompt: str = "<image>") -> Request:
    return Request(number, 1, (), prompt, jpegs=[encode_jpeg(draw(number))])


def metric(server: VllmServe, *words: str) -> float:
    """The sum of the server's own metrics in whose lines all these words are."""
    text = httpx.get(server.url.replace("/v1", "/metrics"), trust_env=False).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return sum(float(line.split()[-1]) for line in lines if all(word in line for word in words))


def test_every_page_gets_its_own_answer(vllm_server: VllmServe) -> None:
    wanted = numbers(PAGES, seed=3)

    async def work(engine: OpenAiEngine) -> list[Completion]:
        assert engine.info.model == str(MODEL)
        return await asyncio.gather(*(engine.read(page(number)) for number in wanted))

    completions = use(vllm_server, work)
    assert [completion.text.strip() for completion in completions] == wanted
    assert {completion.finish_reason for completion in completions} == {"stop"}
    assert all(c.prompt_tokens > 16 and c.completion_tokens >= 4 for c in completions)


def test_a_request_that_cannot_be_answered_costs_only_itself(vllm_server: VllmServe) -> None:
    image = encode_jpeg(draw("1234"))
    bad = {
        "long": Request("long", 1, (), "<image>" + "word " * SERVED_LENGTH, jpegs=[image]),
        "corrupt": Request("corrupt", 1, (), "<image>", jpegs=[image[: len(image) // 8]]),
    }

    async def work(engine: OpenAiEngine) -> list[Any]:
        requests = [*bad.values(), *map(page, ("0042", "4200"))]
        return await asyncio.gather(*map(engine.read, requests), return_exceptions=True)

    long, corrupt, *good = use(vllm_server, work)
    assert [completion.text.strip() for completion in good] == ["0042", "4200"]
    for error in (long, corrupt):
        assert isinstance(error, EngineError), error
        assert "HTTP 400" in str(error)
    assert "1024" in str(long)


def test_what_vllm_is_told_beyond_the_standard_is_understood(vllm_server: VllmServe) -> None:
    """Forty tokens are asked for at least, so the answer goes on past its end."""
    sampling = {"min_tokens": 40, "max_tokens": 40, "skip_special_tokens": False, "ngram_size": 20}
    completion = use(vllm_server, lambda engine: engine.read(page("5678")), sampling=sampling)
    assert (completion.completion_tokens, completion.finish_reason) == (40, "length")
    assert completion.text.startswith("5678")


def test_more_tokens_than_the_server_has_are_cut(vllm_server: VllmServe) -> None:
    sampling = {"max_tokens": 50 * SERVED_LENGTH}
    assert (
        use(vllm_server, lambda engine: engine.read(page("8765")), sampling=sampling).text.strip() == "8765"
    )


def test_a_request_that_is_taken_back_stops_the_server_working_on_it(vllm_server: VllmServe) -> None:
    sampling = {"min_tokens": 900, "max_tokens": 900, "stop_repetition": False}
    generated = metric(vllm_server, "vllm:generation_tokens_total{")

    async def work(engine: OpenAiEngine) -> None:
        reads = [asyncio.ensure_future(engine.read(page(number))) for number in numbers(8)]
        while await asyncio.to_thread(metric, vllm_server, "vllm:num_requests_running{") < len(reads):
            assert not any(read.done() for read in reads)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        while await asyncio.to_thread(metric, vllm_server, "vllm:num_requests_running{"):
            pass

    use(vllm_server, work, sampling=sampling)
    assert metric(vllm_server, "vllm:generation_tokens_total{") - generated < 8 * 900


def test_a_model_that_is_not_served_is_named_with_those_that_are(vllm_server: VllmServe) -> None:
    with pytest.raises(ConfigError, match=f"does not serve 'qwen3-vl'; it serves '{MODEL}'"):
        use(vllm_server, lambda engine: engine.read(page("1")), model="qwen3-vl")
