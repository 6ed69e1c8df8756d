"""The examples are whole: each loads as it stands, and is of the engine that it speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.engines.load import check_taken
from jobs.config import load_config

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = {
    "two-24gb-cards-transformers": ("transformers", "OpenGVLab/InternVL3_5-14B-HF", 2),
    "deepseek-ocr-l4": ("vllm", "deepseek-ai/DeepSeek-OCR", 1),
    "internvl3.5-8b-88gb": ("transformers", "OpenGVLab/InternVL3_5-8B-HF", 1),
    "qwen3-vl-4b-server": ("openai", "Qwen/Qwen3-VL-4B-Instruct", 1),
    "internvl3-8b-2xa100": ("vllm", "OpenGVLab/InternVL3-8B-hf", 2),
}


def test_every_example_is_tested():
    assert {path.stem for path in FOLDER.iterdir()} == set(EXAMPLES)


@pytest.mark.parametrize(("name", "expected"), EXAMPLES.items())
def test_an_example_loads(name, expected):
    engine = load_config(FOLDER / f"{name}.yaml", [], {}).engine
    check_taken(engine)
    assert (engine.kind, engine.model, engine.tensor_parallel_size) == expected


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_its_own_command(name):
    assert f"-c examples/{name}.yaml" in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
