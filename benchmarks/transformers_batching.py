"""Transformers, pages in batches against one page at a time. One file: torch, transformers and pillow.

    python benchmarks/transformers_batching.py                                  # any machine: a small model
    python benchmarks/transformers_batching.py --model-size internvl3.5-8b      # a GPU of 24 GB or more

Weights are random and nothing is downloaded. Every page is answered with the same number of new tokens, so
that only the batch differs. On cores: five alternating pairs, medians. On a GPU: a table of batch size,
pages/s and peak memory up to the automatic size, which must be reached without running out of memory and be
at least ``--wanted`` times as fast as one page at a time.

What is timed is ``generate`` on prepared batches: the engine prepares them meanwhile in threads. The
automatic size is that of the engine (actors.engines.transformers.memory) where this file lies in the
repository, else that of a copy of its formula.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from transformers import GotOcr2ImageProcessorPil, InternVLConfig, InternVLForConditionalGeneration

sys.path.append(str(Path(__file__).parents[1]))

PAGE_SIZE = (1240, 1755)
PROMPT = list(range(100, 164))
"""Sixty-four tokens of any text."""
FREE_SHARE = 0.85
MAX_PAGES = 128
PAIRS = 5


@dataclass(frozen=True)
class Size:
    """A model's shape (InternVL3.5-8B's is that of OpenGVLab/InternVL3_5-8B-HF's config.json)."""

    tile: int
    tiles: int
    vision: dict[str, Any]
    text: dict[str, Any]
    new_tokens: int


