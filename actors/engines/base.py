"""The engine protocol: requests in, completions out, each finishing on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from manifests.rows import Region

Image = np.ndarray[Any, np.dtype[np.uint8]]
"""RGB, shape (height, width, 3)."""


class EngineConfig(BaseModel):
    """Which engine reads, and with what. What an engine takes beyond these is in ``engine_args``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field("rapidocr", description="rapidocr (embedded, CPU) or scripted (tests and benchmarks).")
    model: str = Field("", description="Preset, local folder or hub id; empty: the engine's own.")
    mode: str = Field("", description="Prompt mode of the preset; empty: the preset's default.")
    prompt: str = Field("", description="Overrides the preset's prompt.")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs in one replica's group.")
    page_timeout_s: float = Field(
        900.0, gt=0, description="A page that takes longer ends its replica and is then read alone."
    )
    engine_args: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Passed on to the engine, names checked there."
    )


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
    """What the engine answered. ``finish_reason`` is ``stop``, ``length``, ``repetition`` or ``abort``."""

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    regions: tuple[Region, ...] = ()
    flags: tuple[str, ...] = ()


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
