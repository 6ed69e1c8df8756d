"""Makes ``documents/`` and ``known_text.json``: a small corpus whose text is known.

Run ``python -m benchmarks.samples.make_samples`` from the repository root. The results are committed; the
same versions of PyMuPDF, Pillow and NumPy make the same bytes again. Every word in it was written for
this project, and the fonts are those that come with PyMuPDF, so the corpus falls under its licence.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pymupdf
from PIL import Image

from benchmarks.samples import paper
from benchmarks.samples.blocks import Block, KnownDocument, KnownPage
from benchmarks.samples.classes import Drawn, Order, draw
from benchmarks.samples.layouts import A5, Press, set_blocks
from benchmarks.samples.paper import Wear
from benchmarks.samples.sample_texts import CARDS, LABEL, LETTER, MINUTES
from benchmarks.samples.typeset import Style
from benchmarks.samples.writer import Writer

SEED = "20250314"
DPI = 150
BROADSHEET = (500.0, 640.0)
TURNED_RIGHT = 6  # EXIF: the viewer has to turn the stored pixels clockwise by 90 degrees

ORDERS = {
    "harbour/survey askew.jpg": Order("skewed_noisy", SEED, A5, 200, "en", suffix=".jpg"),
    "harbour/report on its side.pdf": Order("rotated", f"{SEED}/5", A5, DPI, "en", suffix=".pdf"),
    "press/article.jpg": Order("two_column", f"{SEED}/2", BROADSHEET, DPI, "en", suffix=".jpg"),
    "press/newspaper.jpg": Order("three_column", SEED, BROADSHEET, 175, "en", suffix=".jpg"),
    "accounts/stores without lines.png": Order("table", f"{SEED}/1", A5, DPI, "en", suffix=".png"),
    "accounts/stores with lines.pdf": Order("table", f"{SEED}/2", A5, DPI, "de", suffix=".pdf"),
    "empty/back of a sheet.jpg": Order("blank", SEED, A5, DPI, suffix=".jpg"),
    "empty/shining through.jpg": Order("show_through", SEED, A5, DPI, "en", suffix=".jpg"),
    "empty/page number.png": Order("page_number", SEED, A5, DPI, suffix=".png"),
    "greek/harbour.jpg": Order("greek", SEED, A5, DPI, suffix=".jpg"),
}

FOLDER = Path(__file__).resolve().parents[2] / "manifests" / "samples"


def main() -> None:
    """Write every document, and what a perfect reader would read in it."""
    here = FOLDER
    known = {}
    for name, drawn in corpus():
        path = here / "documents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn.data)
        known[f"documents/{name}"] = drawn.known.to_json()
    text = json.dumps(known, indent=1, ensure_ascii=False)
    (here / "known_text.json").write_text(f"{text}\n", encoding="utf-8")


def corpus() -> Iterator[tuple[str, Drawn]]:
    """Every document's path and content, drawn as they are asked for."""
    yield "letter.pdf", _letter()
    yield "harbour/minutes 1926-03.pdf", _minutes()
    yield "cards/ketches.tif", _cards()
    yield "cards/box label.jpg", _label()
    for name, order in ORDERS.items():
        yield name, draw(order)


def _letter() -> Drawn:
    """Born digital: the text is in the file."""
    document = pymupdf.open()
    known = _set(document, LETTER, Style("sans", 10.5, gap=7))
    return _drawn("born_digital", paper.pdf_bytes(document), known)


def _minutes() -> Drawn:
    """A sheet from a flat-bed scanner, front and back; the back is blank."""
    rng = np.random.default_rng(int(SEED))
    front, known = _page(MINUTES, Style("serif", 11, gap=6))
    pages = [front, Image.new("L", front.size, 255)]
    scans = [paper.scan(page, Wear(rng.uniform(-0.6, 0.6), 0.5, 2.5, 238, 40), rng) for page in pages]
    return _drawn("clean_scan", paper.image_pdf(scans, DPI, 60), known, KnownPage())


def _cards() -> Drawn:
    """Index cards, one to a frame."""
    pages = [_page(card, Style("mono", 11, gap=8)) for card in CARDS]
    return _drawn(
        "tiff", paper.bilevel_tiff([image for image, _ in pages], DPI), *(known for _, known in pages)
    )


def _label() -> Drawn:
    """Photographed on a desk with the camera held upright, as the EXIF note says."""
    image, known = _page(LABEL, Style("sans", 14, gap=10))
    photo = paper.photograph(image, np.random.default_rng(int(SEED)))
    return _drawn("photo", paper.jpeg(photo, DPI, 70, TURNED_RIGHT), known)


def _page(blocks: Sequence[Block], style: Style) -> tuple[Image.Image, KnownPage]:
    document = pymupdf.open()
    known = _set(document, blocks, style)
    return paper.pixels(document[0], DPI), known


def _set(document: pymupdf.Document, blocks: Sequence[Block], style: Style) -> KnownPage:
    choose = random.Random(SEED)
    return set_blocks(document, Press(choose, Writer(choose), A5), blocks, style)


def _drawn(page_class: str, data: bytes, *pages: KnownPage) -> Drawn:
    return Drawn("", data, KnownDocument(page_class, "en", pages))


if __name__ == "__main__":
    main()
