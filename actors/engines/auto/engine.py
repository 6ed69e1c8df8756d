"""The embedded engine, and Tesseract for the pages whose script it does not cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from actors.engines.base import Completion, Engine, EngineInfo, Request
from actors.engines.rapidocr.engine import RapidOcrEngine
from actors.engines.tesseract.engine import TesseractEngine
from manifests.errors import ConfigError

BELIEVABLE = 0.5
"""Mean confidence of Tesseract from which on its reading replaces one that is known to be wrong."""


class AutoEngine(Engine):
    """Asks RapidOCR first, and Tesseract for pages in a script that RapidOCR does not cover.

    Without Tesseract, or without the language, the page keeps what RapidOCR said of it: what it could
    read, flagged. Raises ConfigError when languages are asked for that are not installed.
    """

    def __init__(self, languages: str, engine_args: Mapping[str, Any]) -> None:
        self._rapidocr = RapidOcrEngine(engine_args)
        self._tesseract = _tesseract(languages)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="auto", concurrency=1, window=2, deterministic=True)

    async def read(self, request: Request) -> Completion:
        first = _signed(await self._rapidocr.read(request), self._rapidocr.info)
        script, tesseract = first.uncovered_script, self._tesseract
        if script is None and first.unread:
            script = ""
        if script is None or tesseract is None:
            return first
        if not tesseract.may_read(script):
            return first
        second = _signed(await tesseract.read(request, script), tesseract.info)
        return second if (second.mean_confidence or 0.0) >= BELIEVABLE else first


def _signed(completion: Completion, info: EngineInfo) -> Completion:
    return replace(completion, engine=info.name, model=info.model)


def _tesseract(languages: str) -> TesseractEngine | None:
    """Tesseract, if it is there. It must be where languages are asked for."""
    try:
        return TesseractEngine(languages)
    except ConfigError:
        if languages:
            raise
        return None
