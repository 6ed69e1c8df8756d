"""How many GPUs an engine takes where nobody said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.engines.settings import EngineConfig
from actors.models.weights.cards import Card
from jobs.models.gpu_groups import on_enough_gpus
from tests.actors.model_folders import QWEN3_8B, large_model_folder

GIB = 2**30
L4 = Card("L4", 23_034 * 2**20, 8.9)
H100 = Card("H100", 81_559 * 2**20, 9.0)


def folder_of(path: Path, gibibytes: int, heads: int = 32) -> Path:
    text = {**QWEN3_8B, "num_attention_heads": heads, "max_position_embeddings": 16384}
    return large_model_folder(path, gibibytes * GIB, text)


@pytest.mark.parametrize(
    ("gibibytes", "cards", "size"),
    [
        (14, [L4], 1),
        (14, [L4] * 4, 1),
        (30, [L4] * 4, 2),
        (60, [L4] * 8, 4),
        (60, [H100] * 8, 1),
        (60, [L4, H100, H100, L4], 4),
        (60, [L4] * 2, 1),
        (30, [], 1),
    ],
)
def test_a_model_that_fits_no_single_gpu_gets_the_smallest_group(tmp_path, gibibytes, cards, size):
    engine = EngineConfig(kind="vllm", model=str(folder_of(tmp_path / "m", gibibytes)))
    assert on_enough_gpus(engine, cards).tensor_parallel_size == size


def test_heads_must_be_shared_evenly(tmp_path):
    engine = EngineConfig(kind="vllm", model=str(folder_of(tmp_path / "m", 30, heads=28)))
    assert on_enough_gpus(engine, [L4] * 8).tensor_parallel_size == 2
    engine = EngineConfig(kind="vllm", model=str(folder_of(tmp_path / "n", 110, heads=28)))
    assert on_enough_gpus(engine, [L4] * 8).tensor_parallel_size == 1, "28 heads and 8 GPUs"


@pytest.mark.parametrize(
    ("weights", "cards", "size"), [("8b", [L4] * 4, 1), ("4b", [L4] * 4, 1), ("32b", [L4] * 8, 4)]
)
def test_a_model_that_is_not_here_yet_is_weighed_by_its_preset(weights, cards, size):
    hub = f"Qwen/Qwen3-VL-{weights.upper()}-Instruct"
    engine = EngineConfig(kind="vllm", model=hub)
    assert on_enough_gpus(engine, cards).tensor_parallel_size == size


def test_what_was_asked_for_or_is_no_gpus_business_stays(tmp_path):
    model = str(folder_of(tmp_path / "m", 30))
    for engine in (
        EngineConfig(kind="vllm", model=model, tensor_parallel_size=4),
        EngineConfig(kind="vllm", model=model, device="cpu"),
        EngineConfig(kind="transformers", model=model),
        EngineConfig(kind="vllm", model="nobody/knows"),
        EngineConfig(),
    ):
        assert on_enough_gpus(engine, [L4] * 8) == engine
