"""Model folders written by hand: safetensors files of a header and as many bytes as it says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 4932307584\n"
)
SIZES = {"BF16": 2, "F32": 4, "U8": 1}
INTERNVL: dict[str, Any] = {
    "architectures": ["InternVLForConditionalGeneration"],
    "model_type": "internvl",
    "vision_config": {"hidden_size": 64, "intermediate_size": 128},
    "text_config": {
        "model_type": "qwen2",
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 128,
        "intermediate_size": 256,
        "vocab_size": 300,
        "max_position_embeddings": 2048,
    },
}
QWEN3_8B = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
}
"""The text model of several 8B vision-language models."""
TENSORS = {
    "model.vision_tower.layer.weight": (64, 64),
    "model.language_model.embed_tokens.weight": (300, 128),
    "model.language_model.layers.0.mlp.up_proj.weight": (256, 128),
    "model.language_model.layers.1.mlp.up_proj.weight": (256, 128),
}


def write_safetensors(path: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    header, end = {}, 0
    for name, shape in tensors.items():
        size = math.prod(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    written = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + bytes(end))


def model_folder(folder: Path, config: Mapping[str, Any] = INTERNVL, shards: int = 1) -> Path:
    """A whole model folder; with several shards, a tensor in each and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "preprocessor_config.json").write_text("{}")
    if shards == 1:
        write_safetensors(folder / "model.safetensors", TENSORS)
        return folder
    mapping = {}
    for number, (name, shape) in enumerate(list(TENSORS.items())[:shards], 1):
        file = shard_name(number, shards)
        write_safetensors(folder / file, {name: shape})
        mapping[name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    return folder


def shard_name(number: int, count: int) -> str:
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def large_model_folder(path: Path, weight_bytes: int, text: Mapping[str, Any]) -> Path:
    """A model folder of so many bytes of BF16 weights, which take no room on the disk."""
    folder = model_folder(path, {**INTERNVL, "text_config": text})
    entry = {"dtype": "BF16", "shape": [weight_bytes // 2], "data_offsets": [0, weight_bytes]}
    header = json.dumps({"model.language_model.layers.0.weight": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + weight_bytes)
    return folder
