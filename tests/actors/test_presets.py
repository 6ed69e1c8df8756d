"""What a model's name, folder or hub id is taken for, and what a preset file must hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from actors.engines.load import check_engine
from actors.engines.prompts import IMAGE, split_prompt
from actors.engines.settings import EngineConfig
from actors.models.presets import ladder, library
from actors.models.presets.choice import choose
from actors.models.presets.identity import model_identity
from actors.models.presets.ladder import ladder_modes
from actors.models.presets.library import GENERIC, presets
from actors.models.presets.schema import SUBJECT, Preset
from actors.retry import RetryPolicy
from manifests.errors import ConfigError

REQUIRED = {"deepseek-ocr", "deepseek-ocr-2", "internvl3", "internvl3.5", "qwen3-vl", GENERIC}


def model_folder(path: Path, architecture: str, text: dict[str, object] | None = None) -> Path:
    path.mkdir(parents=True)
    config = {"architectures": [architecture], **(text or {})}
    (path / "config.json").write_text(json.dumps(config))
    return path


def complaint(model: str, kind: str, preset: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        choose(model, kind, preset)
    return str(caught.value)


def test_the_presets_are_there_the_generic_one_last():
    assert set(presets()) >= REQUIRED
    assert list(presets())[-1] == GENERIC


@pytest.mark.parametrize("preset", presets().values(), ids=list(presets()))
def test_a_preset_says_where_it_is_known_from_and_asks_about_one_page(preset):
    assert preset.sources or preset.name == GENERIC
    for mode in preset.modes.values():
        assert split_prompt(mode.prompt, images=1)[0] == IMAGE
        assert ("<|grounding|>" in mode.prompt or SUBJECT in mode.prompt) == (mode.dialect == "grounded")


def test_no_hub_id_is_of_two_presets():
    listed = [hub_id for p in presets().values() for form in p.forms for hub_id in form.checkpoints.values()]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"default_mode": "cleen"}, "default_mode must be one of clean"),
        ({"default_size": "tiny"}, "default_size must be one of"),
        ({"weights": {}, "default_weights": ""}, "weights ['1b'] are not listed"),
        ({"promts": {}}, "Extra inputs"),
    ],
)
def test_a_preset_file_that_contradicts_itself_is_refused(change, told):
    fields = {**presets()["glm-ocr"].model_dump(), **change}
    with pytest.raises(ValidationError) as caught:
        Preset.model_validate(fields)
    assert told in str(caught.value)


def test_a_preset_file_is_named_as_its_preset(tmp_path):
    source = Path(library.__file__).with_name("generic.yaml")
    copied = Path(shutil.copy(source, tmp_path / "other.yaml"))
    with pytest.raises(ValueError, match="name must be other, got generic"):
        library._read(copied)


@pytest.mark.parametrize(
    ("model", "kind", "hub_id", "preset"),
    [
        ("deepseek-ocr", "vllm", "deepseek-ai/DeepSeek-OCR", "deepseek-ocr"),
        ("deepseek-ocr-2", "vllm", "deepseek-ai/DeepSeek-OCR-2", "deepseek-ocr-2"),
        ("deepseek-ocr-2", "transformers", "deepseek-community/DeepSeek-OCR-2", "deepseek-ocr-2"),
        ("internvl3.5", "vllm", "OpenGVLab/InternVL3_5-8B-HF", "internvl3.5"),
        ("internvl3.5:2b", "transformers", "OpenGVLab/InternVL3_5-2B-HF", "internvl3.5"),
        ("internvl3:78b", "vllm", "OpenGVLab/InternVL3-78B-hf", "internvl3"),
        ("qwen3-vl:30b-a3b", "openai", "Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3-vl"),
        ("OpenGVLab/InternVL3_5-8B", "vllm", "OpenGVLab/InternVL3_5-8B", "internvl3.5"),
        ("Qwen/Qwen3-VL-4B-Instruct", "transformers", "Qwen/Qwen3-VL-4B-Instruct", "qwen3-vl"),
        ("org/unheard-of", "vllm", "org/unheard-of", GENERIC),
        ("served-name", "openai", "served-name", GENERIC),
        ("/srv/models/theirs", "openai", "/srv/models/theirs", GENERIC),
        ("", "openai", "", GENERIC),
    ],
)
def test_names_and_hub_ids_are_found(model, kind, hub_id, preset):
    choice = choose(model, kind)
    assert (choice.model, choice.preset.name) == (hub_id, preset)


@pytest.mark.parametrize(
    ("architecture", "text", "preset"),
    [
        ("InternVLForConditionalGeneration", {"text_config": {"model_type": "qwen2"}}, "internvl3"),
        ("InternVLForConditionalGeneration", {"text_config": {"model_type": "qwen3"}}, "internvl3.5"),
        ("InternVLChatModel", {"llm_config": {"model_type": "qwen3"}}, "internvl3.5"),
        ("InternVLChatModel", {"llm_config": "odd"}, "internvl3.5"),
        ("Qwen3VLForConditionalGeneration", None, "qwen3-vl"),
        ("DeepseekOCRForCausalLM", None, "deepseek-ocr"),
        ("UnheardOfForCausalLM", None, GENERIC),
    ],
)
def test_a_folder_is_known_by_its_configuration(tmp_path, architecture, text, preset):
    folder = model_folder(tmp_path / "model", architecture, text)
    choice = choose(str(folder), "vllm")
    assert (choice.model, choice.preset.name) == (str(folder), preset)


def test_a_folder_is_found_from_where_the_user_stands(tmp_path, monkeypatch):
    folder = model_folder(tmp_path / "models" / "mine", "Qwen3VLForConditionalGeneration")
    monkeypatch.chdir(tmp_path)
    assert choose("models/mine", "vllm").model == str(folder)


def test_the_user_may_insist_on_a_preset(tmp_path):
    folder = model_folder(tmp_path / "model", "UnheardOfForCausalLM")
    assert choose(str(folder), "vllm", "qwen3-vl").preset.name == "qwen3-vl"
    assert choose("served-name", "openai", "qwen3-vl").preset.name == "qwen3-vl"
    assert choose("", "vllm", "qwen3-vl").model == "Qwen/Qwen3-VL-8B-Instruct"
    assert choose("Qwen/Qwen3-VL-8B-Instruct", "vllm", GENERIC).preset.name == GENERIC


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        ("deepsek-ocr", "vllm", "got 'deepsek-ocr': did you mean deepseek-ocr or deepseek-ocr-2?"),
        ("internvl:8b", "vllm", "did you mean internvl3 or internvl3.5?"),
        (GENERIC, "vllm", "must be a preset, a local folder or a hub id"),
        ("internvl3.5:3b", "vllm", "internvl3.5 has the weights 1b, 2b, 4b, 8b, 14b, 38b; got '3b'"),
        ("", "vllm", "the vllm engine needs a preset, a local folder or a hub id"),
        ("./nowhere", "vllm", "./nowhere: no such folder"),
        ("deepseek-ocr", "transformers", "choose --engine vllm, or a server that has it by --server-url"),
        ("OpenGVLab/InternVL3_5-2B", "transformers", "take the form that does, OpenGVLab/InternVL3_5-2B-HF"),
        ("deepseek-community/DeepSeek-OCR-2", "vllm", "take the form that does, deepseek-ai/DeepSeek-OCR-2"),
    ],
)
def test_what_is_no_model_or_not_for_this_engine_is_told(model, kind, told):
    assert told in complaint(model, kind)


def test_an_unknown_preset_is_told_with_the_nearest():
    assert "engine.preset must be a preset; got 'qwen-vl': did you mean qwen3-vl?" in complaint(
        "org/model", "vllm", "qwen-vl"
    )


@pytest.mark.parametrize(
    ("config", "told"),
    [(None, "No such file"), ("{", "not JSON"), ("[]", "must hold a JSON object"), ("\udc80", "not JSON")],
)
def test_a_folder_without_a_sound_configuration_is_told(tmp_path, config, told):
    if config is not None:
        (tmp_path / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    assert told in complaint(str(tmp_path), "vllm")


def test_a_pinned_revision_comes_with_the_checkpoint(monkeypatch):
    plain = presets()["glm-ocr"]
    form = plain.forms[0].model_copy(update={"revisions": {"1b": "abc123"}})
    pinned = plain.model_copy(update={"forms": (form,)})
    monkeypatch.setattr("actors.models.presets.choice.presets", lambda: {"glm-ocr": pinned})
    assert choose("glm-ocr", "vllm").revision == choose("zai-org/GLM-OCR", "vllm").revision == "abc123"


def test_a_moved_folder_is_the_same_model_and_a_changed_one_is_not(tmp_path):
    folder = model_folder(tmp_path / "a", "X")
    (folder / "model.safetensors").write_bytes(b"0" * 100)
    (folder / "README.md").write_text("words")
    known = model_identity(folder)
    moved = folder.rename(tmp_path / "b")
    (moved / "README.md").write_text("other words")
    assert model_identity(moved) == known
    (moved / "model.safetensors").write_bytes(b"0" * 101)
    heavier = model_identity(moved)
    (moved / "tokenizer.json").write_text("{}")
    assert len({known, heavier, model_identity(moved)}) == 3


def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(ConfigError, match=r"tokenizer\.json: Is a directory"):
        model_identity(tmp_path)


def engine(**fields: object) -> EngineConfig:
    return EngineConfig(kind="vllm", **fields)


def test_a_ladder_knows_what_its_modes_ask_and_how_they_are_answered():
    policy = RetryPolicy(modes=("", "grounded", "describe", "grounded", "locate"))
    modes = ladder_modes(engine(preset="deepseek-ocr", subject="a ship"), policy)
    assert set(modes) == {"grounded", "describe", "locate"}
    assert (modes["grounded"].dialect, modes["grounded"].max_tokens) == ("grounded", 0)
    assert modes["describe"].max_tokens == 2048
    assert "<|ref|>a ship<|/ref|>" in modes["locate"].prompt


@pytest.mark.parametrize(
    ("fields", "mode", "told"),
    [
        ({"preset": "deepseek-ocr"}, "cleen", "deepseek-ocr has clean, grounded"),
        ({"preset": "deepseek-ocr"}, "locate", "say what to look for"),
        ({}, "clean", "vllm has none; got 'clean'"),
    ],
)
def test_a_ladder_of_modes_that_there_are_not_is_refused(fields: dict[str, str], mode: str, told: str):
    with pytest.raises(ConfigError, match=r"retry\.modes") as caught:
        ladder_modes(engine(**fields), RetryPolicy(modes=("", mode)))
    assert told in str(caught.value)


def test_a_mode_that_is_set_when_the_engine_loads_cannot_be_climbed_to(monkeypatch):
    settings = {
        "engine": {"max_tiles": 3, "sampling": {"max_tokens": 9, "top_p": 0.5}},
        "render": {"dpi": 72},
    }
    preset = presets()["generic"]
    mode = preset.modes["clean"].model_copy(update={"settings": settings})
    changed = preset.model_copy(update={"modes": {"clean": mode}})
    monkeypatch.setattr(ladder, "presets", lambda: {"generic": changed})
    with pytest.raises(
        ConfigError, match=r"max_tiles, render, sampling.top_p, which is set when an engine loads"
    ):
        ladder_modes(engine(preset="generic"), RetryPolicy(modes=("clean",)))


def test_a_dialect_that_there_is_not_is_refused():
    broken = presets()["generic"].model_dump()
    broken["modes"]["clean"]["dialect"] = "esperanto"
    with pytest.raises(ValidationError, match="must be one of plain, markdown, grounded"):
        Preset.model_validate(broken)
    with pytest.raises(
        ConfigError, match=r"engine.dialect must be one of plain, markdown, grounded; got 'x'"
    ):
        check_engine(engine(dialect="x"))
