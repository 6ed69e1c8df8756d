"""How many GPUs one engine takes, where that was left open."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from actors.engines.settings import EngineConfig
from actors.models.presets.choice import choose
from actors.models.weights.cards import Card, installed_cards
from actors.models.weights.check import check_folder
from actors.models.weights.memory import divides, estimate, plan_of
from actors.models.weights.shape import model_shape
from manifests.errors import ConfigError

GROUPS = (2, 4, 8)
WEIGHTS_SHARE = 0.85
"""Of what an engine may take of a card, for weights of which only the size is known; the rest is for
pages."""


def on_enough_gpus(engine: EngineConfig, cards: Sequence[Card]) -> EngineConfig:
    """A vllm engine on the smallest group of these GPUs that holds its model.

    As it is where it fits one GPU, where a larger group was asked for, where no group of these would do,
    and where nothing is known of the model or the GPUs.
    """
    if engine.kind != "vllm" or engine.device == "cpu" or engine.tensor_parallel_size > 1 or not cards:
        return engine
    fits = _known_fit(engine, cards) or _published_fit(engine, cards)
    if fits is None or fits(1):
        return engine
    size = next((size for size in GROUPS if size <= len(cards) and fits(size)), 1)
    return engine.model_copy(update={"tensor_parallel_size": size})


def visible_cards(engine: EngineConfig) -> list[Card]:
    """The GPUs a run would see: those it is told, else those this process may see."""
    visible = engine.gpus or os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = list(installed_cards())
    if visible is None or any(part.strip()[:1].isalpha() for part in visible.split(",")):
        return cards  # all, or named by their UUID
    decimal = takewhile(str.isdecimal, (part.strip() for part in visible.split(",")))  # as CUDA reads it
    wanted = {int(part) for part in decimal}
    return [card for card in cards if card.number in wanted]


def published_bytes(engine: EngineConfig) -> int:
    """About what the weights of a hub model take by its preset; 0 where that does not know."""
    choice = choose(engine.model, engine.kind)
    checkpoints = choice.form.checkpoints if choice.form else {}
    name = next((name for name, hub_id in checkpoints.items() if hub_id == choice.model), "")
    return int(choice.preset.weights.get(name, 0) * 1e9 * plan_of(engine).weight_dtype_bytes)


def _known_fit(engine: EngineConfig, cards: Sequence[Card]) -> Callable[[int], bool] | None:
    """Whether a model that is on this machine fits a group of so many; None where it is not here."""
    from actors.models.weights.locate import cached_snapshot, names_folder  # half a second

    try:
        here = names_folder(engine.model)
        folder = Path(engine.model) if here else cached_snapshot(engine.model, engine.revision)
        report = check_folder(folder) if folder else None
    except ConfigError:
        return None
    shape = model_shape(report.config) if report else None
    if report is None or shape is None:
        return None
    smallest, tensors = min(cards, key=lambda card: card.total_bytes), report.memory_tensors
    plan = plan_of(engine, fp8_card=smallest.computes_fp8)

    def fits(size: int) -> bool:
        wider = replace(plan, tensor_parallel=size)
        return divides(shape, size) and estimate(tensors, shape, wider, smallest.total_bytes).fits

    return fits


def _published_fit(engine: EngineConfig, cards: Sequence[Card]) -> Callable[[int], bool] | None:
    """The same by the size that the preset names, for a model that is still to be fetched."""
    weights = published_bytes(engine)
    room = min(card.total_bytes for card in cards) * engine.vllm.gpu_memory_utilization * WEIGHTS_SHARE
    return (lambda size: weights <= size * room) if weights else None
