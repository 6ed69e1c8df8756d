"""Choosing and loading engines; the scripted engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from actors.engines.base import Request
from actors.engines.load import KINDS, check_engine, check_taken, footprint, load_engine
from actors.engines.settings import EngineConfig
from actors.models.weights.cards import choose_gpus
from manifests.errors import ConfigError, EngineError, EngineUnavailable


def scripted(**args: object):
    return load_engine(EngineConfig(kind="scripted", engine_args=args))


def image(height: int = 40, width: int = 60, value: int = 200) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def read(engine, doc_id: str = "a", page: int = 1, *images: np.ndarray):
    return asyncio.run(engine.read(Request(doc_id, page, images or (image(),))))


def test_an_unknown_kind_is_refused_with_those_there_are_and_nothing_is_loaded():
    for refuse in (check_engine, footprint, load_engine):
        with pytest.raises(ConfigError, match=f"one of {', '.join(KINDS)}; got 'vlm'"):
            refuse(EngineConfig(kind="vlm"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"windo": 3}, "engine.engine_args.windo: "),
        ({"concurrency": 0}, "engine.engine_args.concurrency: .*greater than or equal to 1"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused_by_field(args, message):
    with pytest.raises(ConfigError, match=message):
        check_engine(EngineConfig(kind="scripted", engine_args=args))


def test_checking_and_measuring_load_no_engine_library():
    code = (
        "import sys; from actors.engines.load import *; from actors.engines.settings import EngineConfig\n"
        "check_engine(EngineConfig()); footprint(EngineConfig())\n"
        "sys.exit('rapidocr' in sys.modules or 'onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_footprint_is_that_of_the_engine():
    assert footprint(EngineConfig()).num_gpus == 0
    script = EngineConfig(kind="scripted", engine_args={"num_gpus": 2, "num_cpus": 3})
    assert (footprint(script).num_gpus, footprint(script).num_cpus) == (2, 3.0)


def test_the_scripted_engine_tells_of_its_concurrency_and_window():
    info = scripted(concurrency=3, window=7, abortable=True).info
    assert (info.name, info.concurrency, info.window, info.abortable) == ("scripted", 3, 7, True)


def test_scripted_text_shows_which_page_with_which_pixels_was_read():
    engine = scripted()
    text = read(engine, "x/a.pdf", 7).text
    assert text.startswith("x/a.pdf page 7: 60x40 ")
    assert read(engine, "x/a.pdf", 7).text == text
    assert read(engine, "x/a.pdf", 7, image(value=201)).text != text


def test_the_scripted_engine_refuses_the_pages_it_is_told_to():
    engine = scripted(fail_on=["a#2"])
    assert read(engine, "a", 1).finish_reason == "stop"
    with pytest.raises(EngineError, match="a#2"):
        read(engine, "a", 2)


def test_the_scripted_engine_hangs_on_the_pages_it_is_told_to_and_can_be_cancelled():
    async def go() -> None:
        request = Request("a", 2, [image()])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(scripted(hang_on=["a#2"]).read(request), 0.01)

    asyncio.run(go())


def test_the_scripted_engine_answers_and_ends_as_it_is_told_to():
    engine = scripted(empty_on=["a#1"], finish_reasons={"a#2": "MAX_TOKENS"}, answers={"a#3": "given"})
    assert read(engine, "a", 1).text == ""
    assert read(engine, "a", 2).finish_reason == "length"
    assert read(engine, "a", 3).text == "given"


def test_the_scripted_engine_turns_after_so_many_pages_and_the_warm_up_is_none():
    refusing = scripted(fail_after=2)
    for doc_id in ("", "a", "b"):
        read(refusing, doc_id, 1)
    with pytest.raises(EngineError):
        read(refusing, "c", 1)
    waiting = scripted(wait_after=0, wait_s=0.01)
    assert waiting.waiting == ""
    with pytest.raises(EngineUnavailable, match="no server has answered"):
        read(waiting, "a", 1)
    assert waiting.waiting == "scripted to wait: no server answers"

    async def hang() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(scripted(hang_after=0).read(Request("a", 2, [image()])), 0.01)

    asyncio.run(hang())


@pytest.mark.parametrize(
    ("args", "doc_id", "dies"),
    [
        ({"kill_on": ["a#1"]}, "a", True),
        ({"kill_on": ["a#1"]}, "b", False),
        ({"kill_always": True}, "b", True),
        ({"kill_always": True}, "", False),
    ],
)
def test_the_scripted_engine_ends_its_process_with_a_message(args, doc_id, dies):
    code = (
        "import asyncio, numpy as np\n"
        "from actors.engines.base import Request\n"
        "from actors.engines.settings import EngineConfig\n"
        "from actors.engines.load import load_engine\n"
        f"engine = load_engine(EngineConfig(kind='scripted', engine_args={args!r}))\n"
        f"asyncio.run(engine.read(Request({doc_id!r}, 1, [np.zeros((9, 9, 3), np.uint8)])))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count(f"killed by {doc_id}#1")) == ((1, 1) if dies else (0, 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "rapidocr", "model": "m"}, "engine.model: rapidocr takes none"),
        ({"kind": "auto", "subject": "x"}, "engine.subject: auto takes none"),
        ({"kind": "auto", "dialect": "plain"}, "engine.dialect: auto takes none"),
        ({"kind": "tesseract", "tensor_parallel_size": 2}, "tesseract reads on the CPU"),
        ({"kind": "rapidocr", "device": "cuda"}, "rapidocr reads on the CPU"),
        ({"kind": "vllm", "device": "cpu", "gpus": "1"}, "engine.gpus: 1, but engine.device=cpu"),
        ({"kind": "vllm", "transformers": {"batch_size": 4}}, "engine.transformers: for the transformers"),
        ({"kind": "openai", "max_tiles": 4}, "engine.max_tiles: openai takes none"),
        ({"kind": "openai", "device": "cpu"}, "engine.device: openai takes none"),
        ({"kind": "openai", "tensor_parallel_size": 2}, "engine.tensor_parallel_size: openai takes none"),
    ],
)
def test_a_setting_that_an_engine_would_ignore_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        check_taken(EngineConfig(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sampling": {"min_tokens": 9, "max_tokens": 8}}, r"sampling\.min_tokens: 9 are more than"),
        ({"sampling": {"ngram_size": 30, "ngram_window": 20}}, r"sampling\.ngram_window: 20 tokens hold no"),
        ({"transformers": {"max_memory": "cuda:0=.GiB"}}, r"max_memory: 'cuda:0=.GiB' must be like"),
        ({"openai": {"server_urls": ["http://me:secret@host/v1"]}}, "holds a user name or password"),
        ({"openai": {"server_urls": ["http://host/v1?key=secret"]}}, "api_key_env names"),
        ({"openai": {"api_key_env": "sk-secret"}}, "api_key_env: the name of an environment variable"),
    ],
)
def test_settings_that_no_engine_could_use_are_refused_before_anything_is_stored(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_engine(EngineConfig(**fields))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *(
            ({"transformers": {"batch_size": size}}, "must be auto, or a number")
            for size in (0, -1, "0", 1.5, True)
        ),
        *(
            ({"gpus": gpus}, "must be numbers of GPUs, each once")
            for gpus in ("a", "0,0", "1,01", "0,,1", "-1")
        ),
        ({"sampling": {"stop": [""]}}, "at least 1 character"),
        ({"sampling": {"seed": -1}}, "greater than or equal to 0"),
    ],
)
def test_odd_values_are_refused_in_one_sentence(fields, message):
    with pytest.raises(ValidationError, match=message) as caught:
        EngineConfig(**fields)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize(
    ("before", "gpus", "after"),
    [(None, "1,2", "1,2"), ("0,1,2,3", "1", "1"), ("2", "1,2", "2"), ("", "0", "0")],
)
def test_the_gpus_asked_for_are_those_seen_and_ray_may_choose_among_them(monkeypatch, before, gpus, after):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before or "")
    if before is None:
        del os.environ["CUDA_VISIBLE_DEVICES"]  # monkeypatch puts back what was there at first
    choose_gpus(gpus)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after


def test_numbers_of_gpus_may_be_written_in_many_ways():
    assert [EngineConfig(gpus=gpus).gpus for gpus in ("", 0, "0, 1 ")] == ["", "0", "0,1"]
    assert EngineConfig(transformers={"batch_size": "16"}).transformers.batch_size == 16


def test_what_models_occupy_follows_their_devices():
    assert footprint(EngineConfig(kind="vllm", tensor_parallel_size=4)).num_gpus == 4
    assert footprint(EngineConfig(kind="transformers", device="cpu")).num_gpus == 0
    server = footprint(EngineConfig(kind="openai"))
    assert (server.num_gpus, server.takes_jpeg) == (0, True)
