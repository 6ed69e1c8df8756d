"""The classes of pages that quality is measured on. Each draws a whole file from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pymupdf
from PIL import Image

from benchmarks.samples import layouts, paper
from benchmarks.samples.blocks import KnownDocument, KnownPage
from benchmarks.samples.layouts import A4, Press
from benchmarks.samples.paper import Wear
from benchmarks.samples.writer import Writer

LATIN = ("en", "en", "en", "en", "de", "fr", "es")
Layout = Callable[[pymupdf.Document, Press], KnownPage]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A file, and what stands in it."""

    suffix: str
    data: bytes
    known: KnownDocument


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be drawn. The same order gives the same bytes; ``language`` None leaves it to chance."""

    page_class: str
    seed: str
    size: tuple[float, float] = A4
    dpi: int | None = None
    language: str | None = None
    pages: int = 1
    suffix: str | None = None


class _Studio:
    """Chance and tools for one order."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.choose = random.Random(f"{order.page_class}/{order.seed}")
        self.rng = np.random.default_rng(self.choose.getrandbits(64))
        self.language = order.language or self.choose.choice(LATIN)
        self.dpi = order.dpi or self.choose.choice((150, 175, 200))
        self.press = Press(self.choose, Writer(self.choose, self.language), order.size)

    def page(self, layout: Layout) -> tuple[Image.Image, KnownPage]:
        """A page of this layout as clean pixels."""
        document = pymupdf.open()
        known = layout(document, self.press)
        return paper.pixels(document[0], self.dpi), known

    def drawn(self, suffix: str, data: bytes, *pages: KnownPage) -> Drawn:
        return Drawn(suffix, data, KnownDocument(self.order.page_class, self.language, pages))

    def stored(self, image: Image.Image, known: KnownPage, quality: int) -> Drawn:
        """One page in one of the usual formats."""
        suffix = self.choose.choice((".jpg", ".png", ".pdf"))
        suffix = self.order.suffix or suffix
        if suffix == ".png":
            return self.drawn(suffix, paper.png(image, self.dpi), known)
        if suffix == ".pdf":
            return self.drawn(suffix, paper.image_pdf([image], self.dpi, quality), known)
        return self.drawn(suffix, paper.jpeg(image, self.dpi, quality), known)

    def clean_wear(self) -> Wear:
        """A flat-bed scanner in good order."""
        choose = self.choose
        return Wear(
            skew_deg=choose.uniform(-0.3, 0.3),
            blur=choose.uniform(0.3, 0.6),
            grain=choose.uniform(1, 3),
            paper=choose.uniform(238, 252),
            ink=choose.uniform(10, 45),
        )

    def bad_wear(self) -> Wear:
        """A worn-out machine, and a page that lay askew."""
        choose = self.choose
        return Wear(
            skew_deg=choose.choice((-1, 1)) * choose.uniform(1.5, 5),
            blur=choose.uniform(0.6, 1.0),
            grain=choose.uniform(6, 13),
            paper=choose.uniform(205, 235),
            ink=choose.uniform(40, 75),
            uneven=choose.uniform(0.1, 0.3),
            specks=choose.randint(50, 250),
        )


def _scanned(layout: Layout, studio: _Studio) -> Drawn:
    image, known = studio.page(layout)
    return studio.stored(paper.scan(image, studio.clean_wear(), studio.rng), known, 80)


def _two_columns(studio: _Studio) -> Drawn:
    unequal = studio.choose.random() < 0.25
    return _scanned(layouts.unequal_columns if unequal else layouts.two_columns, studio)


def _table(studio: _Studio) -> Drawn:
    return _scanned(partial(layouts.table, ruled=studio.choose.random() < 0.5), studio)


def _skewed_noisy(studio: _Studio) -> Drawn:
    image, known = studio.page(layouts.letter)
    scan = paper.scan(image, studio.bad_wear(), studio.rng)
    return studio.stored(scan, known, studio.choose.randint(40, 65))


def _rotated(studio: _Studio) -> Drawn:
    image, known = studio.page(layouts.letter)
    scan = paper.scan(image, studio.clean_wear(), studio.rng)
    return studio.stored(scan.rotate(studio.choose.choice((90, 180, 270)), expand=True), known, 80)


def _show_through(studio: _Studio) -> Drawn:
    other_side, _ = studio.page(layouts.letter)
    image = paper.shine_through(other_side, studio.choose.uniform(0.05, 0.2), studio.rng)
    return studio.stored(image, KnownPage(), 80)


def _born_digital(studio: _Studio) -> Drawn:
    document = pymupdf.open()
    layout = studio.choose.choice((layouts.letter, layouts.two_columns))
    known = [layout(document, studio.press) for _ in range(studio.order.pages)]
    return studio.drawn(".pdf", paper.pdf_bytes(document), *known)


def _tiff(studio: _Studio) -> Drawn:
    pages = [studio.page(layouts.letter) for _ in range(studio.order.pages)]
    frames = [paper.scan(image, studio.clean_wear(), studio.rng) for image, _ in pages]
    return studio.drawn(".tif", paper.bilevel_tiff(frames, studio.dpi), *(known for _, known in pages))


def _photo(studio: _Studio) -> Drawn:
    image, known = studio.page(layouts.letter)
    orientation = studio.choose.choice((1, 3, 6, 8))
    photo = paper.photograph(image, studio.rng)
    return studio.drawn(".jpg", paper.jpeg(photo, studio.dpi, 80, orientation), known)


CLASSES: Mapping[str, Callable[[_Studio], Drawn]] = {
    "clean_scan": partial(_scanned, layouts.letter),
    "two_column": _two_columns,
    "three_column": partial(_scanned, layouts.newspaper),
    "table": _table,
    "skewed_noisy": _skewed_noisy,
    "rotated": _rotated,
    "blank": partial(_scanned, layouts.empty),
    "show_through": _show_through,
    "page_number": partial(_scanned, layouts.page_number),
    "born_digital": _born_digital,
    "tiff": _tiff,
    "photo": _photo,
    "greek": partial(_scanned, layouts.letter),
    "cyrillic": partial(_scanned, layouts.letter),
}
LANGUAGE_OF = {"greek": "el", "cyrillic": "ru"}
"""Classes that are about a script; all others are in a Latin one."""


def draw(order: Order) -> Drawn:
    """Draw one file. Raises KeyError for a class that does not exist."""
    if order.language is None and order.page_class in LANGUAGE_OF:
        order = replace(order, language=LANGUAGE_OF[order.page_class])
    return CLASSES[order.page_class](_Studio(order))
