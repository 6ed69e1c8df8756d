"""Does a text layer say what its page shows? Cheap tests, each able to say no. No PyMuPDF.

To distrust a good layer costs one reading of the page's pixels; to trust a bad one costs its text. So
every doubt counts.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from actors.layout.lines import Box
from actors.render.ink import Gray, Mask, edges_of, straight
from actors.render.layer_words import Word
from actors.render.shown import Picture, any_hidden

MAX_INVISIBLE = 0.1
MAX_GARBLED = 0.02
MAX_TINY = 0.02
TINY_POINTS = 3.0
MAX_IMAGE_AREA = 0.5
MAX_FEW_IMAGES, MAX_IMAGES_PER_WORDS = 0.03, 3.0
"""Images beyond the first share of the page may not take more room than so many times its words."""
MAX_WORDS_ON_IMAGES = 0.3
MAX_SCANNED_AREA = 0.03
"""Of the page, in images that look like text or line art on paper."""
PAPER, MIN_PAPER = 190, 0.55
MIN_WRITING = 0.02
MAX_OVERLAP = 0.2
MAX_WORD_OVERLAP = 0.6
"""Of one word: another that is written over it may hide it, or stand on what does."""
MAX_UNREAD = 0.35
"""Of all sharp edges, those that are neither in words nor in images nor in straight lines."""
MAX_OUTLINES = 0.08
"""Edges in filled curved shapes, against those in words: letters drawn as shapes."""
MIN_OUTLINE_EDGES = 150
STRONG_EDGE = 48
MIN_LETTERS, MIN_FEW_LETTERS = 150, 40
MIN_LIKENESS, MIN_FEW_LIKENESS = 0.45, 0.3
"""Correlation of the page's letters with ``FREQUENCIES``. Of eleven languages from Finnish to Vietnamese
the least alike reach 0.55 within a hundred letters, most of their ciphers 0.4."""
MAX_LATIN_1 = 0.5
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FREQUENCIES = (
    8.5, 1.5, 3.2, 4.2, 14.0, 1.4, 1.7, 2.8, 7.6, 0.4, 1.0, 4.6, 2.9,
    7.6, 6.2, 2.5, 0.7, 6.6, 6.8, 6.6, 4.9, 1.6, 1.0, 0.4, 0.8, 0.7,
)  # fmt: skip
"""Per cent, over English, German, French, Spanish, Italian, Portuguese, Dutch and Latin."""


class Doubt(StrEnum):
    """Why a layer is not taken for what the page shows."""

    INVISIBLE = "invisible"
    """Drawn without ink, as scanners put what their own OCR read behind the scan."""
    GARBLED = "garbled"
    """Characters without a meaning, or with a wrong one."""
    TINY = "tiny"
    HIDDEN = "hidden"
    """Words where the page shows nothing: white on white, covered, or empty shapes."""
    OVERLAPPING = "overlapping"
    IMAGES = "images"
    """Images that are, or may be, what is to be read."""
    INCOMPLETE = "incomplete"
    """The page shows more than words, images and lines."""
    TOO_MUCH = "too_much"
    BROKEN = "broken"
    """The page's content cannot be followed without errors."""


@dataclass(frozen=True, slots=True)
class PageContent:
    """What a page's content says without drawing it. Boxes in points of the page as it is shown.

    ``words`` are all on the page, ``rules`` thin boxes, ``shapes`` filled outlines.
    """

    words: tuple[Word, ...]
    images: tuple[Box, ...]
    rules: tuple[Box, ...]
    shapes: tuple[Box, ...]
    size: tuple[float, float]
    too_much: bool = False


def find_doubt(page: PageContent, draw: Callable[[], Picture]) -> Doubt | None:
    """The first reason not to trust a page's words, or None.

    ``draw`` gives the page as a small picture; it is called only when all else is well.
    """
    if page.too_much:
        return Doubt.TOO_MUCH
    letters = sum(len(word.text) for word in page.words)
    shown = [word for word in page.words if word.visible]
    if letters - sum(len(word.text) for word in shown) > MAX_INVISIBLE * letters:
        return Doubt.INVISIBLE
    if is_garbled(shown):
        return Doubt.GARBLED
    if sum(len(word.text) for word in shown if word.size < TINY_POINTS) > MAX_TINY * letters:
        return Doubt.TINY
    in_images = _area(page.images, page.size)
    in_words = _area([word.box for word in shown], page.size)
    if in_images > min(MAX_IMAGE_AREA, max(MAX_FEW_IMAGES, MAX_IMAGES_PER_WORDS * in_words)):
        return Doubt.IMAGES
    return _doubt_of_ink(page, shown, draw())


def is_garbled(words: Sequence[Word]) -> bool:
    """Whether words hold characters without meaning, or letters as no language mixes them."""
    text = "".join(word.text for word in words)
    if sum(map(_is_meaningless, text)) > MAX_GARBLED * len(text):
        return True
    upper = sum("\u00a1" <= c <= "\u00ff" for c in text)
    if upper > MAX_LATIN_1 * len(text):  # another alphabet, each letter taken for one of Latin 1
        return True
    return _is_cipher(text)


def _is_meaningless(character: str) -> bool:
    """U+FFFD, private use, control characters, unassigned ones and halves of a pair."""
    return character == "\ufffd" or unicodedata.category(character) in ("Co", "Cc", "Cn", "Cs")


