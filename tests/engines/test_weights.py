"""Our arithmetic of a model's memory is vLLM's own."""

from __future__ import annotations

import json
import re

import pytest
import vllm.config  # noqa: F401  # first: what is below cannot be imported before it
from transformers import CONFIG_MAPPING
from vllm.transformers_utils.model_arch_config_convertor import (
    MODEL_ARCH_CONFIG_CONVERTORS,
    ModelArchConfigConvertorBase,
)

from actors.models.weights.check import check_folder
from actors.models.weights.report import GIB
from actors.models.weights.shape import model_shape
from tests.engines.tiny_reader.model import MODEL
from tests.engines.vllm_serve import VllmServe

MODEL_TYPES = (
    *("internvl", "qwen3_vl", "qwen3_vl_moe", "qwen2_vl", "qwen2_5_vl", "qwen3_5", "deepseek_ocr2"),
    *("glm_ocr", "glm4v", "paddleocr_vl", "lighton_ocr", "got_ocr2", "idefics3", "smolvlm", "hunyuan_vl"),
    *("qianfan_ocr", "gemma3", "mistral3", "llava"),
)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_models_shape_is_read_off_its_config_as_vllm_reads_it(model_type: str) -> None:
    config = CONFIG_MAPPING[model_type]()
    ours = model_shape(json.loads(config.to_json_string()))
    reader = MODEL_ARCH_CONFIG_CONVERTORS.get(model_type, ModelArchConfigConvertorBase)
    theirs = reader(config, config.get_text_config())
    assert ours is not None
    assert (ours.layers, ours.heads) == (
        theirs.get_num_hidden_layers(),
        theirs.get_total_num_attention_heads(),
    )
    assert (ours.kv_heads, ours.head_dim) == (theirs.get_total_num_kv_heads(), theirs.get_head_size())


def test_a_token_takes_as_much_kv_cache_as_vllm_says(vllm_server: VllmServe) -> None:
    shape = model_shape(check_folder(MODEL).config)
    assert shape is not None
    (told,) = re.findall(r"KV cache size: ([\d,]+) tokens", vllm_server.log.read_text())
    assert GIB // (shape.kv_values_per_token(1) * 2) == int(told.replace(",", ""))  # VLLM_CPU_KVCACHE_SPACE=1
