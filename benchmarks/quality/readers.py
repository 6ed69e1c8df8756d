"""What reads: our engines as the pipeline feeds them, and the bare ``tesseract`` program as a baseline."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from PIL import Image

from actors.chunks import RenderedPage
from actors.engines.base import SCRIPT_FLAG, Request
from actors.engines.load import load_engine
from actors.engines.settings import EngineConfig
from actors.render.renderer import Renderer
from actors.render.settings import RenderConfig
from actors.sources.cache import SourceCache
from manifests.documents import Document
from manifests.errors import EngineError
from manifests.work import RenderCall, RenderItem
from results.rows import Status

BARE = "tesseract-bare"
BARE_WITHIN_S = 120.0
ALL_PAGES = 1_000
LANGUAGE_DATA = {"el": "ell", "ru": "rus", "de": "deu", "fr": "fra", "es": "spa"}


@dataclass(frozen=True, slots=True)
class PageText:
    """What became of one page."""

    text: str
    status: str
    flags: tuple[str, ...]
    seconds: float


class Reader(Protocol):
    """Reads whole files."""

    name: str

    def read(self, path: Path, language: str) -> list[PageText]:
        """One answer per page, in order. Only the baseline is told the language."""


class EngineReader:
    """An engine of ours, fed as the pipeline feeds it: blank pages never reach it."""

    def __init__(self, config: EngineConfig) -> None:
        self.name = f"{config.kind} {config.lang}".strip()
        self._engine = load_engine(config)
        self._loop = asyncio.new_event_loop()

    def read(self, path: Path, language: str) -> list[PageText]:
        del language
        return [self._read(path, page) for page in _rendered(path, RenderConfig())]

    def _read(self, path: Path, page: RenderedPage) -> PageText:
        if page.status is not None:
            return PageText("", page.status, page.flags, 0.0)
        request = Request(path.name, page.page, [page.image])
        started = time.perf_counter()
        try:
            completion = self._loop.run_until_complete(self._engine.read(request))
        except EngineError as error:
            return PageText("", Status.FAILED, (str(error),), time.perf_counter() - started)
        seconds = time.perf_counter() - started
        flags = page.flags + completion.flags
        if completion.uncovered_script is None:
            return PageText(completion.text, Status.OK, flags, seconds)
        return PageText(completion.text, Status.FALLBACK, (*flags, SCRIPT_FLAG), seconds)


class BareTesseract:
    """The installed program on the very same pixels, with its own plain text, on one core.

    It gets the page's own language where that is installed, else English, and finds out the page's
    orientation where its data for that is installed.
    """

    name = BARE

    def __init__(self) -> None:
        self._installed = installed_languages()
        if not self._installed:
            raise FileNotFoundError(f"{BARE}: no tesseract here (Debian: apt install tesseract-ocr)")
        self._mode = "1" if "osd" in self._installed else "3"

    def read(self, path: Path, language: str) -> list[PageText]:
        data = LANGUAGE_DATA.get(language, "eng")
        data = data if data in self._installed else "eng"
        return [self._read(page, data) for page in _rendered(path, RenderConfig(skip_blank=False))]

    def _read(self, page: RenderedPage, data: str) -> PageText:
        buffer = io.BytesIO()
        Image.fromarray(page.image).save(buffer, "PNG", compress_level=1)
        command = ["tesseract", "-", "-", "--dpi", str(RenderConfig().dpi), "--psm", self._mode, "-l", data]
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                input=buffer.getvalue(),
                capture_output=True,
                check=False,
                timeout=BARE_WITHIN_S,
                env=_one_core(),
            )
        except subprocess.TimeoutExpired:  # it loses itself in nearly empty pages now and then
            return PageText("", Status.FAILED, (data,), BARE_WITHIN_S)
        seconds = time.perf_counter() - started
        status = Status.FAILED if done.returncode else Status.OK
        return PageText(done.stdout.decode("utf-8", "replace"), status, (data,), seconds)


@cache
def installed_languages() -> frozenset[str]:
    """Languages the installed ``tesseract`` reads; empty where there is none."""
    if shutil.which("tesseract") is None:
        return frozenset()
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=True)
    return frozenset(listed.stdout.split("\n")[1:]) - {""}


def _one_core() -> dict[str, str]:
    return {**os.environ, "OMP_THREAD_LIMIT": "1"}


def _rendered(path: Path, config: RenderConfig) -> Iterator[RenderedPage]:
    """The file's pages as the pipeline renders them."""
    renderer = Renderer(config, SourceCache("", 2**30, {}), hard_limits=False)
    document = Document(doc_id=path.name, uri=str(path.resolve()))
    call = RenderCall("quality", 1, (RenderItem(0, document),), ALL_PAGES, 2**36, 600.0)
    try:
        yield from renderer.render(call)[1].pages
    finally:
        renderer.close()
