"""Models of other families than the reader's, with random weights: rows do not depend on their batch."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from actors.engines.base import Completion, Request
from actors.engines.settings import EngineConfig
from actors.engines.transformers.engine import TransformersEngine
from manifests.errors import ConfigError, EngineError

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SEEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3-VL's shape: images of any size, positions in three dimensions, a config that samples."""
    folder: Path = tmp_path_factory.mktemp("qwen")
    vocab = {text: number for number, text in enumerate([*SPECIAL, *SEEN, *bytes_to_unicode().values()])}
    names = ("vision_bos_token", "vision_eos_token", "image_token", "video_token")
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(zip(names, SEEN, strict=True)),
    )
    images = Qwen2VLImageProcessor(patch_size=16, size={"shortest_edge": 4_096, "longest_edge": 65_536})
    Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(), chat_template=TEMPLATE).save_pretrained(
        folder
    )
    common = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.3}
    config = Qwen3VLConfig(
        text_config={
            **common,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4_096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [6, 5, 5]},
        },
        vision_config={
            **common,
            "depth": 2,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 16,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0],
        },
        **{f"{name}_id": vocab[token] for name, token in zip(names[2:], SEEN[2:], strict=True)},
        vision_start_token_id=vocab[SEEN[0]],
        vision_end_token_id=vocab[SEEN[1]],
    )
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.update(eos_token_id=2, pad_token_id=0, do_sample=True, temperature=5.0, top_k=20)
    model.save_pretrained(folder)
    return folder


def engine_of(folder: Path, **changes: Any) -> TransformersEngine:
    sampling = {"max_tokens": 24, "stop_repetition": False}
    settings = {
        "kind": "transformers",
        "model": str(folder),
        "device": "cpu",
        "sampling": sampling,
        **changes,
    }
    return TransformersEngine(EngineConfig.model_validate(settings))


def test_images_of_any_size_and_number_share_a_batch_and_nothing_is_left_to_chance(qwen):
    engine = engine_of(qwen)
    dice = np.random.default_rng(1)

    def image(*shape: int) -> Any:
        return dice.integers(0, 255, (*shape, 3), dtype=np.uint8)

    requests = []
    for place in range(12):
        images = [image(*dice.integers(40, 300, 2)) for _ in range(1 + place % 2)]
        words = "what? " * int(dice.integers(0, 9))
        requests.append(Request("d", place, images, "<image>" * len(images) + words))
    requests.append(Request("d", 99, [image(2, 900)], "a strip that Qwen's processor refuses"))

    async def read() -> tuple[list[Any], list[Any]]:
        together = await asyncio.gather(*map(engine.read, requests), return_exceptions=True)
        alone = [(await asyncio.gather(engine.read(one), return_exceptions=True))[0] for one in requests]
        await engine.close()
        return together, alone

    together, alone = asyncio.run(read())
    assert together[:-1] == alone[:-1]
    assert all(isinstance(found, Completion) for found in together[:-1])
    assert len({found.text for found in together[:-1]}) > 6
    assert isinstance(together[-1], EngineError)
    assert "aspect ratio" in str(together[-1])


def test_tiles_are_refused_where_images_are_not_cut(qwen):
    with pytest.raises(ConfigError, match=r"Qwen2VLImageProcessor\w* cuts no tiles"):
        engine_of(qwen, max_tiles=4)
