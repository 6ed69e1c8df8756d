"""Turning and straightening a page before it is read. Angles count clockwise, in degrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from actors.engines.base import Image
from actors.layout.lines import Box

Quad = np.ndarray[Any, np.dtype[np.float32]]
"""Corners of a detected line: top left, top right, bottom right, bottom left; shape (4, 2), pixels."""

MAX_SKEW = 7.0
MIN_SKEW = 0.25
"""Below this a line of a whole page's width climbs by less than a quarter of its height."""
PROFILE_WIDTH = 700
SHARPER = 1.1
CORNER_PIXELS = 2.0
"""How far off a detected corner may be; a slope of less over the longest line is none."""
SLOPE_SLACK, SLOPE_SHARE = 0.15, 0.3
"""How far the middle one of all slopes may be off, in degrees or as a share: rows ending in dots lean."""
LONG_LINE = 4.0
"""Width over height from which on a box tells a direction; shorter ones are words and numbers."""


@dataclass(frozen=True, slots=True)
class Upright:
    """A page turned by ``rotation`` degrees clockwise (0, 90, 180, 270), then straightened by ``skew``
    degrees clockwise. ``width`` and ``height`` are those between the two."""

    image: Image
    width: int
    height: int
    rotation: int = 0
    skew: float = 0.0

    def box_before_straightening(self, box: Box) -> Box:
        """The box around where a box of the straightened image was before."""
        if not self.skew:
            return box
        inverse = cv2.invertAffineTransform(_straightening(self.width, self.height, self.skew)[0])
        x1, y1, x2, y2 = box
        corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]) @ inverse.T
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


def straighten(image: Image, rotation: int, skew: float) -> Upright:
    """Turn a page by the small angle ``skew`` clockwise; what comes into view has the page's colour."""
    height, width = image.shape[:2]
    if abs(skew) < MIN_SKEW:
        return Upright(image, width, height, rotation)
    matrix, size = _straightening(width, height, skew)
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    colour = tuple(float(value) for value in np.median(edge, axis=0))
    straight = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderValue=colour)
    return Upright(np.asarray(straight), width, height, rotation, skew)


def quad_of(corners: Any) -> Quad:
    """The four corners of a detected line in the order of ``Quad``, whatever order they came in.

    Its top runs level rather than steep. A detector that sorts corners by x takes the long side of a line
    that runs up the page, but leans by more than it is wide, for its top.
    """
    points = np.asarray(corners, np.float32)
    x, y = (points - points.mean(axis=0)).T
    points = points[np.argsort(np.arctan2(y, x))]  # clockwise, as y grows downwards
    across, down = (np.roll(points, -1, axis=0) - points).T
    quad: Quad = np.roll(points, -int(np.argmax(across / np.hypot(across, down).clip(1e-6))), axis=0)
    return quad


def skew_of(quads: Sequence[Quad]) -> float:
    """Degrees clockwise that make the lines level: the weighted median slope of the long ones."""
    slopes, lengths = [], []
    for quad in quads:
        width, height = sides(quad)
        if width < LONG_LINE * height:
            continue
        (x1, y1), (x2, y2) = (quad[0] + quad[3]) / 2, (quad[1] + quad[2]) / 2
        slopes.append(math.degrees(math.atan2(y2 - y1, x2 - x1)))
        lengths.append(width)
    if not slopes:
        return 0.0
    weights = np.square(lengths)  # a corner is a whole pixel: long lines tell the angle best
    order = np.argsort(slopes)
    below = np.cumsum(weights[order])
    slope = slopes[order[int(np.searchsorted(below, below[-1] / 2))]]
    certain = math.degrees(math.atan(CORNER_PIXELS / max(lengths)))
    agreed = abs(float(np.median(slopes)) - slope) <= max(SLOPE_SLACK, SLOPE_SHARE * abs(slope))
    return -slope if agreed and certain <= abs(slope) <= MAX_SKEW else 0.0


def skew_by_profile(image: Image) -> float:
    """Degrees clockwise that make the lines level, told by pixels alone: level lines leave clear white
    between them, so that the ink per row differs most from row to row."""
    scale = PROFILE_WIDTH / image.shape[1]
    grey = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
    ink = np.asarray(
        cv2.adaptiveThreshold(grey, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 31, 12)
    )
    coarse = max(np.arange(-MAX_SKEW, MAX_SKEW + 0.1, 0.5), key=lambda angle: _sharpness(ink, angle))
    fine = max(np.arange(coarse - 0.4, coarse + 0.41, 0.1), key=lambda angle: _sharpness(ink, angle))
    level = _sharpness(ink, 0.0)
    return float(fine) if _sharpness(ink, fine) > SHARPER * level else 0.0


def _sharpness(ink: Any, clockwise: float) -> float:
    matrix, size = _straightening(ink.shape[1], ink.shape[0], clockwise)
    rows = cv2.warpAffine(ink, matrix, size, flags=cv2.INTER_NEAREST).sum(axis=1, dtype=np.int64)
    return float(np.square(np.diff(rows)).sum())


def lies_on_its_side(quads: Sequence[Quad]) -> bool:
    """Whether most of the text, by length, runs up or down the page."""
    lying = standing = 0.0
    for quad in quads:
        width, height = sides(quad)
        if width > 2 * height:
            lying += width
        elif height > 2 * width:
            standing += height
    return standing > lying


def sides(quad: Quad) -> tuple[float, float]:
    """Width and height of a quad."""
    return float(np.hypot(*(quad[1] - quad[0]))), float(np.hypot(*(quad[3] - quad[0])))


def hull_of(quad: Quad) -> Box:
    """The box around a quad."""
    (x1, y1), (x2, y2) = quad.min(axis=0), quad.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _straightening(width: int, height: int, clockwise: float) -> tuple[Any, tuple[int, int]]:
    """The affine map of a turn around the middle, and a size that holds the whole page after it."""
    sine, cosine = abs(math.sin(math.radians(clockwise))), math.cos(math.radians(clockwise))
    size = math.ceil(width * cosine + height * sine), math.ceil(height * cosine + width * sine)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -clockwise, 1.0)
    matrix[0, 2] += (size[0] - width) / 2
    matrix[1, 2] += (size[1] - height) / 2
    return matrix, size
