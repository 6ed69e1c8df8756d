"""DeepSeek-OCR's real architecture through vLLM, its text model shrunken, with dummy weights."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from vllm.renderers import renderer_from_config

from actors.engines.base import Completion, Request
from actors.engines.settings import EngineConfig
from actors.engines.vllm import deepseek as vllm_deepseek
from actors.engines.vllm.arguments import engine_arguments
from actors.engines.vllm.deepseek import ENVIRONMENT as SIZES
from actors.engines.vllm.deepseek import announce, sizes
from actors.engines.vllm.engine import VllmEngine
from actors.engines.vllm.start import create_config
from manifests.errors import ConfigError

FIRST, SECOND = "DeepseekOCRForCausalLM", "DeepseekOCR2ForCausalLM"
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
SPECIAL = [BOS, EOS, PAD, "<image>", "<|grounding|>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>"]
TABLE = ["<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>"]
PROMPT = "<image>\nFree OCR."
TINY = {"base_size": 512, "image_size": 512, "crop_mode": False}
WINDOW = 40


def make_model(folder: Path, architecture: str = FIRST) -> Path:
    """A folder with the published ``config.json``, its text model small, and a tokenizer of bytes."""
    folder.mkdir(parents=True)
    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *TABLE]
    tokenizer = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in TABLE])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=SPECIAL[3:],
    ).save_pretrained(folder)
    language = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 1,
        "first_k_dense_replace": 1,
        "hidden_size": 64,
        "intermediate_size": 128,
        "kv_lora_rank": None,
        "lm_head": True,
        "max_position_embeddings": 8192,
        "moe_intermediate_size": 32,
        "n_group": 1,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_attention_heads": 2,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "q_lora_rank": None,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "rm_head": False,
        "topk_group": 1,
        "topk_method": "greedy",
        "use_mla": False,
        "v_head_dim": 0,
        "vocab_size": len(tokens),
    }
    whole = {
        "architectures": [architecture],
        "model_type": "deepseek_vl_v2",
        "candidate_resolutions": [[1024, 1024]],
        "global_view_pos": "head",
        "tile_tag": "2D",
        "torch_dtype": "bfloat16",
        "language_config": language,
        "projector_config": {
            "input_dim": 2048,
            "model_type": "mlp_projector",
            "n_embed": 64,
            "projector_type": "linear",
        },
        "vision_config": {"image_size": 1024, "model_name": "deeplip_b_l", "model_type": "vision"},
    }
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def config(model: Path, processor_args: dict[str, Any], **fields: Any) -> EngineConfig:
    vllm = {
        "max_model_len": 2048,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 2048,
        "enforce_eager": True,
        "gpu_memory_utilization": 0.1,
    }
    sampling = {
        "max_tokens": 100,
        "min_tokens": 100,
        "ngram_size": 2,
        "ngram_window": WINDOW,
        "skip_special_tokens": False,
    }
    settings = {"kind": "vllm", "model": str(model), "device": "cpu", "dtype": "float32", "vllm": vllm}
    return EngineConfig.model_validate(
        {
            **settings,
            "prompt_format": "raw",
            "sampling": sampling,
            "processor_args": processor_args,
            "engine_args": {"load_format": "dummy"},
            **fields,
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("deepseek") / "ocr")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Engines set variables for their processes, which other tests' processes must not see."""
    monkeypatch.setenv(SIZES, "")
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "0")
    yield


