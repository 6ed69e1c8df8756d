"""The engine protocol: requests in, completions out, each finishing on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from results.rows import Region

SCRIPT_FLAG = "script_not_covered"
"""On a page whose script the engine cannot read; ``script_not_covered:Greek`` beside it names it."""
NO_TEXT_FLAG = "no_text"
"""On a page that was searched for print and shows none: a picture, or nothing."""
Image = np.ndarray[Any, np.dtype[np.uint8]]
"""RGB, shape (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and its images, with the identity of the page they belong to (for logs and tests).

    An engine whose ``info.takes_jpeg`` says so gets ``jpegs`` in place of ``images``. ``<image>`` in the
    prompt stands for an image (see ``actors.engines.prompts``).
    """

    doc_id: str
    page: int
    images: Sequence[Image]
    prompt: str = ""
    temperature: float = 0.0
    jpegs: Sequence[bytes] = ()
    max_tokens: int = 0
    """New tokens after which this answer is cut, where that is sooner than engine.sampling.max_tokens; 0: not
    sooner."""
    mode: str = ""
    """The preset's mode that the prompt is of, where it is another than the job's (for logs and tests)."""
    size: str = ""
    """Image size of the preset for this request alone: one of ``info.sizes``; empty: the engine's own."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine answered. ``finish_reason`` is one of ``actors.engines.finish``, or a word of the
    engine's that is none of them; ``detail`` is what a model says in place of an answer that it refuses.

    ``rotation`` is how far the engine turned the image clockwise before it read it (0, 90, 180, 270);
    boxes of regions refer to the turned image. Confidences are 0 to 1, None where an engine has none.
    ``uncovered_script`` names a script on the page that the engine cannot read (``""``: one that it
    cannot name); None when there is none. ``unread`` says that the page shows text which was not read, ``""``
    when it does not. ``engine`` and ``model`` say who answered, where an engine
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
    unread: str = ""
    engine: str = ""
    model: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the fleet needs to know of a loaded engine.

    ``concurrency`` requests are worked on at once; the fleet keeps ``window`` pages in flight per
    replica so that it never waits. ``abortable`` engines stop working on a request whose ``read`` is
    cancelled; of the others, the process must end to stop it. ``takes_jpeg`` engines pass images on
    encoded: renderers encode for them, on all cores. Engines with ``limits_time`` end a request that takes
    too long by themselves, since they know for how much of the wait the page is to blame. ``deterministic``
    engines answer the same when asked again. ``sizes`` are those a single request may name
    (``Request.size``); none of our engines takes another than it was loaded for. A request may hold
    ``images_per_prompt`` images; 0: the engine has no prompts and reads a page of one image.
    """

    name: str
    model: str = ""
    revision: str = ""
    concurrency: int = 1
    window: int = 4
    abortable: bool = False
    takes_jpeg: bool = False
    limits_time: bool = False
    deterministic: bool = False
    sizes: frozenset[str] = frozenset()
    images_per_prompt: int = 0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one replica occupies on its node: cores, GPUs, and bytes of memory.

    ``takes_jpeg`` as in ``EngineInfo``, known before an engine is loaded.
    """

    num_cpus: float = 1.0
    num_gpus: int = 0
    memory_bytes: int = 0
    takes_jpeg: bool = False


class Engine(Protocol):
    """A loaded model."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def waiting(self) -> str:
        """What it waits for at present, as a sentence for people; empty when it does not."""
        return ""

    async def read(self, request: Request) -> Completion:
        """Answer one request. At most ``info.concurrency`` are awaited at once.

        Raises EngineError when this request cannot be answered (others can), EngineDead when the
        engine will not answer again, EngineUnavailable when what it depends on has not for too long.
        """

    async def close(self) -> None:
        """Give back what the engine holds; most hold nothing that does not end with the process."""
        return
