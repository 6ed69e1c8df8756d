"""Memory estimates of the transformers engine, against models whose figures are known."""

from __future__ import annotations

import pytest

from actors.engines.transformers.memory import (
    BatchSize,
    PageTokens,
    Placement,
    page_bytes,
    parse_max_memory,
    place,
)
from actors.models.weights.shape import model_shape
from manifests.errors import ConfigError

GIB = 2**30
INTERNVL_8B = model_shape(
    {
        "text_config": {
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "vocab_size": 151_936,
            "max_position_embeddings": 40_960,
        },
        "vision_config": {"hidden_size": 1024, "intermediate_size": 4096},
    }
)
PAGE = PageTokens(prompt=2_048, image=1_792, new=4_096)


def test_a_page_of_an_8b_model_takes_its_cache_and_its_share_of_a_layer():
    cache = 2 * 36 * 8 * 128 * 2 * (2_048 + 4_096)
    assert 0.84 * GIB < cache < 0.85 * GIB
    assert cache < page_bytes(INTERNVL_8B, PAGE, 2) < 1.6 * cache


def test_twice_as_wide_values_take_about_twice_as_much():
    assert page_bytes(INTERNVL_8B, PAGE, 4) > 1.7 * page_bytes(INTERNVL_8B, PAGE, 2)


@pytest.mark.parametrize(("free_gib", "pages"), [(62, (40, 64)), (6, (3, 6)), (0.5, (1, 1))])
def test_the_first_batch_fits_what_a_card_has_left(free_gib, pages):
    size = BatchSize(page_bytes(INTERNVL_8B, PAGE, 2), int(free_gib * GIB))
    assert pages[0] <= size.pages <= pages[1]
    assert size.pages == 1 or size.pages * size.page_bytes < free_gib * GIB


def test_what_was_observed_corrects_the_size_up_by_and_by_and_down_at_once():
    size = BatchSize(page_bytes=100, free_bytes=10_000)
    assert size.observed(1_000, 2_000).pages < size.pages // 2 + 2
    slightly = size.observed(1_000, 500)
    assert size.pages < slightly.pages < 2 * size.pages
    for _ in range(30):
        slightly = slightly.observed(1_000, 500)
    assert slightly.pages == 128


def test_running_out_halves_for_good_and_never_below_one_page():
    size = BatchSize(page_bytes=100, free_bytes=10_000).ran_out(64)
    assert size.pages == 32
    assert size.observed(1_000, 100).pages == 32
    for _ in range(9):
        size = size.ran_out(size.pages)
    assert size.pages == 1


def test_a_fixed_size_stays_until_memory_runs_out():
    size = BatchSize.fixed(24)
    assert size.observed(1, 10**12).pages == 24
    assert size.ran_out(24).pages == 12


def test_a_model_stays_on_one_gpu_where_that_leaves_room_for_pages():
    assert place(17 * GIB, [80 * GIB, 80 * GIB], 100 * GIB) == Placement({"": 0})


def test_a_model_is_spread_over_gpus_before_it_is_offloaded():
    placement = place(30 * GIB, [23 * GIB, 23 * GIB], 100 * GIB)
    assert placement.device_map == "balanced"
    assert placement.max_memory == {0: int(0.8 * 23 * GIB), 1: int(0.8 * 23 * GIB), "cpu": 0}


def test_what_gpus_do_not_hold_goes_to_main_memory_within_a_budget():
    placement = place(60 * GIB, [23 * GIB, 23 * GIB], 100 * GIB)
    assert placement.device_map == "auto"
    assert placement.max_memory["cpu"] == 80 * GIB
    assert placement.max_memory[0] < 0.7 * 23 * GIB


def test_weights_that_fit_nowhere_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"weights take 500\.0 GiB.*offload_folder"):
        place(500 * GIB, [23 * GIB], 100 * GIB)
    assert place(500 * GIB, [23 * GIB], 100 * GIB, "/scratch").device_map == "auto"


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("", {}),
        ("cuda:0=21GiB,cpu=96GiB", {0: 21 * GIB, "cpu": 96 * GIB}),
        (" 1 = 1.5 gb , cpu=200KB", {1: 1_500_000_000, "cpu": 200_000}),
    ],
)
def test_memory_budgets_are_given_by_device(text, budget):
    assert parse_max_memory(text) == budget


@pytest.mark.parametrize(
    "text", ["cuda:0", "gpu=1GiB", "cpu=much", "cpu=1.2.3GiB", "cpu=1GiB,cpu=2GiB", "0=1XB"]
)
def test_a_budget_that_cannot_be_read_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"max_memory"):
        parse_max_memory(text)
