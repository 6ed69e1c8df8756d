"""The engine protocol: requests in, completions out, each finishing on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from manifests.rows import Region

SCRIPT_FLAG = "script_not_covered"
"""On a page whose script the engine cannot read; ``script_not_covered:Greek`` beside it names it."""
Image = np.ndarray[Any, np.dtype[np.uint8]]
"""RGB, shape (height, width, 3)."""


class EngineConfig(BaseModel):
    """Which engine reads, and with what. What an engine takes beyond these is in ``engine_args``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(
        "rapidocr",
        description="rapidocr (embedded, CPU), tesseract (where installed), auto (rapidocr, and tesseract "
        "for what it does not cover) or scripted (tests and benchmarks).",
    )
    model: str = Field("", description="Preset, local folder or hub id; empty: the engine's own.")
    mode: str = Field("", description="Prompt mode of the preset; empty: the preset's default.")
    prompt: str = Field("", description="Overrides the preset's prompt.")
    lang: str = Field(
        "",
        pattern=r"^([A-Za-z_]+(\+[A-Za-z_]+)*)?$",
        description="Languages for Tesseract by its codes: ell, deu+eng; empty: detected. Implies auto.",
    )
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs in one replica's group.")
    page_timeout_s: float = Field(
        900.0, gt=0, description="A page that takes longer ends its replica and is then read alone."
    )
    engine_args: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Passed on to the engine, names checked there."
    )

    @model_validator(mode="before")
    @classmethod
    def _languages_imply_auto(cls, values: Any) -> Any:
        """The embedded engine needs no languages: who names some wants an engine that uses them."""
        if isinstance(values, dict) and values.get("lang") and not values.get("kind"):
            return {**values, "kind": "auto"}
        return values


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and its images, with the identity of the page they belong to (for logs and tests)."""

    doc_id: str
    page: int
    images: Sequence[Image]
    prompt: str = ""
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine answered. ``finish_reason`` is ``stop``, ``length``, ``repetition`` or ``abort``.

    ``rotation`` is how far the engine turned the image clockwise before it read it (0, 90, 180, 270);
    boxes of regions refer to the turned image. Confidences are 0 to 1, None where an engine has none.
    ``uncovered_script`` names a script on the page that the engine cannot read (``""``: one that it
    cannot name); None when there is none. ``engine`` and ``model`` say who answered, where an engine
    asks others.
    """

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    regions: tuple[Region, ...] = ()
    flags: tuple[str, ...] = ()
    rotation: int = 0
    mean_confidence: float | None = None
    worst_confidence: float | None = None
    uncovered_script: str | None = None
    engine: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the fleet needs to know of a loaded engine.

    ``concurrency`` requests are worked on at once; the fleet keeps ``window`` pages in flight per
    replica so that it never waits. ``abortable`` engines stop working on a request whose ``read`` is
    cancelled; of the others, the process must end to stop it.
    """

    name: str
    model: str = ""
    revision: str = ""
    concurrency: int = 1
    window: int = 4
    abortable: bool = False


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one replica occupies on its node: cores, GPUs, and bytes of memory."""

    num_cpus: float = 1.0
    num_gpus: int = 0
    memory_bytes: int = 0
    env: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """A loaded model."""

    @property
    def info(self) -> EngineInfo: ...

    async def read(self, request: Request) -> Completion:
        """Answer one request. At most ``info.concurrency`` are awaited at once.

        Raises EngineError when this request cannot be answered (others can), EngineDead when the
        engine will not answer again.
        """

    async def close(self) -> None:
        """Give back what the engine holds."""
