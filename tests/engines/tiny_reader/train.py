"""Trains the tiny reader: a model of InternVL's shape that reads the number on a page.

    python -m tests.engines.tiny_reader.train OUT

writes a checkpoint that Transformers and vLLM load like any other, with tokenizer, processor and chat
template. It takes two minutes on two free cores. The answer depends on the page alone and not on the prompt,
so that tests may ask what they like: a question, a chat, nothing at all.
"""

from __future__ import annotations

import argparse
import io
import random
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    Qwen2Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.engines.tiny_reader.pages import NUMBERS, SIDE, draw

SEED = 1
PATCH = 14
TOKENS_PER_TILE = (SIDE // PATCH // 2) ** 2
BATCH = 32
RATE = 2e-3
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<IMG_CONTEXT>' }}{% endfor %}"
    "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Images come last, so that the answer stands at one distance from the page whatever the prompt. A model so
small finds the page by that."""


def make_processor() -> InternVLProcessor:
    """A tokenizer of single bytes, and tiles of ``SIDE`` pixels."""
    vocab = {text: number for number, text in enumerate([*SPECIAL, *bytes_to_unicode().values()])}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    look = {"size": {"height": SIDE, "width": SIDE}, "image_mean": CLIP_MEAN, "image_std": CLIP_STD}
    return InternVLProcessor(
        GotOcr2ImageProcessor(crop_to_patches=True, **look),
        tokenizer,
        InternVLVideoProcessor(**look),
        image_seq_length=TOKENS_PER_TILE,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(processor: InternVLProcessor) -> InternVLForConditionalGeneration:
    """Random weights. The wide initial range matters: with the library's own nothing is learned for long."""
    tokenizer = processor.tokenizer
    token = tokenizer.convert_tokens_to_ids
    config = InternVLConfig(
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": (SIDE, SIDE),
            "patch_size": (PATCH, PATCH),
            "initializer_range": 0.08,
            "layer_scale_init_value": 1.0,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "max_position_embeddings": 4096,
            "initializer_range": 0.06,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        image_token_id=token("<IMG_CONTEXT>"),
        image_seq_length=TOKENS_PER_TILE,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token("<|im_end|>")
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: shares of pages that are spoiled, of prompts that are not the same, and of
    batches with long prompts."""

    steps: int
    spoiled: float = 0.0
    prompts: float = 0.0
    long_prompts: float = 0.0


CURRICULUM = (
    Stage(300, prompts=0.3),
    Stage(400, spoiled=0.5, prompts=0.7, long_prompts=0.2),
)


class Lessons:
    """Draws batches of pages with prompts and answers."""

    def __init__(self, processor: InternVLProcessor, seed: int) -> None:
        self._processor = processor
        self._random = random.Random(seed)

    def batch(self, stage: Stage) -> dict[str, torch.Tensor]:
        """Inputs and labels; only the answer counts in the labels."""
        dice = self._random
        answers = [f"{dice.randrange(NUMBERS):04d}" for _ in range(BATCH)]
        images = [self._page(number, stage) for number in answers]
        longest = 300 if dice.random() < stage.long_prompts else 30
        texts = [self._prompt(stage, longest) + number + "<|im_end|>" for number in answers]
        inputs = self._processor(
            images=images, text=texts, return_tensors="pt", padding=True, padding_side="left"
        )
        labels = inputs["input_ids"].clone()
        labels[:, : -(len(answers[0]) + 1)] = -100
        return {**inputs, "labels": labels}

    def _page(self, number: str, stage: Stage) -> Image.Image:
        page = Image.fromarray(draw(number))
        return _spoil(page, self._random) if self._random.random() < stage.spoiled else page

    def _prompt(self, stage: Stage, longest: int) -> str:
        dice = self._random
        words, chat = "Read the page.", True
        if dice.random() < stage.prompts:
            letters = string.ascii_letters + string.digits + "      \n.,:<|>"
            words = "".join(dice.choices(letters, k=dice.randint(0, longest)))
            chat = dice.random() < 0.8
        if not chat:
            return words + "<IMG_CONTEXT>"
        content = [{"type": "image"}, {"type": "text", "text": words}]
        messages = [{"role": "user", "content": content}]
        return str(self._processor.apply_chat_template(messages, add_generation_prompt=True))


def _spoil(page: Image.Image, dice: random.Random) -> Image.Image:
    """What happens to a page on its way: noise, then JPEG."""
    noise = np.random.default_rng(dice.getrandbits(32)).normal(0, dice.uniform(0, 8), (*page.size, 3))
    noisy = Image.fromarray(np.clip(np.asarray(page) + noise, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    noisy.save(buffer, "JPEG", quality=dice.randint(60, 98))
    return Image.open(buffer).convert("RGB")


def train(model: InternVLForConditionalGeneration, lessons: Lessons) -> None:
    """All stages on one schedule, which ends near nothing."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    total = sum(stage.steps for stage in CURRICULUM)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total, pct_start=0.1)
    for number, stage in enumerate(CURRICULUM, 1):
        for step in range(1, stage.steps + 1):
            loss = model(**lessons.batch(stage)).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % 50 == 0:
                print(f"stage {number} step {step}: loss {loss.item():.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the checkpoint")
    out = parser.parse_args().out
    torch.manual_seed(SEED)
    processor = make_processor()
    model = make_model(processor)
    train(model, Lessons(processor, SEED))
    model.to(torch.bfloat16).save_pretrained(out)
    processor.save_pretrained(out)


if __name__ == "__main__":
    main()
