"""Model folders: every way in which one can be broken, and what fits which card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.settings import EngineConfig
from actors.models.weights.cards import COMMON_CARDS, Card
from actors.models.weights.check import check_folder
from actors.models.weights.guard import check_model
from actors.models.weights.headers import Tensor
from actors.models.weights.memory import MemoryPlan, estimate, first_that_fits, plan_of, weight_share
from actors.models.weights.shape import ModelShape, model_shape
from manifests.errors import ConfigError
from tests.actors.model_folders import (
    INTERNVL,
    POINTER,
    QWEN3_8B,
    TENSORS,
    model_folder,
    shard_name,
    write_safetensors,
)

PULL = "run 'git lfs pull' or 'pagefleet models pull'"

DEEPSEEK_OCR = {
    "model_type": "deepseek_vl_v2",
    "vision_config": {"width": {"clip-l-14-224": {"width": 1024}}},
    "language_config": {
        "model_type": "deepseek_v2",
        "num_hidden_layers": 12,
        "num_attention_heads": 10,
        "num_key_value_heads": 10,
        "hidden_size": 1280,
        "intermediate_size": 6848,
        "kv_lora_rank": None,
        "use_mla": False,
        "vocab_size": 129280,
        "max_position_embeddings": 8192,
    },
}


def shape_of(config: dict[str, Any]) -> ModelShape:
    shape = model_shape(config)
    assert shape is not None
    return shape


def problems(folder: Path) -> list[str]:
    return [finding.message for finding in check_folder(folder).problems]


def warnings(folder: Path) -> str:
    return "\n".join(finding.message for finding in check_folder(folder).warnings)


def test_a_whole_folder_is_described(tmp_path: Path) -> None:
    report = check_folder(model_folder(tmp_path))
    assert report.findings == ()
    assert report.architectures == ("InternVLForConditionalGeneration",)
    assert report.model_type == "internvl"
    assert report.parameters == {"BF16": 64 * 64 + 300 * 128 + 2 * 256 * 128}
    assert report.weight_files == ("model.safetensors",)
    assert report.weight_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert (report.tokenizer, report.processor, report.chat_template) == (
        "tokenizer.json",
        "preprocessor_config.json",
        "chat_template.jinja",
    )


def test_shards_named_by_an_index_are_one_model(tmp_path: Path) -> None:
    report = check_folder(model_folder(tmp_path, shards=3))
    assert report.findings == ()
    assert len(report.weight_files) == len(report.tensors) == 3


def test_links_of_the_hub_cache_are_followed_and_broken_ones_named(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    whole = model_folder(blobs)
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in whole.iterdir():
        (snapshot / file.name).symlink_to(file)
    assert check_folder(snapshot).findings == ()
    (blobs / "model.safetensors").unlink()
    (blobs / "tokenizer.json").unlink()
    told = problems(snapshot)
    assert len(told) == 2
    assert all("is a link to a file that is gone" in message for message in told)
    assert problems(tmp_path)[0].endswith(f"did you mean {snapshot}?")


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(POINTER)


def pointer_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(POINTER)


def placeholder(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 135)


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1000])


def cut_in_the_header(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:20])


def too_long(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")


def header_of_nonsense(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((12).to_bytes(8, "little") + b'{"a": [1, 2]')


def header_with_negative_sizes(folder: Path) -> None:
    entry = {"dtype": "BF16", "shape": [-4, 2], "data_offsets": [0, 16]}
    header = json.dumps({"a": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def gguf(folder: Path) -> None:
    no_weights(folder)
    (folder / "model-q4.gguf").write_bytes(b"GGUF")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def config_of_nonsense(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": [')


def config_as_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")


def pointer_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(POINTER)


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def tokenizer_cut_short(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {')


def processor_of_nonsense(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_bytes(b"\xff{{")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (pointer, f"model.safetensors is a {len(POINTER)}-byte git-lfs pointer: {PULL}"),
        (pointer_tokenizer, "tokenizer.json is a "),
        (placeholder, "model.safetensors is no safetensors file (135 bytes)"),
        (empty, "model.safetensors is empty"),
        (cut_short, "model.safetensors is cut short"),
        (cut_in_the_header, "model.safetensors is cut short"),
        (too_long, "its header speaks of"),
        (header_of_nonsense, "its header is damaged"),
        (header_with_negative_sizes, "has a negative size"),
        (no_weights, "no weights (*.safetensors) in"),
        (gguf, "the weights are GGUF files"),
        (no_config, "no config.json in"),
        (config_of_nonsense, "config.json is no valid JSON"),
        (config_as_a_list, "holds no JSON object"),
        (pointer_config, "config.json is a "),
        (no_tokenizer, "no tokenizer in"),
        (no_processor, "no image processor in"),
        (tokenizer_cut_short, "tokenizer.json is no valid JSON"),
        (processor_of_nonsense, "preprocessor_config.json is no valid JSON"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named_with_its_remedy(
    damage: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path)
    damage(folder)
    (problem,) = problems(folder)
    assert told in problem
    assert "pagefleet models pull" in problem or "take the model's safetensors" in problem


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_cannot_be_read_is_told_and_not_raised(name: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ConfigError, match=f"{name}: Is a directory"):
        check_folder(folder)


def test_missing_shards_are_named_with_or_without_an_index(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, shards=4)
    (folder / shard_name(2, 4)).unlink()
    (problem,) = problems(folder)
    assert problem.startswith("1 shard missing in")
    assert shard_name(2, 4) in problem
    (folder / "model.safetensors.index.json").unlink()
    (problem,) = problems(folder)
    assert shard_name(2, 4) in problem
    assert "Transformers does not" in warnings(folder)


def test_weights_by_a_name_that_transformers_does_not_look_for_are_warned_of(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert problems(folder) == []
    assert "no model.safetensors among the weights (weights.safetensors)" in warnings(folder)


def test_a_tensor_that_no_shard_holds_is_named(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, shards=2)
    index = folder / "model.safetensors.index.json"
    mapping = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**mapping, "lm_head.weight": shard_name(2, 2)}}))
    assert problems(folder) == [
        f"model.safetensors.index.json names 1 tensor that no shard holds (lm_head.weight): {PULL}"
    ]


def test_an_index_that_points_outside_its_folder_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", shards=2)
    write_safetensors(tmp_path / "other.safetensors", TENSORS)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../other.safetensors"}})
    )
    assert "points outside its folder" in problems(folder)[0]


def test_many_pointers_are_told_in_a_few_lines(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "model.safetensors").unlink()
    for number in range(1, 31):
        (folder / shard_name(number, 30)).write_bytes(POINTER)
    assert len(problems(folder)) == 6
    assert problems(folder)[-1] == "25 more weight files are like that"


def test_pickles_and_code_of_its_own_are_warned_of(tmp_path: Path) -> None:
    config = {**INTERNVL, "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}}
    folder = model_folder(tmp_path, config)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert problems(folder) == []
    told = warnings(folder)
    assert "the weights are pickles" in told
    assert "engine.trust_remote_code=true" in told
    assert "code that config.json names is missing (modeling_internvl_chat.py)" in told


def test_a_model_for_text_alone_is_warned_of(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, {"architectures": ["Qwen3ForCausalLM"], **QWEN3_8B})
    assert problems(folder) == []
    assert "a model for text alone cannot read pages" in warnings(folder)


def test_a_configuration_is_refused_for_what_concerns_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = model_folder(tmp_path / "model")
    config = EngineConfig(kind="vllm", model=str(folder))
    check_model(config)
    no_tokenizer(folder)
    pointer(folder)
    with pytest.raises(ConfigError, match="git-lfs pointer") as caught:
        check_model(config)
    assert "no tokenizer in" in str(caught.value)
    check_model(config.model_copy(update={"engine_args": {"load_format": "dummy", "tokenizer": "x/y"}}))
    check_model(config.model_copy(update={"kind": "openai"}))
    check_model(EngineConfig(kind="vllm", model="owner/name"))
    gone = EngineConfig(kind="transformers", model=str(tmp_path / "nowhere"))
    check_model(gone, must_exist=False)
    with pytest.raises(ConfigError, match="no such folder"):
        check_model(gone)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="run 'pagefleet models pull owner/name'"):
        check_model(EngineConfig(kind="vllm", model="owner/name"))


@pytest.mark.parametrize(
    ("config", "kv_values"),
    [
        ({"text_config": QWEN3_8B}, 2 * 36 * 8 * 128),
        ({"llm_config": QWEN3_8B}, 2 * 36 * 8 * 128),
        (QWEN3_8B, 2 * 36 * 8 * 128),
        (DEEPSEEK_OCR, 2 * 12 * 10 * 128),
        ({"text_config": {**QWEN3_8B, "kv_lora_rank": 512, "qk_rope_head_dim": 64}}, 36 * (512 + 64)),
        (
            {"text_config": {**QWEN3_8B, "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 9}},
            2 * 9 * 8 * 128,
        ),
    ],
    ids=["native", "custom-code", "flat", "deepseek-ocr", "latent-attention", "hybrid"],
)
def test_the_kv_cache_of_a_token_follows_from_the_config(config: dict[str, Any], kv_values: int) -> None:
    assert shape_of(config).kv_values_per_token(1) == kv_values


def test_kv_heads_are_shared_by_a_group_and_repeated_where_there_are_fewer() -> None:
    shape = shape_of(QWEN3_8B)
    assert shape.kv_values_per_token(4) == shape.kv_values_per_token(1) // 4
    assert shape.kv_values_per_token(16) == shape.kv_values_per_token(8)


@pytest.mark.parametrize(
    "config", [{}, {"text_config": []}, {"num_hidden_layers": "36"}, {"hidden_size": -1}]
)
def test_a_config_without_sizes_has_no_shape(config: dict[str, Any]) -> None:
    assert model_shape(config) is None


def test_weights_are_shared_by_a_group_but_for_the_image_encoder() -> None:
    tensors = [
        Tensor("model.vision_tower.a.weight", "BF16", (100, 10), 2000),
        Tensor("model.language_model.layers.0.weight", "F32", (400, 10), 16000),
        Tensor("model.language_model.embed_tokens.weight", "BF16", (200, 10), 4000),
        Tensor("model.language_model.layers.0.qweight", "U8", (500,), 500),
    ]
    assert weight_share(tensors, MemoryPlan()) == 2000 + 8000 + 4000 + 500
    assert weight_share(tensors, MemoryPlan(tensor_parallel=2)) == 2000 + (8000 + 4000 + 500) // 2
    assert weight_share(tensors, MemoryPlan(fp8_weights=True)) == 2000 + 4000 + 4000 + 500


BIG = [Tensor("model.language_model.layers.0.weight", "BF16", (8_000_000, 1000), 16 * 10**9)]
"""Eight billion parameters."""


def card(name: str) -> Card:
    return next(card for card in COMMON_CARDS if card.name.startswith(name))


def test_eight_billion_parameters_fit_the_cards_they_are_known_to_fit() -> None:
    shape, plan = shape_of(QWEN3_8B), MemoryPlan(max_len=16384, batched_tokens=8192)
    fits = [one.name for one in COMMON_CARDS if estimate(BIG, shape, plan, one.total_bytes).fits]
    assert fits == [one.name for one in COMMON_CARDS if not one.name.startswith("T4")]
    longer = [one.name for one in COMMON_CARDS if estimate(BIG, shape, MemoryPlan(), one.total_bytes).fits]
    assert longer == [one.name for one in COMMON_CARDS if one.name.startswith(("A100", "H"))]
    h100 = estimate(BIG, shape, plan, card("H100").total_bytes)
    assert h100.kv_per_token == 147_456
    assert 300_000 < h100.kv_tokens < 420_000
    fp8 = estimate(BIG, shape, replace(plan, kv_bytes=1), card("H100").total_bytes)
    assert fp8.kv_tokens == pytest.approx(2 * h100.kv_tokens, abs=2)


def test_the_mildest_change_that_fits_is_found() -> None:
    shape, plan, h100, l4 = shape_of(QWEN3_8B), MemoryPlan(), card("H100"), card("L4")
    assert first_that_fits(BIG, shape, plan, [h100]) == {}
    assert first_that_fits(BIG, shape, replace(plan, max_len=400_000), [h100]) == {
        "engine.vllm.max_model_len": "16384"
    }
    assert first_that_fits(BIG, shape, plan, [l4]) == {"engine.vllm.max_model_len": "16384"}
    bigger = [replace(tensor, shape=(11_000_000, 1000)) for tensor in BIG]
    assert first_that_fits(bigger, shape, plan, [l4, l4]) == {
        "engine.vllm.max_model_len": "8192",
        "engine.vllm.kv_cache_dtype": "fp8",
        "engine.tensor_parallel_size": "2",
    }
    assert first_that_fits(BIG, shape, plan, [card("T4")]) is None


def test_a_configuration_is_read_as_a_plan() -> None:
    config = EngineConfig.model_validate(
        {"kind": "vllm", "tensor_parallel_size": 2, "vllm": {"max_model_len": 4096, "enforce_eager": True}}
    )
    assert plan_of(config, fp8_card=True) == MemoryPlan(
        tensor_parallel=2, kv_bytes=1, max_len=4096, eager=True
    )
    assert plan_of(config).kv_bytes == 2
    assert plan_of(EngineConfig(kind="vllm", dtype="float32")).weight_dtype_bytes == 4
