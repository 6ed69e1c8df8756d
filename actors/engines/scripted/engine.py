"""An engine that follows a script: for tests, benchmarks and trying a pipeline without a model.

Its text depends on the page's identity and pixels, so that a mix-up shows; faults happen at the
pages the script names.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import zlib

from pydantic import BaseModel, ConfigDict, Field

from actors.engines.base import Completion, EngineInfo, Image, Request
from manifests.errors import EngineError

PIXEL_STRIDE = 16


class Script(BaseModel):
    """What the engine does. Pages are named ``doc_id#page``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(0.0, ge=0, description="How long one page takes.")
    load_s: float = Field(0.0, ge=0, description="How long loading takes.")
    concurrency: int = Field(64, ge=1)
    window: int = Field(256, ge=1)
    num_cpus: float = Field(0.1, ge=0)
    num_gpus: int = Field(0, ge=0)
    kill_on: frozenset[str] = Field(frozenset(), description="Pages that end the process.")
    hang_on: frozenset[str] = Field(frozenset(), description="Pages that never finish.")
    fail_on: frozenset[str] = Field(frozenset(), description="Pages the engine refuses.")
    abortable: bool = Field(False, description="Whether a hanging page can be given up.")
    kill_always: bool = Field(False, description="Every page but the warm-up ends the process.")
    kill_at_start: bool = Field(False, description="Loading ends the process.")


class ScriptedEngine:
    """Answers every request from its script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        time.sleep(script.load_s)
        if script.kill_at_start:
            _die("scripted engine: killed while loading")

    @property
    def info(self) -> EngineInfo:
        script = self._script
        return EngineInfo(
            "scripted",
            "script",
            concurrency=script.concurrency,
            window=script.window,
            abortable=script.abortable,
        )

    async def read(self, request: Request) -> Completion:
        name = f"{request.doc_id}#{request.page}"
        if name in self._script.kill_on or (self._script.kill_always and request.doc_id):
            _die(f"scripted engine: killed by {name}")
        if name in self._script.hang_on:
            await asyncio.Event().wait()
        if name in self._script.fail_on:
            raise EngineError(f"scripted to refuse {name}")
        if self._script.seconds:
            await asyncio.sleep(self._script.seconds)
        prints = " ".join(_fingerprint(image) for image in request.images)
        text = f"{request.doc_id} page {request.page}: {prints}"
        return Completion(text, prompt_tokens=len(request.images), completion_tokens=len(text.split()))

    async def close(self) -> None:
        return None


def _fingerprint(image: Image) -> str:
    height, width = image.shape[:2]
    sample = image[::PIXEL_STRIDE, ::PIXEL_STRIDE].tobytes()
    return f"{width}x{height} {zlib.crc32(sample):08x}"


def _die(words: str) -> None:
    """End the process as a crash would, leaving a message in its log."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
    os._exit(1)
