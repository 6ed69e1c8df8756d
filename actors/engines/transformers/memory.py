"""Memory of a model and its batches: what fits, where layers go, and how many pages at once. Pure.

All figures are bytes unless named otherwise. Estimates are for inference without gradients, where the
activations of one layer at a time are alive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.models.weights.memory import LOGIT_BYTES, LOGIT_COPIES, PATCHES_PER_TOKEN
from actors.models.weights.report import gib
from actors.models.weights.shape import ModelShape
from manifests.errors import ConfigError

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
ALONE = 0.7
"""Share of a GPU that weights may take if the model is to stay on it: the rest is for pages."""
SPREAD = 0.8
OFFLOADED = 0.6
"""Shares of each GPU for weights, where a model is spread over several, or in part off them."""
CPU_SHARE = 0.8
FREE_SHARE = 0.85
"""Of what is free beside the weights: the rest is the allocator's fragments and what kernels borrow."""
HIDDEN_COPIES = 8
"""Tensors as wide as the hidden state that a transformer layer holds at once (residual, norm, q, k, v,
attention's output and the sum), after Korthikanti et al., Reducing Activation Recomputation, table 2."""
WIDE_COPIES = 3
"""Tensors as wide as the feed-forward layer (gate, up, their product)."""
PATCH_VALUES = 3 * 16 * 16
MAX_PAGES = 128
MAX_CPU_PAGES = 8
"""On cores a model of any size computes; more pages at once only take longer together."""

Device = int | str
"""A GPU's number as this process sees it, or ``cpu``."""


@dataclass(frozen=True, slots=True)
class PageTokens:
    """The tokens of one page: of its whole prompt, of the images in it, and of the longest answer."""

    prompt: int
    image: int
    new: int


def page_bytes(model: ModelShape, page: PageTokens, value_bytes: int) -> int:
    """What one page adds to a batch at its worst: its KV cache, its pixels, its share of one layer."""
    patches = PATCHES_PER_TOKEN * page.image
    vision = patches * (HIDDEN_COPIES * model.vision_hidden + WIDE_COPIES * model.vision_intermediate)
    text = page.prompt * (HIDDEN_COPIES * model.hidden + WIDE_COPIES * model.intermediate)
    pixels = patches * PATCH_VALUES * (4 + value_bytes)  # as prepared in float32, and as the model takes it
    logits = LOGIT_COPIES * LOGIT_BYTES * model.vocab
    cache = model.kv_values_per_token(1) * value_bytes * (page.prompt + page.new)
    return cache + pixels + value_bytes * max(vision, text) + logits


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How many pages of the worst kind fit; corrected by what batches were seen to take.

    ``factor`` is observed over estimated bytes. ``ceiling`` is what running out of memory has taught.
    """

    page_bytes: int
    free_bytes: int
    ceiling: int = MAX_PAGES
    factor: float = 1.0

    @classmethod
    def fixed(cls, pages: int) -> BatchSize:
        """So many pages, until memory runs out."""
        return cls(page_bytes=0, free_bytes=0, ceiling=pages)

    @property
    def pages(self) -> int:
        if not self.page_bytes:
            return self.ceiling
        fitting = int(self.free_bytes * FREE_SHARE / (self.page_bytes * self.factor))
        return max(1, min(self.ceiling, fitting))

    def observed(self, estimated_bytes: int, peak_bytes: int) -> BatchSize:
        """After a batch. More than estimated counts at once, less only by and by."""
        seen = min(4.0, max(0.25, peak_bytes / max(1, estimated_bytes)))
        factor = seen if seen > self.factor else 0.8 * self.factor + 0.2 * seen
        return replace(self, factor=factor)

    def ran_out(self, pages: int) -> BatchSize:
        """After a batch of so many pages found no memory."""
        return replace(self, ceiling=max(1, min(self.ceiling, pages // 2)))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where ``from_pretrained`` puts a model: its arguments of these names."""

    device_map: str | dict[str, Device]
    max_memory: dict[Device, int] | None = None


def place(weights: int, gpus: Sequence[int], cpu: int, offload_folder: str = "") -> Placement:
    """A conservative placement: one GPU, all of them, or the rest in main memory, then on disk.

    ``gpus`` and ``cpu`` are free bytes. Raises ConfigError when the weights fit nowhere.
    """
    if gpus and weights <= ALONE * gpus[0]:
        return Placement({"": 0})
    spread: dict[Device, int] = {number: int(SPREAD * free) for number, free in enumerate(gpus)}
    if gpus and weights <= sum(spread.values()):
        return Placement("balanced", {**spread, "cpu": 0})
    budget: dict[Device, int] = {number: int(OFFLOADED * free) for number, free in enumerate(gpus)}
    budget["cpu"] = int(CPU_SHARE * cpu)
    if weights > sum(budget.values()) and not offload_folder:
        raise ConfigError(
            f"the weights take {gib(weights)}, and there is room for {gib(sum(budget.values()))} "
            f"({len(gpus)} GPUs and main memory): set engine.transformers.offload_folder (slow), use more "
            "or larger GPUs, or a smaller model"
        )
    return Placement("auto", budget)


def parse_max_memory(text: str) -> dict[Device, int]:
    """``cuda:0=21GiB,cpu=96GiB`` by device. Raises ConfigError."""
    budget: dict[Device, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"(?:(?:cuda:)?(\d+)|(cpu))\s*=\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]+)", part)
        unit = _unit(found[4]) if found else None
        if found is None or unit is None:
            raise ConfigError(
                f"engine.transformers.max_memory: {part!r} must be like cuda:0=21GiB or cpu=96GiB "
                f"(units: {', '.join(UNITS)})"
            )
        device: Device = int(found[1]) if found[1] else "cpu"
        if device in budget:
            raise ConfigError(f"engine.transformers.max_memory: {part!r}: this device is given twice")
        budget[device] = int(float(found[3]) * unit)
    return budget


def _unit(name: str) -> int | None:
    return next((size for unit, size in UNITS.items() if unit.lower() == name.lower()), None)
