"""PDF pages with text layers of every kind, drawn with PyMuPDF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymupdf

PROSE = (
    "The harbour lay quiet under a thin mist when the first boats came home.",
    "Nobody on the quay had expected them before noon, and the women who mend",
    "the nets looked up from their work with more surprise than joy. There was",
    "little to unload: a few crates of herring, some rope, and a letter for the",
    "keeper of the light, which he read twice and then put away without a word.",
)
WIDTH, HEIGHT = 420, 595


def pdf(path: Path, *draw: Callable[[pymupdf.Page], object]) -> Path:
    """A document with one page, drawn by each of ``draw`` in turn."""
    document = pymupdf.open()
    page = document.new_page(width=WIDTH, height=HEIGHT)
    for step in draw:
        step(page)
    document.save(path)
    return path


def prose(page: pymupdf.Page, **how: object) -> None:
    write(page, 20 * PROSE, **how)


def few_lines(page: pymupdf.Page, **how: object) -> None:
    write(page, PROSE, **how)


def write(page: pymupdf.Page, lines: tuple[str, ...], **how: object) -> None:
    """Lines from the top as far as they fit."""
    size = float(str(how.pop("fontsize", 10)))
    for place, line in enumerate(lines):
        y = 60 + place * 1.4 * size
        if y < HEIGHT - 40:
            page.insert_text((40, y), line, fontsize=size, **how)


def pixels_of(draw: Callable[[pymupdf.Page], object], dpi: int = 100) -> pymupdf.Pixmap:
    """What a scanner sees of a page."""
    document = pymupdf.open()
    page = document.new_page(width=WIDTH, height=HEIGHT)
    draw(page)
    pixmap = page.get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
    noise = np.random.default_rng(1).integers(0, 12, pixmap.height * pixmap.stride, dtype=np.uint8)
    samples = np.frombuffer(pixmap.samples, np.uint8)
    noisy = (samples - np.minimum(samples, noise)).tobytes()
    return pymupdf.Pixmap(pymupdf.csGRAY, pixmap.width, pixmap.height, noisy, False)


def scan(page: pymupdf.Page, box: tuple[float, float, float, float] | None = None) -> None:
    page.insert_image(box or page.rect, pixmap=pixels_of(prose))


def outlined(page: pymupdf.Page, lines: int = 20) -> None:
    """Letters as filled shapes, each a path of its own, as drawing programs write text they converted."""
    shape = page.new_shape()
    for row in range(lines):
        for column in range(60):
            x, y = 40 + 5.5 * column, 60 + 14 * row
            shape.draw_bezier((x, y), (x + 5, y + 1), (x - 1, y + 6), (x + 3, y + 7))
            shape.draw_bezier((x + 3, y + 7), (x + 1, y + 4), (x + 4, y + 2), (x, y))
            shape.finish(fill=(0, 0, 0), color=None)
    shape.commit()


def caesar(text: str, shift: int = 1) -> str:
    """Letters moved on in the alphabet, as a font without a Unicode map gives them."""

    def moved(letter: str) -> str:
        base = "a" if letter.islower() else "A"
        return chr((ord(letter) - ord(base) + shift) % 26 + ord(base))

    return "".join(moved(c) if c.isascii() and c.isalpha() else c for c in text)


def ciphered(page: pymupdf.Page) -> None:
    write(page, tuple(map(caesar, PROSE)))


def without_unicode_maps(path: Path) -> Path:
    """A document whose font says nothing about what its glyphs mean."""
    document = pymupdf.open()
    page = document.new_page(width=WIDTH, height=HEIGHT)
    page.insert_font("own", fontbuffer=pymupdf.Font("helv").buffer)
    write(page, 4 * PROSE, fontname="own")
    for xref in range(1, document.xref_length()):
        document.xref_set_key(xref, "ToUnicode", "null") if "ToUnicode" in document.xref_get_keys(xref) else 0
    document.save(path)
    return path
