"""Does a page show print that was not read? Told by what lines of print look like, at any size of type.

A line smeared along itself is a bar: long, thin, full, and of many strokes. Print makes one of every line;
photographs, drawings, rules, bar codes and dirt make none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from actors.engines.base import Image
from actors.layout.lines import Box

UNREAD_FLAG = "unread_ink"
CONTRAST, LESS = 56, 0.8
"""Grey levels between ink and what is around it, and the share of them on the smaller pages. What shines
through from the other side has less."""
AROUND = 61
"""Pixels that count as around."""
LOWEST, HIGHEST, SHORTEST = 3, 16, 16
"""A bar's height and length in pixels. Larger type is found on a page of half the size, and so on."""
SMEAR = 11
LONG_EM = 3.5
FULL = 0.45
STROKES, MANY_STROKES = 14, 40
"""Edges across a bar. A word of five letters has as many as the first; noise not half of the second."""
STROKES_EM, FEW_STROKES_EM = 1.5, 0.9
"""The same for each of its heights along it: print has 2 to 4, print of 4 pixels and noise have 1. The
second holds for a bar of many strokes."""
CHECKED_PIXELS = 12_000_000
MANY_LINES = 8
"""Lines left unread from which on it matters whether they are more than those that were read."""

Bar = tuple[int, int, int, int, float]
"""x1, y1, x2, y2 and strokes."""


def unread_print(image: Image, read: Sequence[Box]) -> str:
    """What is wrong with having read lines in these boxes and no more, ``""`` where nothing is."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if not read:
        lines = sum(1 for _ in _bars(gray)) or sum(
            1 for _ in _bars(cv2.rotate(gray, cv2.ROTATE_90_CLOCKWISE))
        )
        return "the page shows what looks like text, and none could be read" if lines else ""
    scale = min(1.0, (CHECKED_PIXELS / gray.size) ** 0.5)
    if scale < 1:
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    inside = np.zeros(gray.shape, np.uint8)
    for x1, y1, x2, y2 in read:
        inside[
            max(0, int(y1 * scale)) : int(y2 * scale) + 1, max(0, int(x1 * scale)) : int(x2 * scale) + 1
        ] = 1
    seen = unseen = 0.0
    lines = 0
    for x1, y1, x2, y2, strokes in _bars(gray):
        if inside[y1:y2, x1:x2].mean() >= 0.5:
            seen += strokes
        else:
            unseen += strokes
            lines += 1
    if lines < MANY_LINES or unseen <= seen:
        return ""
    return "the page shows what looks like more text than could be read"


def few_lines_of_print(image: Image, at_most: int) -> list[Box]:
    """Boxes around what looks like lines of print, on a page with no more than so many; else none."""
    boxes: list[Box] = []
    bars = list(_bars(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)))
    for x1, y1, x2, y2, _ in bars if len(bars) <= 2 * at_most else ():
        box: Box = (x1, y1, x2, y2)
        touching = [other for other in boxes if _touch(box, other)]
        boxes = [other for other in boxes if other not in touching]
        lefts, tops, rights, bottoms = zip(box, *touching, strict=True)
        boxes.append((min(lefts), min(tops), max(rights), max(bottoms)))
    return boxes


def _touch(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _bars(gray: Any) -> Iterator[Bar]:
    """Lines of print, in pixels of the page; one whose type is between two sizes twice."""
    contrast, factor = float(CONTRAST), 1
    while min(gray.shape) >= 2 * LOWEST and max(gray.shape) >= SHORTEST:
        for x1, y1, x2, y2, strokes in _bars_of_one_size(gray, contrast):
            yield x1 * factor, y1 * factor, x2 * factor, y2 * factor, strokes
        gray = cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        contrast, factor = LESS * CONTRAST, factor * 2


def _bars_of_one_size(gray: Any, contrast: float) -> Iterator[Bar]:
    ink = (cv2.absdiff(gray, cv2.blur(gray, (AROUND, AROUND))) >= contrast).astype(np.uint8)
    smeared = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((1, SMEAR), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(smeared, connectivity=4)
    width, height, area = stats[1:, 2], stats[1:, 3], stats[1:, 4]
    fits = (height >= LOWEST) & (height <= HIGHEST) & (width >= np.maximum(LONG_EM * height, SHORTEST))
    boxes = stats[1:][fits & (area >= FULL * width * height)]
    if not len(boxes):
        return
    edges = np.zeros(ink.shape, np.uint8)
    np.not_equal(ink[:, 1:], ink[:, :-1], out=edges[:, 1:].view(bool))
    total = cv2.integral(edges)
    for x, y, w, h, _ in boxes.tolist():
        across = total[y + h, x + w] - total[y, x + w] - total[y + h, x] + total[y, x]
        strokes = float(across) / h
        densely = STROKES_EM if strokes < MANY_STROKES else FEW_STROKES_EM
        if strokes >= max(STROKES, densely * w / h):
            yield x, y, x + w, y + h, strokes
