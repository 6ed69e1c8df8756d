"""Ink that the detector overlooked: lone page numbers above and below the lines, mostly; or all of a page.

The detector finds a number of three digits in a crop of it, but not on a page that is otherwise empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from actors.engines.base import Image
from actors.engines.line_ocr.unread import few_lines_of_print
from actors.engines.line_ocr.upright import Quad, sides
from actors.layout.lines import Box

DARKER_BY = 60
"""Grey levels from paper to ink; what shines through from the other side stays below."""
MIN_HEIGHT, MAX_HEIGHT = 0.005, 0.05
"""Of the page's longer side: from 6-point digits to a headline."""
JOINED_EM = 0.012
"""Ink no further apart than this share of the page's longer side belongs together."""
PADDING = 0.35
STROKE = 0.35
SMALL_PIXELS = 900 * 900
MIN_INK = 0.001
"""Share of the page; a line or two of text."""
MAX_FOUND = 8
"""More than this is a picture or dirt."""


def overlooked(image: Image, quads: Sequence[Quad]) -> list[Quad]:
    """Boxes around words of ink above the first and below the last quad, or anywhere without quads."""
    grey = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3))
    ink = (grey < np.median(grey[::8, ::8]) - DARKER_BY).astype(np.uint8)
    if quads:
        tops, bottoms = zip(*((quad[:, 1].min(), quad[:, 1].max()) for quad in quads), strict=True)
        ink[int(min(tops)) : int(max(bottoms)) + 1] = 0
    if not ink.any():
        return []
    if not quads and (lines := few_lines_of_print(image, MAX_FOUND)):
        return [_padded(line, image) for line in lines]
    longer = max(image.shape[:2])
    reach = max(3, int(JOINED_EM * longer))
    joined = cv2.dilate(ink, np.ones((max(1, reach // 4), reach), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    boxes = [_tight(ink, *(int(value) for value in stats[index][:4])) for index in range(1, count)]
    found = [box for box in boxes if _is_like_text(box, longer)]
    return [_padded(box, image) for box in found] if len(found) <= MAX_FOUND else []


def mostly_unread(image: Image, quads: Sequence[Quad]) -> bool:
    """Whether a page has some ink, and more of it outside the quads than inside."""
    scale = min(1.0, (SMALL_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.int16)
    ink = np.abs(grey - int(np.median(grey))) > DARKER_BY
    inside = np.zeros(ink.shape, np.uint8)
    for quad in quads:
        cv2.fillConvexPoly(inside, np.round(quad * scale).astype(np.int32), 1)
    unread = np.count_nonzero(ink & (inside == 0))
    return bool(unread > max(MIN_INK * ink.size, np.count_nonzero(ink) / 2))


def _tight(ink: Any, x: int, y: int, width: int, height: int) -> Box:
    """The box of the ink itself: x1, y1, x2, y2."""
    part = ink[y : y + height, x : x + width]
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1


def _is_like_text(box: Box, longer: int) -> bool:
    width, height = box[2] - box[0], box[3] - box[1]
    return MIN_HEIGHT * longer <= height <= MAX_HEIGHT * longer and 0.1 * height <= width <= 40 * height


def is_stroke(quad: Quad) -> bool:
    """Whether ink that was found may be a 1 or a scratch: no wider than a third of its height."""
    width, height = sides(quad)
    return width < (STROKE + 2 * PADDING) / (1 + 2 * PADDING) * height


def _padded(box: Box, image: Image) -> Quad:
    margin = PADDING * (box[3] - box[1])
    height, width = image.shape[:2]
    x1, y1 = max(0.0, box[0] - margin), max(0.0, box[1] - margin)
    x2, y2 = min(width - 1.0, box[2] + margin), min(height - 1.0, box[3] + margin)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
