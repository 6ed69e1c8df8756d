"""The baseline of rendering: PyMuPDF alone in as many processes as there are cores."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Self

DPI = 150


class BareRendering:
    """Processes with PyMuPDF imported that render documents to raw RGB and drop the pixels."""

    def __init__(self) -> None:
        self._width = os.cpu_count() or 1
        self._processes = ProcessPoolExecutor(self._width, get_context("spawn"))

    def __enter__(self) -> Self:
        list(self._processes.map(_warm_up, range(2 * self._width)))
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.shutdown()

    def seconds(self, documents: Sequence[Path]) -> float:
        """How long it takes to render all pages of the documents."""
        started = time.perf_counter()
        list(self._processes.map(_render, documents))
        return time.perf_counter() - started


def _warm_up(_: int) -> None:
    import pymupdf

    with pymupdf.open() as document:
        document.new_page().get_pixmap(dpi=DPI, alpha=False)
    time.sleep(0.2)  # long enough that each process gets its turn


def _render(path: Path) -> int:
    import pymupdf

    with pymupdf.open(path) as document:
        pixmaps = (page.get_pixmap(dpi=DPI, alpha=False) for page in document)
        return sum(pixmap.stride * pixmap.height for pixmap in pixmaps)
