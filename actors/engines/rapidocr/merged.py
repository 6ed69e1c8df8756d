"""Detected lines that reach over the white between two columns, cut apart.

The detector now and then takes the first lines of two columns for one. Where other lines leave a gutter
free and the pixels of such a line do too, it is two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from actors.engines.base import Image
from actors.engines.line_ocr.upright import Quad, hull_of
from actors.layout.geometry import line_height
from actors.layout.gutters import Gutter, find_gutters
from actors.layout.lines import TextLine

LEAST_WHITE = 0.5
"""Width of the white, in box heights; words of justified text are less far apart."""
WIDER_THAN_SPACES = 1.6
EDGE = 0.2
"""White that stays with either part, in box heights, as detected boxes have it."""
INK_SHARE = 0.35
"""How far from paper to ink a pixel may be and still be paper."""


def cut_at_gutters(image: Image, quads: Sequence[Quad]) -> list[Quad]:
    """The quads of a straightened page, those that hold two lines as two."""
    boxes = [TextLine("", hull_of(quad)) for quad in quads]
    gutters = find_gutters(boxes, line_height(boxes)) if boxes else []
    cut: list[Quad] = []
    for quad, box in zip(quads, boxes, strict=True):
        crossed = [gutter for gutter in gutters if gutter.crossed_by(box)]
        cut += _cut(quad, sorted(white for gutter in crossed for white in _white(image, box, gutter)))
    return cut


def _white(image: Image, line: TextLine, gutter: Gutter) -> list[tuple[float, float]]:
    """Begin and end of the white in a line's pixels at a gutter; nothing where ink goes on."""
    x1, y1, x2, y2 = (max(0, round(value)) for value in line.box)
    crop = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY)
    if min(crop.shape) < 3:
        return []
    runs = _runs(_is_white(crop))
    at_gutter = [run for run in runs if run[0] + x1 < gutter.right and run[1] + x1 > gutter.left]
    spaces = sorted(end - start for start, end in runs[1:-1])
    if not at_gutter or not spaces:
        return []
    start, end = max(at_gutter, key=lambda run: run[1] - run[0])
    usual = spaces[len(spaces) // 2]
    wide = end - start >= max(LEAST_WHITE * line.height, WIDER_THAN_SPACES * usual)
    edge = EDGE * line.height
    return [(x1 + start + edge, x1 + end - edge)] if wide else []


def white_runs(crop: Image) -> list[tuple[int, int]]:
    """Begin and end of every stretch of a line without ink, in pixels from its left."""
    return _runs(_is_white(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)))


def _is_white(crop: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For every column of pixels, whether it holds no ink."""
    smooth = cv2.blur(crop, (3, 3))
    paper, ink = np.percentile(smooth, 90), np.percentile(smooth, 2)
    white: np.ndarray[Any, np.dtype[np.bool_]] = smooth.min(axis=0) > paper - INK_SHARE * (paper - ink)
    return white


def _runs(white: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Begin and end of every run of white columns."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], white, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _cut(quad: Quad, whites: Sequence[tuple[float, float]]) -> list[Quad]:
    """The parts of a quad between stretches of white, in order."""
    parts: list[Quad] = []
    for start, end in whites:
        if start <= quad[0][0] or end >= quad[1][0]:
            continue
        parts.append(_part(quad, quad[0][0], start))
        quad = _part(quad, end, quad[1][0])
    return [*parts, quad]


def _part(quad: Quad, x1: float, x2: float) -> Quad:
    """The stretch of a quad from one x to another."""
    length = max(float(quad[1][0] - quad[0][0]), 1.0)
    begin, end = (x1 - quad[0][0]) / length, (x2 - quad[0][0]) / length
    above, below = quad[1] - quad[0], quad[2] - quad[3]
    corners = (quad[0] + begin * above, quad[0] + end * above, quad[3] + end * below, quad[3] + begin * below)
    return np.array(corners, np.float32)