def _is_cipher(text: str) -> bool:
    """Whether Latin letters are mixed as in no European language: a font's codes, not its letters."""
    counts = Counter(unicodedata.normalize("NFD", text).lower())
    found = np.array([counts[letter] for letter in LETTERS], dtype=np.float64)
    letters = found.sum()
    others = sum(count for c, count in counts.items() if c.isalpha() and not c.isascii())
    if letters < MIN_FEW_LETTERS or others > letters or not found.std():
        return False
    likeness = float(np.corrcoef(found, FREQUENCIES)[0, 1])
    return likeness < (MIN_LIKENESS if letters >= MIN_LETTERS else MIN_FEW_LIKENESS)


def _doubt_of_ink(page: PageContent, words: Sequence[Word], picture: Picture) -> Doubt | None:
    """Compare where the words are with where the page has ink."""
    gray = picture.gray
    scale = gray.shape[1] / page.size[0], gray.shape[0] / page.size[1]
    edges = edges_of(gray)
    boxes = _pixels([word.box for word in words], scale, gray.shape)
    overlap, most = _overlaps(boxes, gray.shape)
    if overlap > MAX_OVERLAP:
        return Doubt.OVERLAPPING
    if any_hidden(words, page.size, picture):
        return Doubt.HIDDEN
    if most > MAX_WORD_OVERLAP:
        return Doubt.OVERLAPPING
    strong = edges >= STRONG_EDGE
    images = _pixels(page.images, scale, gray.shape)
    if _scanned_area(gray, strong, images) > MAX_SCANNED_AREA:
        return Doubt.IMAGES
    on_images = _mask(images, gray.shape)
    if len(images) and _sums(on_images, boxes) > MAX_WORDS_ON_IMAGES * _areas(boxes).sum():
        return Doubt.IMAGES
    in_words = _mask(_grown(boxes, gray.shape), gray.shape)
    written = np.count_nonzero(strong & in_words)
    rest = strong & ~in_words & ~on_images
    rest &= ~straight(rest)
    if np.count_nonzero(rest) > MAX_UNREAD * (written + np.count_nonzero(rest)):
        return Doubt.INCOMPLETE
    shapes = _mask(_pixels(page.shapes, scale, gray.shape), gray.shape)
    outlines = np.count_nonzero(rest & shapes)
    return Doubt.INCOMPLETE if outlines > max(MIN_OUTLINE_EDGES, MAX_OUTLINES * written) else None


Boxes = npt.NDArray[np.intp]
"""One row each: left, top, right and bottom, the last two exclusive; never empty."""


def _pixels(boxes: Sequence[Box], scale: tuple[float, float], shape: tuple[int, ...]) -> Boxes:
    """Boxes in pixels, rounded outwards and cut to the picture."""
    if not boxes:
        return np.empty((0, 4), dtype=np.intp)
    points = np.array(boxes, dtype=np.float64) * (*scale, *scale)
    height, width = shape[:2]
    low = np.clip(np.floor(points[:, :2]), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(points[:, 2:]), low + 1, (width, height))
    return np.concatenate([low, high], axis=1).astype(np.intp)


def _grown(boxes: Boxes, shape: tuple[int, ...]) -> Boxes:
    """Boxes with a margin: accents, and the edge left of a letter."""
    height, width = shape[:2]
    grown: Boxes = np.clip(boxes + np.array((-2, -2, 2, 2)), 0, (width, height, width, height))
    return grown


def _areas(boxes: Boxes) -> Boxes:
    areas: Boxes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _mask(boxes: Boxes, shape: tuple[int, ...]) -> Mask:
    """Pixels in any of the boxes. A loop over boxes is ten times as fast as sums over pixels."""
    mask = np.zeros(shape, dtype=bool)
    for x1, y1, x2, y2 in boxes.tolist():
        mask[y1:y2, x1:x2] = True
    return mask


def _sums(mask: Mask, boxes: Boxes) -> int:
    """Pixels set within each box, added up."""
    return sum(int(np.count_nonzero(mask[y1:y2, x1:x2])) for x1, y1, x2, y2 in boxes.tolist())


def _overlaps(boxes: Boxes, shape: tuple[int, ...]) -> tuple[float, float]:
    """Share of the words' area, without ascenders and descenders, where two or more words stand: of all
    words together, and of the one that has most."""
    quarter = (boxes[:, 3] - boxes[:, 1]) // 4
    inner = boxes.copy()
    inner[:, 1] += quarter
    inner[:, 3] -= quarter
    counts = np.zeros(shape, dtype=np.uint16)
    for x1, y1, x2, y2 in inner.tolist():
        counts[y1:y2, x1:x2] += 1
    doubled = counts > 1
    area = int(np.count_nonzero(counts))
    if not doubled.any():
        return 0.0, 0.0
    most = max(float(doubled[y1:y2, x1:x2].mean()) for x1, y1, x2, y2 in inner.tolist())
    return float(np.count_nonzero(doubled) / max(1, area)), most


def _scanned_area(gray: Gray, strong: Mask, images: Boxes) -> float:
    """Share of the page in images that are mostly light and have the edges of writing."""
    scanned = []
    for x1, y1, x2, y2 in images:
        inside = gray[y1:y2, x1:x2]
        light = np.count_nonzero(inside >= PAPER) > MIN_PAPER * inside.size
        if light and np.count_nonzero(strong[y1:y2, x1:x2]) > MIN_WRITING * inside.size:
            scanned.append((x1, y1, x2, y2))
    if not scanned:
        return 0.0
    return float(_mask(np.array(scanned, dtype=np.intp), gray.shape).mean())


def _area(boxes: Sequence[Box], size: tuple[float, float]) -> float:
    """Share of the page that boxes cover."""
    shape = (200, 200)
    mask = _mask(_pixels(boxes, (shape[1] / size[0], shape[0] / size[1]), shape), shape)
    return float(mask.mean())
