"""Draws the pages that the tiny reader reads: a number of four digits, black on white, on a square page."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from actors.engines.base import Image as RgbArray

SIDE = 112
"""Pixels of a page, which is one tile of the model; a page PIL writes into a PDF has as many points."""
PIXELS = 34
TOP_LEFT = (17, 39)
NUMBERS = 10_000


def numbers(count: int, seed: int = 0) -> list[str]:
    """So many different numbers, each of four digits; the same for the same seed."""
    return [f"{number:04d}" for number in random.Random(seed).sample(range(NUMBERS), count)]


def draw(number: str, scale: int = 1) -> RgbArray:
    """A page that says ``number``.

    ``scale`` 2 and 3 make pages of 5 and 10 tiles (the page is cut, and itself made small is the last
    tile). The reader never saw such pages: it says something of each, but seldom the number.
    """
    page = Image.new("RGB", (SIDE * scale, SIDE * scale), "white")
    place = [scale * start for start in TOP_LEFT]
    ImageDraw.Draw(page).text(place, number, fill="black", font=_font(PIXELS * scale))
    return np.asarray(page)


@cache
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


def write_pdf(file: Path, pages: list[str]) -> None:
    """A PDF whose pages say these numbers in turn; rendered at 72 dpi they are ``SIDE`` pixels a side."""
    first, *others = [Image.fromarray(draw(number)) for number in pages]
    file.parent.mkdir(parents=True, exist_ok=True)
    first.save(file, "PDF", resolution=72.0, save_all=True, append_images=others, quality=95)


def write_png(file: Path, number: str) -> None:
    """An image that says this number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(number)).save(file)


def write_corpus(folder: Path, pages: list[str], per_document: int = 10) -> dict[tuple[str, int], str]:
    """PDFs of ``per_document`` pages, and a PNG for each number that is left over.

    Returns the number that stands on each page, by file name and page (counted from 1).
    """
    said: dict[tuple[str, int], str] = {}
    whole = len(pages) - len(pages) % per_document
    for start in range(0, whole, per_document):
        name, part = f"numbers-{start // per_document:03d}.pdf", pages[start : start + per_document]
        write_pdf(folder / name, part)
        said |= {(name, page): number for page, number in enumerate(part, 1)}
    for place, number in enumerate(pages[whole:]):
        name = f"number-{place:03d}.png"
        write_png(folder / name, number)
        said[name, 1] = number
    return said