SIZES = {
    "small": Size(
        tile=112,
        tiles=1,
        vision={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        text={
            "model_type": "qwen2",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 512,
        },
        new_tokens=64,
    ),
    "internvl3.5-8b": Size(
        tile=448,
        tiles=12,
        vision={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "attention_bias": True,
        },
        text={
            "model_type": "qwen3",
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151_936,
            "max_position_embeddings": 40_960,
            "tie_word_embeddings": False,
        },
        new_tokens=256,
    ),
}


def make_model(size: Size, device: torch.device) -> InternVLForConditionalGeneration:
    """The model with random weights, made where it will run."""
    config = InternVLConfig(
        vision_config={**size.vision, "image_size": (size.tile, size.tile), "patch_size": (14, 14)},
        text_config=size.text,
        image_token_id=5,
        image_seq_length=tokens_per_tile(size),
        tie_word_embeddings=False,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if device.type == "cpu" else torch.bfloat16)
    try:
        with device:
            model = InternVLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    return model.eval()


def tokens_per_tile(size: Size) -> int:
    return (size.tile // 14 // 2) ** 2


def make_inputs(size: Size, pages: int, device: torch.device) -> dict[str, torch.Tensor]:
    """A batch of pages as the model takes them, from drawn images."""
    tile = {"height": size.tile, "width": size.tile}
    processor = GotOcr2ImageProcessorPil(size=tile, crop_to_patches=size.tiles > 1, max_patches=size.tiles)
    found = processor([draw_page(number) for number in range(pages)], return_tensors="pt")
    tiles = int(found["pixel_values"].shape[0]) // pages
    row = [1, *[5] * tiles * tokens_per_tile(size), 2, *PROMPT]
    ids = torch.tensor([row] * pages, device=device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    pixels = found["pixel_values"].to(device, dtype)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def draw_page(number: int) -> Image.Image:
    page = Image.new("RGB", PAGE_SIZE, "white")
    pen = ImageDraw.Draw(page)
    for line in range(60):
        words = f"Page {number}, line {line}: the quick brown fox jumps over the lazy dog"
        pen.text((100, 60 + 27 * line), words, fill="black")
    return page


def generate(model: Any, inputs: dict[str, torch.Tensor], new_tokens: int) -> float:
    """Seconds for a batch with exactly so many new tokens."""
    started = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=3,
            pad_token_id=0,
        )
    if output.is_cuda:
        torch.cuda.synchronize()
    assert output.shape[1] - inputs["input_ids"].shape[1] == new_tokens
    return time.perf_counter() - started


def automatic_pages(size: Size, model: Any, inputs: dict[str, torch.Tensor], free: int) -> int:
    """The engine's first estimate for pages like these, given so many free bytes."""
    prompt = inputs["input_ids"].shape[1]
    image = prompt - len(PROMPT) - 2
    width = 4 if inputs["pixel_values"].dtype == torch.float32 else 2
    try:
        from actors.engines.transformers.memory import BatchSize, PageTokens, page_bytes
        from actors.models.weights.shape import model_shape
    except ImportError:
        text, vision = size.text, size.vision
        heads, hidden = text["num_key_value_heads"], text["hidden_size"]
        head = text.get("head_dim", hidden // text["num_attention_heads"])
        cache = 2 * text["num_hidden_layers"] * heads * head * width * (prompt + size.new_tokens)
        layer = prompt * (8 * hidden + 3 * text["intermediate_size"])
        seeing = 4 * image * (8 * vision["hidden_size"] + 3 * vision["intermediate_size"])
        pixels = 4 * image * 3 * 16 * 16 * (4 + width)
        page = cache + pixels + width * max(layer, seeing) + 12 * text["vocab_size"]
        return max(1, min(MAX_PAGES, int(free * FREE_SHARE / page)))
    shape = model_shape(model.config.to_dict())
    assert shape is not None
    return BatchSize(page_bytes(shape, PageTokens(prompt, image, size.new_tokens), width), free).pages


def compare_on_cores(size: Size, pages: int) -> None:
    """Batches of ``pages`` against the same pages one at a time, in alternating pairs."""
    device = torch.device("cpu")
    model = make_model(size, device)
    batch = make_inputs(size, pages, device)
    single = [make_inputs(size, 1, device)] * pages
    generate(model, batch, size.new_tokens)
    generate(model, single[0], size.new_tokens)
    rates: dict[str, list[float]] = {"batched": [], "one at a time": []}
    for _ in range(PAIRS):
        rates["batched"].append(pages / generate(model, batch, size.new_tokens))
        alone = sum(generate(model, one, size.new_tokens) for one in single)
        rates["one at a time"].append(pages / alone)
        print(f"pair: {rates['batched'][-1]:8.1f} and {rates['one at a time'][-1]:8.1f} pages/s", flush=True)
    ratios = [many / one for many, one in zip(*rates.values(), strict=True)]
    for name, found in rates.items():
        print(f"{name:>14}: median {statistics.median(found):8.1f} pages/s")
    shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
    print(f"batches of {pages} are {statistics.median(ratios):.1f} times as fast (pairs: {shown})")


def table_on_gpu(size: Size, wanted: float) -> None:
    """Pages/s and peak memory by batch size up to the automatic one."""
    device = torch.device("cuda", 0)
    model = make_model(size, device)
    one = make_inputs(size, 1, device)
    generate(model, one, 8)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    automatic = automatic_pages(size, model, one, free)
    card, tokens = torch.cuda.get_device_name(device), one["input_ids"].shape[1]
    print(f"{card}, torch {torch.__version__}: weights {torch.cuda.memory_allocated() / 2**30:.1f} GiB,")
    print(f"{free / 2**30:.1f} GiB free; pages of {tokens} tokens and {size.new_tokens} new")
    print(f"automatic size: {automatic} pages")
    print("\n| batch | pages/s | peak GiB | times one |\n| ---: | ---: | ---: | ---: |")
    first = ratio = 0.0
    for pages in sorted({*(2**power for power in range(8) if 2**power < automatic), automatic}):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        inputs = make_inputs(size, pages, device)
        generate(model, inputs, 8)
        rate = pages / statistics.median(generate(model, inputs, size.new_tokens) for _ in range(3))
        first = first or rate
        ratio = rate / first
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"| {pages} | {rate:.2f} | {peak:.1f} | {ratio:.1f} |", flush=True)
    print(
        f"\nat the automatic size {ratio:.1f} times as fast as one at a time, without running out of memory"
    )
    if ratio < wanted:
        sys.exit(f"wanted: {wanted} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model-size", choices=SIZES, default="small")
    parser.add_argument("--batch-size", type=int, default=16, help="on cores")
    parser.add_argument("--wanted", type=float, default=5.0, help="on a GPU: exit 1 below this ratio")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    chosen = parser.parse_args()
    size = SIZES[chosen.model_size]
    torch.manual_seed(0)
    wanted = chosen.device
    if wanted == "cuda" or (wanted == "auto" and chosen.model_size != "small" and torch.cuda.is_available()):
        table_on_gpu(size, chosen.wanted)
    else:
        compare_on_cores(size, chosen.batch_size)


if __name__ == "__main__":
    main()
