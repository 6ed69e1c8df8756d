"""The transformers engine on a model that truly reads: batches, rows, faults, devices."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from actors.engines.base import Completion, Request
from actors.engines.settings import EngineConfig
from actors.engines.transformers.engine import TransformersEngine
from manifests.errors import ConfigError, EngineDead, EngineError
from tests.engines.read_rows import ending, read_row
from tests.engines.tiny_reader.model import MODEL
from tests.engines.tiny_reader.pages import draw, numbers

WHITE = np.full((112, 112, 3), 255, dtype=np.uint8)


def config(**changes: Any) -> EngineConfig:
    settings: dict[str, Any] = {
        "kind": "transformers",
        "model": str(MODEL),
        "device": "cpu",
        "sampling": {"max_tokens": 16},
        "transformers": {"batch_size": 16},
    }
    for name, value in changes.items():
        known = settings.get(name)
        settings[name] = {**known, **value} if isinstance(known, dict) else value
    return EngineConfig.model_validate(settings)


@pytest.fixture(scope="module")
def engines() -> Iterator[Any]:
    """Engines by their settings, each loaded once."""
    loaded: dict[str, TransformersEngine] = {}

    def get(**changes: Any) -> TransformersEngine:
        return loaded.setdefault(repr(changes), TransformersEngine(config(**changes)))

    yield get
    for engine in loaded.values():
        asyncio.run(engine.close())


def ask(engine: TransformersEngine, requests: Sequence[Request]) -> list[Completion]:
    """All answers, in the order of the requests; an error is raised."""

    async def gathered() -> list[Completion]:
        return await asyncio.gather(*[engine.read(request) for request in requests])

    return asyncio.run(gathered())


def outcomes(engine: TransformersEngine, requests: Sequence[Request]) -> list[Completion | BaseException]:
    async def gathered() -> list[Completion | BaseException]:
        return await asyncio.gather(*[engine.read(request) for request in requests], return_exceptions=True)

    return asyncio.run(gathered())


def page(number: str, place: int = 1, prompt: str = "Read the page.", temperature: float = 0.0) -> Request:
    return Request("doc", place, [draw(number)], prompt, temperature)


def mixed_requests() -> list[Request]:
    """Pages of one to ten tiles, prompts short and long, before and after the image, one image and two."""
    dice = random.Random(3)
    made = []
    for place, number in enumerate(numbers(24, seed=3)):
        image = draw(number, dice.choice((1, 1, 2, 3)))
        prompt = dice.choice(("", "OCR:", "<image>\nFree OCR.", "Say what you see. " * dice.randint(1, 9)))
        if place % 8 == 7:
            made.append(Request("d", place, [WHITE, image], "<image> and <image>: compare."))
        else:
            made.append(Request("d", place, [image], prompt))
    return made


def test_every_page_of_a_batch_gets_its_own_number(engines):
    expected = numbers(100, seed=1)
    completions = ask(engines(), [page(number, place) for place, number in enumerate(expected)])
    assert [completion.text for completion in completions] == expected
    assert {completion.finish_reason for completion in completions} == {"stop"}
    assert {completion.completion_tokens for completion in completions} == {5}


def test_a_batch_says_what_each_page_says_alone(engines):
    requests = mixed_requests()
    together = ask(engines(), requests)
    alone = [ask(engines(), [request])[0] for request in requests]
    assert together == alone
    assert len({completion.prompt_tokens for completion in alone}) > 5


def test_prompt_tokens_count_the_page_and_not_its_padding(engines):
    small, large = ask(engines(), [page("1234"), Request("d", 1, [draw("1234", 2)], "Read the page.")])
    assert large.prompt_tokens - small.prompt_tokens == 4 * 16


def test_fewer_tiles_where_asked(engines):
    request = Request("d", 1, [draw("1234", 3)])
    (many,), (few,) = ask(engines(), [request]), ask(engines(max_tiles=4), [request])
    assert many.prompt_tokens - few.prompt_tokens == 5 * 16


def test_a_raw_prompt_is_put_as_it_is(engines):
    template = "<|im_start|>user\nOCR:<image><|im_end|>\n<|im_start|>assistant\n"
    raw = ask(engines(prompt_format="raw"), [page("4711", prompt=template)])
    assert raw == ask(engines(), [page("4711", prompt="OCR:")])
    assert raw[0].text == "4711"
    bare = ask(engines(prompt_format="raw"), [page("4711", prompt="OCR:<image>")])[0]
    assert bare.prompt_tokens == len("OCR:") + 16 + 2


@pytest.mark.parametrize(
    ("images", "prompt", "said"),
    [
        (2, "<image><image><image>", "3 <image> placeholders for 2 images"),
        (1, "<image><image>", "2 <image> placeholders for 1 image"),
        (1, "what is <IMG_CONTEXT>?", "own image token"),
    ],
)
def test_placeholders_that_do_not_match_fail_their_page_alone(engines, images, prompt, said):
    wrong = Request("d", 1, [WHITE] * images, prompt)
    failed, *fine = outcomes(engines(), [wrong, page("1111"), page("2222")])
    assert isinstance(failed, EngineError)
    assert said in str(failed)
    assert [completion.text for completion in fine] == ["1111", "2222"]


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 10, 3), np.uint8), np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32)],
)
def test_a_corrupt_image_fails_alone(engines, image):
    failed, fine = outcomes(engines(), [Request("d", 1, [image]), page("1234")])
    assert isinstance(failed, EngineError)
    assert "not an RGB image" in str(failed)
    assert fine.text == "1234"


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (3, 3), (900, 2)])
def test_odd_sizes_are_read_like_any_other(engines, shape):
    odd, fine = ask(engines(), [Request("d", 1, [np.zeros((*shape, 3), np.uint8)]), page("1234")])
    assert odd.prompt_tokens > 16
    assert fine.text == "1234"


def test_a_page_that_the_processor_refuses_fails_alone(engines, monkeypatch):
    engine = engines()
    process = engine._inputs.batch

    def refuse(rows):
        if any("refuse me" in row.text for row in rows):
            raise ValueError("no such image")
        return process(rows)

    monkeypatch.setattr(engine._inputs, "batch", refuse)
    requests = [page("1111"), page("2222", prompt="refuse me"), page("3333")]
    first, refused, last = outcomes(engine, requests)
    assert (first.text, last.text) == ("1111", "3333")
    assert isinstance(refused, EngineError)
    assert "no such image" in str(refused)


def test_a_prompt_longer_than_the_model_fails_alone(engines):
    failed, fine = outcomes(engines(), [page("1111", prompt="x" * 5_000), page("2222")])
    assert isinstance(failed, EngineError)
    assert "the model holds 4096" in str(failed)
    assert fine.text == "2222"


def test_an_answer_is_cut_where_its_tokens_end(engines):
    completion = ask(engines(sampling={"max_tokens": 2}), [page("1234")])[0]
    assert (completion.text, completion.finish_reason, completion.completion_tokens) == ("12", "length", 2)


def test_a_request_may_have_a_lower_limit_of_its_own(engines):
    short = replace(page("1234"), max_tokens=2)
    for engine in (engines(), engines(sampling={"min_tokens": 12})):
        cut, whole = ask(engine, [short, page("5678")])
        assert (cut.text, cut.finish_reason, cut.completion_tokens) == ("12", "length", 2)
        assert whole.text.startswith("5678")


def test_an_answer_is_cut_where_the_model_ends(engines):
    prompt = "x" * (4096 - ask(engines(), [page("1234", prompt="")])[0].prompt_tokens - 3)
    completion = ask(engines(), [page("1234", prompt=prompt)])[0]
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 3)


def test_a_stop_text_ends_its_own_row_and_is_left_out(engines):
    engine = engines(sampling={"stop": ["23"]})
    first, second = ask(engine, [page("1234", prompt="Not at 23 of the prompt"), page("5678")])
    assert (first.text, first.finish_reason, first.completion_tokens) == ("1", "stop", 3)
    assert second.text == "5678"


def test_an_answer_may_not_end_before_its_least_tokens(engines):
    completion = ask(engines(sampling={"min_tokens": 12}), [page("1234")])[0]
    assert completion.text.startswith("1234")
    assert completion.completion_tokens >= 12


def test_special_tokens_stay_where_asked(engines):
    engine = engines(sampling={"skip_special_tokens": False, "min_tokens": 8})
    assert ask(engine, [page("1234")])[0].text.startswith("1234")


def test_a_row_says_how_its_answer_ended(engines):
    def read(**changes: Any) -> tuple[str, str, str]:
        return ending(asyncio.run(read_row(engines(**changes), "1234")))

    assert read() == ("ok", "stop", "")
    assert read(sampling={"max_tokens": 2}) == ("fallback", "length", "truncated after 1 attempt")
    assert read(sampling={"stop": ["1"]}) == ("fallback", "stop", "empty answer after 1 attempt")


def test_a_row_that_repeats_itself_ends_and_its_neighbour_goes_on(engines):
    engine = engines(sampling={"max_tokens": 2_000, "min_tokens": 3}, engine_args={})
    chosen = iter("7" * 10_000)
    digits = engine._loaded.processor.tokenizer.convert_tokens_to_ids
    generate = engine._loaded.model.generate

    def loop(**arguments: Any) -> torch.Tensor:
        def first_row_says_seven(input_ids, scores):
            scores[0] = -torch.inf
            scores[0, digits(next(chosen))] = 0.0
            return scores

        arguments["logits_processor"].append(first_row_says_seven)
        return generate(**arguments)

    engine._loaded.model.generate = loop
    try:
        looping, fine = ask(engine, [page("1111"), page("2222")])
    finally:
        engine._loaded.model.generate = generate
    assert (looping.finish_reason, set(looping.text)) == ("repetition", {"7"})
    assert 600 <= looping.completion_tokens < 700
    assert (fine.text, fine.finish_reason) == ("2222", "stop")


def test_a_row_nobody_waits_for_ends_at_the_next_token(monkeypatch):
    engine = TransformersEngine(config(sampling={"max_tokens": 3_000, "min_tokens": 2_999}))
    generating, widths = threading.Event(), []
    generate = engine._loaded.model.generate

    def recorded(**inputs: Any) -> torch.Tensor:
        generating.set()
        output: torch.Tensor = generate(**inputs)
        widths.append(output.shape[1] - inputs["input_ids"].shape[1])
        return output

    monkeypatch.setattr(engine._loaded.model, "generate", recorded)

    async def give_up() -> None:
        slow = asyncio.ensure_future(engine.read(page("1111")))
        assert await asyncio.to_thread(generating.wait, 60)
        slow.cancel()
        await engine.close()

    asyncio.run(give_up())
    assert widths[0] < 2_000


def test_sampling_depends_on_the_page_and_not_on_its_neighbours(engines):
    engine = engines(sampling={"max_tokens": 40, "min_tokens": 39, "stop_repetition": False})
    hot = [page(number, place, temperature=1.5) for place, number in enumerate(numbers(9, seed=2))]
    together = ask(engine, hot)
    alone = [ask(engine, [request])[0] for request in hot]
    assert [completion.text for completion in together] == [completion.text for completion in alone]
    assert len({completion.text[5:] for completion in together}) == 9
    other = engines(sampling={"max_tokens": 40, "min_tokens": 39, "stop_repetition": False, "seed": 1})
    assert ask(other, hot[:1])[0].text != together[0].text


def test_greedy_and_sampled_pages_may_be_asked_at_once(engines):
    requests = [page(number, 1, temperature=0.3 * (place % 2)) for place, number in enumerate(numbers(8))]
    assert [completion.text for completion in ask(engines(), requests)] == numbers(8)


def test_a_narrow_nucleus_is_as_good_as_greedy(engines):
    engine = engines(sampling={"top_p": 0.01})
    assert ask(engine, [page("8642", temperature=1.5)])[0].text == "8642"


def test_a_penalty_and_a_guard_keep_tokens_from_coming_again(engines):
    tokens = {"max_tokens": 30, "min_tokens": 29, "stop_repetition": False}
    guarded = ask(engines(sampling={**tokens, "ngram_size": 1, "ngram_window": 30}), [page("1111")])[0]
    assert len(set(guarded.text)) == len(guarded.text)
    penalised = ask(engines(sampling={**tokens, "repetition_penalty": 50.0}), [page("1111")])[0]
    assert not penalised.text.startswith("11")


def test_a_penalty_does_not_depend_on_padding(engines):
    engine = engines(sampling={"repetition_penalty": 1.3, "max_tokens": 12})
    requests = [
        page("1234"),
        page("5678", prompt="A much longer prompt. " * 9),
        Request("d", 1, [draw("99", 3)]),
    ]
    assert ask(engine, requests) == [ask(engine, [request])[0] for request in requests]


class ShortOfMemory:
    """Raises what a device raises when more than so many rows come at once."""

    def __init__(self, engine: TransformersEngine, rows: int, error: Exception) -> None:
        self.generate, self.rows, self.error = engine._loaded.model.generate, rows, error
        self.batches: list[int] = []

    def __call__(self, **inputs: Any) -> torch.Tensor:
        self.batches.append(len(inputs["input_ids"]))
        if self.batches[-1] > self.rows:
            raise self.error
        output: torch.Tensor = self.generate(**inputs)
        return output


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        MemoryError(),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_next_are_smaller(monkeypatch, error):
    engine = TransformersEngine(config(transformers={"batch_size": 12}))
    short = ShortOfMemory(engine, 3, error)
    monkeypatch.setattr(engine._loaded.model, "generate", short)
    expected = numbers(24, seed=9)
    found = ask(engine, [page(number, place) for place, number in enumerate(expected)])
    assert [completion.text for completion in found] == expected
    assert short.batches[:3] == [12, 6, 3]
    assert engine.batch_size == 3
    asyncio.run(engine.close())


def test_a_page_that_fits_nowhere_fails_and_others_are_read(engines, monkeypatch):
    engine = TransformersEngine(config())
    monkeypatch.setattr(engine._loaded.model, "generate", ShortOfMemory(engine, 0, MemoryError()))
    failed = outcomes(engine, [page("1111")])[0]
    assert isinstance(failed, EngineError)
    assert "does not fit in memory" in str(failed)
    asyncio.run(engine.close())


def test_a_gpu_that_died_is_the_end_of_the_engine(monkeypatch):
    engine = TransformersEngine(config())
    error = RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
    monkeypatch.setattr(engine._loaded.model, "generate", ShortOfMemory(engine, 0, error))
    assert all(isinstance(found, EngineDead) for found in outcomes(engine, [page("1111"), page("2222")]))
    with pytest.raises(EngineDead, match="illegal memory access"):
        ask(engine, [page("3333")])
    asyncio.run(engine.close())


def test_the_automatic_batch_is_sized_by_model_and_memory(engines):
    engine = engines(transformers={"batch_size": "auto"})
    assert engine.info.concurrency >= 3 * engine.batch_size > 3
    assert engine.info.window > engine.info.concurrency
    expected = numbers(30, seed=4)
    assert [found.text for found in ask(engine, [page(number) for number in expected])] == expected


def test_layers_may_be_offloaded_to_a_folder(tmp_path):
    placed = {"max_memory": "cpu=300KB", "offload_folder": str(tmp_path / "layers")}
    engine = TransformersEngine(config(transformers=placed))
    assert "disk" in engine._loaded.model.hf_device_map.values()
    assert [found.text for found in ask(engine, [page("1234"), page("5678")])] == ["1234", "5678"]
    asyncio.run(engine.close())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine_args": {"use_safetensor": True}}, "did you mean use_safetensors"),
        ({"engine_args": {"torch_dtype": "float16"}}, "set engine.dtype instead"),
        ({"engine_args": {"use_safetensors": "banana"}}, "must be true or false, got 'banana'"),
        ({"engine_args": {"quantization_config": 5}}, "must be a mapping, got 5"),
        ({"processor_args": {"max_patch": 3}}, "did you mean max_patches"),
        ({"transformers": {"device_map": "everywhere"}}, "device_map must be one of auto"),
        ({"transformers": {"max_memory": "gpu0=3"}}, "must be like cuda:0=21GiB"),
        ({"transformers": {"max_memory": "cuda:0=21GiB"}}, "cuda:0: the model is to run on the CPU"),
        ({"transformers": {"attn_implementation": "flash_attention_2"}}, "attn_implementation"),
        ({"device": "cuda"}, "sees no GPU here"),
        ({"model": "/nowhere/at/all"}, "check engine.model"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_remedy(changes, said):
    with pytest.raises(ConfigError, match=said):
        TransformersEngine(config(**changes))


def spoil_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def remove_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def remove_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def damage_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for x in %}")


def rename_a_tensor(folder: Path) -> None:
    """As in a checkpoint of another form: the header is of the same length."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"layers.0.mlp.gate_proj", b"layers.0.mlp.gate_prox", 1))


def rename_architecture(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"internvl"', '"of_tomorrow"'))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (spoil_weights, "weights are missing or damaged"),
        (remove_weights, "weights are missing or damaged"),
        (remove_tokenizer, "tokenizer"),
        (remove_template, "brings no chat template"),
        (damage_template, "chat template refuses the prompt: Expected an expression"),
        (rename_a_tensor, r"weights lack 1 of the model's tensors \(.*layers.0.mlp.gate_proj.weight\)"),
        (rename_architecture, "no such model that sees images"),
    ],
)
def test_a_model_folder_with_a_fault_is_refused_with_the_remedy(tmp_path, harm, said):
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    harm(folder)
    with pytest.raises(ConfigError, match=said):
        TransformersEngine(config(model=str(folder)))


def test_the_reader_itself_is_small_and_its_weights_are_half_width():
    size = sum(file.stat().st_size for file in MODEL.iterdir())
    assert size < 3_000_000
    assert AutoModelForImageTextToText.from_pretrained(MODEL).dtype == torch.bfloat16
