"""Pages per second of the embedded engine through the whole pipeline, against the engine alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Self
from unittest.mock import patch

import numpy as np

from actors.engines.base import Engine, Request
from actors.engines.load import load_engine
from actors.engines.rapidocr import engine as rapidocr
from actors.engines.settings import EngineConfig
from actors.render.pdf import PdfPages
from actors.render.raster import RgbArray
from actors.render.settings import RenderConfig
from benchmarks.corpus import cache_folder
from benchmarks.processes import cpu_seconds
from benchmarks.report import Report
from benchmarks.samples.classes import Order, draw
from benchmarks.session import Session, documents_of, scratch_folder
from jobs.config import JobConfig

PAGES = 60
TARGET = 0.92
LAYOUT_PAGES = 8
MAX_LAYOUT = 0.05
LAYOUT_PARTS = ("completion_of", "with_sizes", "find_rules", "cut_at_gutters")
A6 = (298.0, 420.0)
"""Small pages keep ten runs within minutes; larger ones cost the pipeline less per second of reading."""
ENGINE = EngineConfig(kind="rapidocr")


class BareReading:
    """As many processes as cores, each with the engine loaded, that read pixels from memory files."""

    def __init__(self) -> None:
        self._width = os.cpu_count() or 1
        self._processes = ProcessPoolExecutor(self._width, get_context("spawn"), _load)

    def __enter__(self) -> Self:
        list(self._processes.map(time.sleep, [0.5] * 2 * self._width))
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.shutdown()

    def seconds(self, pages: Sequence[Path]) -> float:
        """How long it takes to read all pages; each is fetched when a process is free."""
        started = time.perf_counter()
        characters = list(self._processes.map(_read, pages))
        if not all(characters):
            raise RuntimeError("a page came back without text")
        return time.perf_counter() - started


def run(pairs: int, scale: float) -> Report:
    """Alternating pairs on one warm cluster and one warm pool."""
    report = Report("reading: RapidOCR through the pipeline against RapidOCR alone on rendered pixels")
    count = max(2, int(PAGES * scale))
    documents = _documents(count)
    with scratch_folder() as pixels, scratch_folder() as output, BareReading() as bare:
        pages = [_rendered(document, Path(pixels)) for document in documents]
        bare.seconds(pages[:4])
        with Session.of_job(JobConfig(engine=ENGINE), Path(output)) as session:
            session.run(documents_of(documents[:4], "warm-up"))
            runs = [_pair(number, bare, pages, session, documents) for number in range(pairs)]
    ratios = [one["ratio"] for one in runs]
    report.data = {"pages": count, "runs": runs}
    report.add("bare", f"{median(one['bare'] for one in runs):.3f} pages/s")
    report.add("pipeline", f"{median(one['pipeline'] for one in runs):.3f} pages/s")
    value = f"{median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    report.add("ratio", value, f">= {TARGET}", median(ratios) >= TARGET)
    report.add("ratio of CPU seconds", f"{median(one['cpu_ratio'] for one in runs):.3f}")
    share = _layout_share(documents[:LAYOUT_PAGES])
    report.add("layout's share of reading", f"{share:.2%}", f"<= {MAX_LAYOUT:.0%}", share <= MAX_LAYOUT)
    return report


def _pair(
    number: int, bare: BareReading, pages: Sequence[Path], session: Session, documents: Sequence[Path]
) -> dict[str, Any]:
    first = cpu_seconds()
    bare_s = bare.seconds(pages)
    middle = cpu_seconds()
    ran = session.run(documents_of(documents, f"pair-{number}"))
    last = cpu_seconds()
    if ran.statuses != {"ok": len(pages)}:
        raise RuntimeError(f"rows of {len(pages)} pages: {ran.statuses}")
    in_pipeline = sum((last - middle).values()) - (last - middle)["bare"]
    return {
        "bare": len(pages) / bare_s,
        "pipeline": len(pages) / ran.seconds,
        "ratio": bare_s / ran.seconds,
        "cpu_ratio": (middle - first)["bare"] / in_pipeline,
    }


def _documents(count: int) -> list[Path]:
    """One-page PDFs of scans with known text, made once and kept."""
    folder = cache_folder() / f"reading-a6-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.pdf" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            order = Order("clean_scan", f"reading-{number}", size=A6, dpi=150, language="en", suffix=".pdf")
            path.write_bytes(draw(order).data)
    return paths


def _image(document: Path) -> RgbArray:
    pages = PdfPages(document, RenderConfig())
    image = pages.render(1).image
    pages.close()
    return image


def _rendered(document: Path, folder: Path) -> Path:
    path = folder / f"{document.stem}.npy"
    np.save(path, _image(document))
    return path


def _layout_share(documents: Sequence[Path]) -> float:
    """Seconds of what turns lines into a page (rules, order, Markdown), over seconds of reading."""
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal spent
            started = time.perf_counter()
            result = function(*args)
            spent += time.perf_counter() - started
            return result

        return call

    engine = load_engine(ENGINE)
    asyncio.run(engine.read(Request("", 1, [_image(documents[0])])))  # models load when first used
    with ExitStack() as patches:
        for name in LAYOUT_PARTS:
            patches.enter_context(patch.object(rapidocr, name, timed(getattr(rapidocr, name))))
        started = time.perf_counter()
        for document in documents:
            asyncio.run(engine.read(Request("", 1, [_image(document)])))
        return spent / (time.perf_counter() - started)


_engine: Engine | None = None


def _load() -> None:
    global _engine
    _engine = load_engine(ENGINE)


def _read(page: Path) -> int:
    if _engine is None:
        raise RuntimeError("the engine is not loaded")
    return len(asyncio.run(_engine.read(Request("", 1, [np.load(page)]))).text)
