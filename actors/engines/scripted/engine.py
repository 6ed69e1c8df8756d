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
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from actors.engines.base import Completion, Engine, EngineInfo, Image, Request
from actors.engines.finish import finish_reason
from manifests.errors import EngineError, EngineUnavailable

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
    images_per_prompt: int = Field(64, ge=0, description="Images one request may hold.")
    abortable: bool = Field(False, description="Whether a hanging page can be given up.")
    empty_on: frozenset[str] = Field(frozenset(), description="Pages that get an empty answer.")
    finish_reasons: Mapping[str, str] = Field(
        default_factory=dict, description="Why the answers to these pages end; other pages: stop."
    )
    answers: Mapping[str, str] = Field(default_factory=dict, description="What these pages are answered.")
    hang_after: int | None = Field(None, ge=0, description="After so many answers none comes any more.")
    fail_after: int | None = Field(None, ge=0, description="After so many answers every page is refused.")
    wait_after: int | None = Field(
        None, ge=0, description="After so many answers it waits, as for servers, for wait_s."
    )
    wait_s: float = Field(2.0, ge=0, description="How long it waits for servers before it gives up.")
    kill_always: bool = Field(False, description="Every page but the warm-up ends the process.")
    kill_at_start: bool = Field(False, description="Loading ends the process.")


class ScriptedEngine(Engine):
    """Answers every request from its script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._answers = 0
        self._waiting = ""
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
            images_per_prompt=script.images_per_prompt,
        )

    @property
    def waiting(self) -> str:
        return self._waiting

    async def read(self, request: Request) -> Completion:
        name = f"{request.doc_id}#{request.page}"
        script = self._script
        if name in script.kill_on or (script.kill_always and request.doc_id):
            _die(f"scripted engine: killed by {name}")
        if name in script.hang_on or self._is_over(script.hang_after):
            await asyncio.Event().wait()
        if name in script.fail_on or self._is_over(script.fail_after):
            raise EngineError(f"scripted to refuse {name}")
        if self._is_over(script.wait_after):
            self._waiting = "scripted to wait: no server answers"
            await asyncio.sleep(script.wait_s)
            raise EngineUnavailable(f"scripted: no server has answered for {script.wait_s:g} s")
        if script.seconds:
            await asyncio.sleep(script.seconds)
        self._answers += bool(request.doc_id)
        return self._completion(name, request)

    def _is_over(self, answers: int | None) -> bool:
        """Whether so many pages have been answered; the warm-up does not count."""
        return answers is not None and self._answers >= answers

    def _completion(self, name: str, request: Request) -> Completion:
        prints = " ".join(_fingerprint(image) for image in request.images)
        asked = f" ({request.prompt})" if request.prompt else ""
        text = self._script.answers.get(name, f"{request.doc_id} page {request.page}: {prints}{asked}")
        if name in self._script.empty_on:
            text = ""
        reason = finish_reason(self._script.finish_reasons.get(name))
        return Completion(text, reason, len(request.images), len(text.split()))


def _fingerprint(image: Image) -> str:
    height, width = image.shape[:2]
    sample = image[::PIXEL_STRIDE, ::PIXEL_STRIDE].tobytes()
    return f"{width}x{height} {zlib.crc32(sample):08x}"


def _die(message: str) -> None:
    """End the process as a crash would, leaving a message in its log."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(1)
