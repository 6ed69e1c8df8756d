"""A fixed corpus of PDFs: text pages, scans and blank pages in a known mix, made once and kept."""

from __future__ import annotations

import io
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FORMAT = 2
"""Counts up when the generator changes, so that an old cache is not taken for a new corpus."""
SEED = 1
A4_POINTS = (595, 842)
SCAN_PIXELS = (1654, 2339)  # A4 at 200 dpi
SCANS_PER_DOCUMENT = 4
GRAY_SHARE = 0.7
MIN_PAGES, MAX_PAGES = 10, 50
WORDS = ("the", "of", "page", "fleet", "engine", "corpus", "render", "window", "sealed", "manifest", "row")


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of text pages and scans; the rest is blank."""

    name: str
    text: float
    scans: float


MIXED = Mix("mixed", 0.4, 0.4)
TEXT = Mix("text", 1.0, 0.0)
SCANS = Mix("scans", 0.0, 1.0)


def cache_folder() -> Path:
    """Where corpora are kept between runs."""
    return Path(tempfile.gettempdir()) / "pagefleet-benchmarks"


def make_corpus(mix: Mix, pages: int, *, one_document: bool = False) -> list[Path]:
    """The PDFs of a corpus of so many pages, in order; generated unless they are in the cache."""
    folder = cache_folder() / f"v{FORMAT}-{mix.name}-{pages}{'-one' if one_document else ''}"
    if not folder.is_dir():
        made = folder.with_name(f".{uuid4().hex}")
        made.mkdir(parents=True)
        sizes = [pages] if one_document else list(_document_sizes(pages))
        jobs = [(made / f"{number:05d}.pdf", size, SEED + number) for number, size in enumerate(sizes)]
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
            list(processes.map(partial(_write_document, mix), jobs))
        try:
            made.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(made)
    return sorted(folder.glob("*.pdf"))


def _document_sizes(pages: int) -> Iterator[int]:
    choose = random.Random(SEED)
    while pages:
        size = min(pages, choose.randint(MIN_PAGES, MAX_PAGES))
        yield size
        pages -= size


def _write_document(mix: Mix, job: tuple[Path, int, int]) -> None:
    import pymupdf

    path, pages, seed = job
    choose = random.Random(seed)
    scans = [_scan(choose) for _ in range(SCANS_PER_DOCUMENT)] if mix.scans else []
    document = pymupdf.open()
    for number in range(1, pages + 1):
        page = document.new_page(width=A4_POINTS[0], height=A4_POINTS[1])
        kind = choose.random()
        if kind < mix.text:
            page.insert_text((50, 60), [_line(choose, 14) for _ in range(48)], fontsize=10)
        elif kind < mix.text + mix.scans:
            page.insert_image(page.rect, stream=_as_another(choose.choice(scans), number))
    document.save(path)
    document.close()


def _line(choose: random.Random, words: int) -> str:
    return " ".join(choose.choices(WORDS, k=words))


def _scan(choose: random.Random) -> bytes:
    """A JPEG as a scanner makes it: paper with noise, printed lines; grayscale or colour."""
    width, height = SCAN_PIXELS
    noise = np.random.default_rng(choose.getrandbits(32)).normal(242, 4, (height, width))
    page = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=30)
    for top in range(150, height - 150, 46):
        draw.text((140, top), _line(choose, 13), fill=30, font=font)
    if choose.random() >= GRAY_SHARE:
        page = Image.merge("RGB", (page, page, page.point(lambda level: level * 0.9)))
    sink = io.BytesIO()
    page.save(sink, "JPEG", quality=80)
    return sink.getvalue()


def _as_another(jpeg: bytes, number: int) -> bytes:
    """The same picture as a JPEG of its own (a comment differs), so that no decoder caches it."""
    comment = f"page {number}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