def page(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((height, width, 3), 230, np.uint8)


def image_tokens(model: Path, architecture: str, processor_args: dict[str, Any]) -> int:
    """Visual tokens of an A4 page at 150 dpi, as vLLM's own processor makes them."""
    given = config(model, processor_args)
    announce(sizes(given, (architecture,)))
    renderer = renderer_from_config(create_config(engine_arguments(given, (architecture,))))
    prompt = {"prompt": PROMPT, "multi_modal_data": {"image": [Image.fromarray(page(1240, 1754))]}}
    (rendered,) = renderer.render_cmpl([prompt])
    renderer.shutdown()
    return len(rendered["prompt_token_ids"]) - 1 - len("\nFree OCR.")


@pytest.mark.parametrize(
    ("base_size", "image_size", "crop_mode", "tokens"),
    [
        (512, 512, False, 73),
        (640, 640, False, 111),
        (1024, 1024, False, 273),
        (1280, 1280, False, 421),
        (1024, 640, True, 903),
    ],
)
def test_a_page_costs_the_tokens_published_for_its_size(
    base_size: int, image_size: int, crop_mode: bool, tokens: int, model: Path
) -> None:
    given = {"base_size": base_size, "image_size": image_size, "crop_mode": crop_mode}
    assert image_tokens(model, FIRST, given) == tokens


def test_the_second_model_reads_at_the_sizes_it_learned(tmp_path: Path) -> None:
    model = make_model(tmp_path / "second", SECOND)
    assert image_tokens(model, SECOND, {}) == 1121  # 16² for the page, 6 tiles of 12², a separator
    assert image_tokens(model, SECOND, {"crop_mode": False}) == 257
    with pytest.raises(ConfigError, match=r"engine\.processor_args\.base_size: must be 768 or 1024, got 512"):
        sizes(config(model, {"base_size": 512}), (SECOND,))


@pytest.mark.parametrize(
    ("processor_args", "message"),
    [
        ({"base_size": 1000}, "base_size: must be a multiple of 64, got 1000"),
        ({"image_size": True}, "image_size: must be a multiple of 64, got True"),
        ({"crop_mode": 1}, "crop_mode: must be true or false, got 1"),
        ({"max_crops": 9}, "max_crops: DeepSeek-OCR takes base_size, image_size, crop_mode alone"),
    ],
)
def test_a_size_that_would_kill_vllm_at_the_first_page_is_refused(
    processor_args: dict[str, Any], message: str, model: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        sizes(config(model, processor_args), (FIRST,))
    assert str(caught.value) == f"engine.processor_args.{message}"


def test_vllms_own_processes_read_at_the_size_that_is_asked_for() -> None:
    script = f"""
import os, sys
from actors.engines.vllm.plugin import register
from vllm.plugins import load_general_plugins
register()
assert not [name for name in sys.modules if "deepseek_ocr" in name]  # it costs no other model anything
os.environ["{SIZES}"] = "{FIRST},1280,1280,0"
load_general_plugins()
import vllm.model_executor.models.deepseek_ocr as model
print(model.BASE_SIZE, model.IMAGE_SIZE, model.CROP_MODE)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "1280 1280 False"


def test_a_size_is_refused_where_vllms_processes_would_not_find_our_plugin(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_deepseek, "PLUGINS", "nowhere")
    with pytest.raises(ConfigError, match="only where pagefleet is installed"):
        announce(sizes(config(model, TINY), (FIRST,)))
    announce(sizes(config(model, {}), (FIRST,)))


def test_a_page_becomes_an_answer_that_the_guard_keeps_from_repeating_itself(model: Path) -> None:
    async def read_and_close(engine: VllmEngine) -> tuple[Completion, list[int], set[int]]:
        generate, outputs = engine._generate, []

        async def noted(*arguments: Any) -> Any:
            outputs.append(await generate(*arguments))
            return outputs[-1]

        engine._generate = noted  # type: ignore[method-assign]
        answer = await engine.read(Request("a.png", 1, [page(1240, 1754)], PROMPT))
        allowed = set((engine._guard or {})["whitelist_token_ids"])
        await engine.close()
        return answer, list(outputs[0].outputs[0].token_ids), allowed

    answer, ids, allowed = asyncio.run(read_and_close(VllmEngine(config(model, TINY))))
    assert (answer.prompt_tokens, answer.completion_tokens) == (73 + 1 + len("\nFree OCR."), 100)
    assert answer.finish_reason == "length" and len(allowed) == len(TABLE)
    for place in range(1, len(ids)):
        seen = ids[max(0, place - WINDOW) : place]
        pairs = set(pairwise(seen))
        assert (ids[place - 1], ids[place]) not in pairs or ids[place] in allowed
