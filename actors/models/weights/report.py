"""What looking at a model folder comes to: records only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from actors.models.weights.headers import Tensor

GIB = 2**30


class Topic(StrEnum):
    """What a finding is about, so that an engine that does without it can pass it over."""

    CONFIG = "config"
    WEIGHTS = "weights"
    TOKENIZER = "tokenizer"
    PROCESSOR = "processor"
    CODE = "code"


def gib(size: float) -> str:
    """Bytes as GiB, small ones as MiB."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:,.1f} MiB"


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """One thing to know of a model folder, as a sentence with the remedy. A warning does not stop it."""

    topic: Topic
    message: str
    is_problem: bool = True


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model folder as found. ``config`` is the parsed config.json, empty where it cannot be read.

    ``tensors`` are those of all safetensors files that could be read; ``weight_bytes`` the size of all
    weight files; ``code`` the Python files the config points to. Problems come first in ``findings``.
    """

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: tuple[Tensor, ...] = ()
    weight_files: tuple[str, ...] = ()
    weight_bytes: int = 0
    tokenizer: str = ""
    processor: str = ""
    chat_template: str = ""
    code: tuple[str, ...] = ()
    findings: tuple[ModelFinding, ...] = ()

    @property
    def problems(self) -> tuple[ModelFinding, ...]:
        return tuple(finding for finding in self.findings if finding.is_problem)

    @property
    def warnings(self) -> tuple[ModelFinding, ...]:
        return tuple(finding for finding in self.findings if not finding.is_problem)

    @property
    def architectures(self) -> tuple[str, ...]:
        names = self.config.get("architectures")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type") or "")

    @property
    def quantization(self) -> str:
        """How the weights are quantised by the config's own word; empty when they are not."""
        section = self.config.get("quantization_config")
        return str(section.get("quant_method") or "yes") if isinstance(section, dict) else ""

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters by safetensors' name of their type, most first."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.parameters
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def memory_tensors(self) -> tuple[Tensor, ...]:
        """The tensors, or where the files are pickles one that stands for them all."""
        return self.tensors or (Tensor("weights", "unknown", (), self.weight_bytes),)
