"""A preset as the lowest layer of a job's configuration, and what of it counts in the fingerprint."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.engines.load import check_taken
from actors.models.presets.library import GENERIC, presets
from jobs.cli.main import app
from jobs.config import JobConfig, fingerprint, load_config
from jobs.factories import open_store
from jobs.flow import Outcome
from jobs.models import choice as model_choice
from jobs.retrying import retry_config
from manifests.errors import ConfigError
from tests.jobs.entering import enter_output

SERVER = "engine.openai.server_urls=[http://localhost:8000/v1]"


def load(*sets: str, base: dict[str, object] | None = None, file: Path | None = None) -> JobConfig:
    return load_config(file, sets, {}, base)


def complaint(*sets: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*sets)
    return str(caught.value)


def settings_of_all_presets() -> list[tuple[str, ...]]:
    jobs: list[tuple[str, ...]] = []
    for name, preset in presets().items():
        for kind in (*preset.engines, "openai"):
            model = "org/model" if name == GENERIC else name
            if name == "lighton-ocr" and kind == "transformers":
                continue  # only for local folders
            base = (f"engine.model={model}", f"engine.kind={kind}", f"engine.preset={name}")
            for mode in preset.modes:
                subject = ("engine.subject=the seal",) if mode == "locate" else ()
                jobs.append((*base, f"engine.mode={mode}", *subject))
            if kind in preset.sized_by:
                jobs += [(*base, f"engine.size={size}") for size in preset.sizes]
    return jobs


@pytest.mark.parametrize("sets", settings_of_all_presets(), ids=" ".join)
def test_every_mode_and_size_of_every_preset_loads_and_stays_as_it_is_when_loaded_again(sets):
    config = load(*sets)
    check_taken(config.engine)
    assert load(base=config.model_dump(mode="json")) == config


def test_a_name_becomes_model_preset_mode_size_and_prompt():
    config = load("engine.model=deepseek-ocr")
    engine = config.engine
    assert (engine.kind, engine.model, engine.preset) == ("vllm", "deepseek-ai/DeepSeek-OCR", "deepseek-ocr")
    assert (engine.mode, engine.size, engine.prompt) == ("clean", "gundam", "<image>\nFree OCR.")
    assert engine.processor_args == {"base_size": 1024, "image_size": 640, "crop_mode": True}
    assert (engine.prompt_format, engine.sampling.ngram_size, engine.sampling.ngram_window) == ("raw", 30, 90)
    assert (engine.sampling.max_tokens, engine.sampling.skip_special_tokens) == (8192, False)
    assert config.render.dpi == 144


@pytest.mark.parametrize(
    ("size", "base", "image", "crop"),
    [
        ("tiny", 512, 512, False),
        ("small", 640, 640, False),
        ("base", 1024, 1024, False),
        ("large", 1280, 1280, False),
        ("gundam", 1024, 640, True),
    ],
)
def test_the_sizes_of_deepseek_ocr_are_its_makers(size, base, image, crop):
    engine = load("engine.model=deepseek-ocr", f"engine.size={size}").engine
    assert engine.processor_args == {"base_size": base, "image_size": image, "crop_mode": crop}


def test_whatever_the_user_says_goes_over_the_preset(tmp_path, monkeypatch):
    file = tmp_path / "job.yaml"
    file.write_text("engine: {model: qwen3-vl, sampling: {max_tokens: 99}}\n")
    monkeypatch.setenv("PAGEFLEET_ENGINE__SAMPLING__TOP_P", "0.5")
    config = load("engine.prompt=read", "engine.processor_args.size.shortest_edge=1000", file=file)
    assert (config.engine.sampling.max_tokens, config.engine.sampling.top_p) == (99, 0.5)
    assert config.engine.prompt == "read"
    assert config.engine.processor_args == {"size": {"shortest_edge": 1000, "longest_edge": 4_718_592}}
    assert config.engine.vllm.max_model_len == 16384


def test_the_mode_goes_over_the_size_and_the_size_over_the_preset(monkeypatch):
    def settings(value: int) -> dict[str, dict[str, object]]:
        return {"engine": {"max_tiles": value}}

    plain = presets()["internvl3"]
    for expected in (3, 4, 5):
        size = plain.sizes["base"].model_copy(update={"settings": settings(4) if expected > 3 else {}})
        mode = plain.modes["clean"].model_copy(update={"settings": settings(5) if expected > 4 else {}})
        update = {"settings": settings(3), "sizes": {"base": size}, "modes": {"clean": mode}}
        preset = plain.model_copy(update=update)
        monkeypatch.setattr(
            "actors.models.presets.choice.presets", lambda preset=preset: {"internvl3": preset}
        )
        assert load("engine.model=internvl3").engine.max_tiles == expected


def test_only_what_is_for_the_engine_is_taken_from_the_preset():
    engine = load("engine.model=qwen3-vl", "engine.kind=transformers").engine
    assert engine.vllm.max_model_len is None
    assert load("engine.model=deepseek-ocr", SERVER).engine.prompt_format == "chat"


def test_a_resolution_in_the_users_unit_displaces_the_presets():
    assert load("engine.model=lighton-ocr").render.longest_side == 1540
    render = load("engine.model=lighton-ocr", "render.dpi=100").render
    assert (render.dpi, render.longest_side) == (100, None)


def test_what_the_locate_prompt_looks_for_is_filled_in():
    engine = load("engine.model=deepseek-ocr", "engine.mode=locate", "engine.subject=a {seal}").engine
    assert engine.prompt == "<image>\nLocate <|ref|>a {seal}<|/ref|> in the image."


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (("engine.mode=locate",), "engine.subject: mode locate: say what to look for"),
        (("engine.subject=x",), "engine.subject: mode clean: looks for nothing; leave it out"),
        (("engine.mode=x",), "deepseek-ocr has clean, grounded, figure, describe, locate; got 'x'"),
        (("engine.size=x",), "deepseek-ocr has tiny, small, base, large, gundam; got 'x'"),
        (("engine.size=tiny", SERVER), "deepseek-ocr takes none in openai (only vllm can be told it)"),
        (("engine.size=tiny", "engine.model=glm-ocr"), "glm-ocr takes none in vllm (there is only one)"),
        (("engine.prompt=<image><image>",), "engine.prompt: a page is one image, but the prompt has 2"),
        (("engine.model=OpenGVLab/InternVL3-8B",), "take --model internvl3, which needs none, or give --set"),
        (("engine.preset=x",), "engine.preset must be a preset; got 'x'"),
    ],
)
def test_what_does_not_fit_the_model_is_told(sets, told):
    assert told in complaint("engine.model=deepseek-ocr", *sets)


def test_code_that_comes_with_a_model_runs_when_the_user_says_so():
    sets = ("engine.model=OpenGVLab/InternVL3-8B", "engine.trust_remote_code=true")
    assert load(*sets).engine.model == "OpenGVLab/InternVL3-8B"


@pytest.mark.parametrize("engine", ["5", "{model: 5}", "{model: qwen3-vl, sampling: {max_tokens: 0}}"])
def test_malformed_settings_are_told_by_their_name(tmp_path, engine):
    file = tmp_path / "job.yaml"
    file.write_text(f"engine: {engine}\n")
    with pytest.raises(ConfigError, match=r"job\.yaml: engine"):
        load(file=file)


@pytest.mark.parametrize(
    ("installed", "sets", "kind"),
    [
        ({"vllm", "transformers"}, ("engine.model=qwen3-vl",), "vllm"),
        ({"transformers"}, ("engine.model=qwen3-vl",), "transformers"),
        ({"transformers"}, ("engine.preset=qwen3-vl",), "transformers"),
        ({"transformers"}, ("engine.model=qwen3-vl", "engine.kind=vllm"), "vllm"),
        ({"transformers"}, ("engine.model=qwen3-vl", SERVER), "openai"),
        ({"transformers"}, (), "rapidocr"),
        (set(), ("engine.model=qwen3-vl",), "vllm"),
    ],
)
def test_the_engine_is_the_one_that_is_installed(monkeypatch, installed, sets, kind):
    real = importlib.util.find_spec
    known = {"vllm", "transformers"}
    monkeypatch.setattr(
        model_choice, "find_spec", lambda name: name in installed or None if name in known else real(name)
    )
    assert load(*sets).engine.kind == kind


def test_other_engines_are_left_alone():
    config = load("engine.kind=scripted", "engine.prompt=x", "engine.mode=y")
    assert (config.engine.preset, config.engine.prompt, config.engine.mode) == ("", "x", "y")
    assert set(load().result_fields()) == {
        *("task", "postprocessing", "retry"),
        *(f"render.{name}" for name in ("dpi", "longest_side", "max_pixels", "skip_blank", "text_layer")),
        *(f"engine.{name}" for name in ("kind", "model", "mode", "prompt", "lang", "engine_args")),
    }


@pytest.mark.parametrize(
    ("setting", "counts"),
    [
        ("engine.mode=describe", True),
        ("engine.size=small", True),
        ("engine.model=qwen3-vl:4b", True),
        ("engine.revision=abc", True),
        ("engine.prompt=read", True),
        ("engine.prompt_format=raw", True),
        ("engine.sampling.max_tokens=9", True),
        ("engine.sampling.ngram_size=30", True),
        ("engine.processor_args={size: {shortest_edge: 9}}", True),
        ("engine.max_tiles=3", True),
        ("engine.dtype=float16", True),
        ("engine.engine_args={quantization: awq}", True),
        ("engine.vllm.kv_cache_dtype=fp8", True),
        ("engine.vllm.fp8_weights=true", True),
        ("engine.kind=transformers", True),
        ("engine.vllm.max_num_seqs=3", False),
        ("engine.vllm.enforce_eager=true", False),
        ("engine.vllm.gpu_memory_utilization=0.5", False),
        ("engine.tensor_parallel_size=2", False),
        ("engine.gpus=0", False),
        ("engine.device=cpu", False),
        ("engine.page_timeout_s=5", False),
        ("engine.trust_remote_code=true", False),
    ],
)
def test_the_fingerprint_covers_what_changes_an_answer(setting, counts):
    plain, changed = load("engine.model=qwen3-vl"), load("engine.model=qwen3-vl", setting)
    assert (fingerprint(plain.result_fields()) != fingerprint(changed.result_fields())) == counts


def test_batches_and_servers_do_not_count_in_the_fingerprint():
    for sets in (
        (
            "engine.kind=transformers",
            "engine.transformers.batch_size=4",
            "engine.transformers.max_memory=cpu=9GiB",
        ),
        ("engine.kind=openai", SERVER, "engine.openai.max_concurrency=3"),
    ):
        plain, changed = load("engine.model=qwen3-vl", sets[0]), load("engine.model=qwen3-vl", *sets)
        assert fingerprint(plain.result_fields()) == fingerprint(changed.result_fields())


OPTIONS = {
    "--engine transformers": ("kind", "transformers"),
    "--model qwen3-vl:2b": ("model", "Qwen/Qwen3-VL-2B-Instruct"),
    "--mode html": ("mode", "html"),
    "--size small": ("size", "small"),
    "--prompt read": ("prompt", "read"),
    "--batch-size 8": ("transformers.batch_size", 8),
    "--batch-size auto": ("transformers.batch_size", "auto"),
    "--max-tiles 6": ("max_tiles", 6),
    "--device cpu": ("device", "cpu"),
    "--gpus 0,1": ("gpus", "0,1"),
    "--gpus 1": ("gpus", "1"),
    "--tensor-parallel-size 2": ("tensor_parallel_size", 2),
    "--tp 2": ("tensor_parallel_size", 2),
    "--server-url http://a/v1 --server-url http://b/v1": (
        "openai.server_urls",
        ("http://a/v1", "http://b/v1"),
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_the_command_lines_options_reach_the_configuration(option, monkeypatch):
    read = []
    monkeypatch.setattr("jobs.flow.read_corpus", lambda *given: read.append(given[2]) or Outcome(0, {}))
    words = ["ocr", "in", "-o", "out", "--model", "qwen3-vl", *option.split()]
    assert CliRunner().invoke(app, words).exit_code == 0
    name, expected = OPTIONS[option]
    assert attrgetter(name)(read[0].engine) == expected


def test_the_command_line_starts_without_heavy_libraries():
    heavy = ("huggingface_hub", "httpx", "numpy", "pyarrow", "pydantic", "ray", "yaml")
    code = f"import sys, jobs.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": ["Qwen3VLForConditionalGeneration"]}))
    (path / "model.safetensors").write_bytes(b"0" * 10)
    return path


def test_a_model_folder_may_move_but_not_change(folder):
    known = fingerprint(load(f"engine.model={folder}").result_fields())
    moved = folder.rename(folder.with_name("moved"))
    assert fingerprint(load(f"engine.model={moved}").result_fields()) == known
    (moved / "model.safetensors").write_bytes(b"0" * 11)
    assert fingerprint(load(f"engine.model={moved}").result_fields()) != known


def test_a_retry_finds_a_moved_model_folder_by_its_new_place(folder, tmp_path):
    config = load(f"engine.model={folder}", "engine.mode=html")
    out = str(tmp_path / "out")
    enter_output(open_store(out, config.s3), config, ("in",))
    moved = folder.rename(folder.with_name("moved"))
    with pytest.raises(ConfigError, match="no such folder"):
        retry_config(out, None, [], {})
    again = retry_config(out, None, [f"engine.model={moved}"], {})
    assert (again.engine.model, again.engine.mode) == (str(moved), "html")


def test_a_retry_keeps_the_model_and_refuses_another_mode(tmp_path):
    config = load("engine.model=deepseek-ocr", "engine.mode=locate", "engine.subject=the seal")
    out = str(tmp_path / "out")
    enter_output(open_store(out, config.s3), config, ("in",))
    assert retry_config(out, None, ["engine.page_timeout_s=5"], {}).engine.prompt == config.engine.prompt
    with pytest.raises(ConfigError, match="cannot change settings that change results"):
        retry_config(out, None, ["engine.mode=clean"], {})
