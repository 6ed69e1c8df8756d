"""Ruled lines of a page: long thin strokes of ink, across or down."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from actors.engines.base import Image
from actors.layout.lines import Rules

MIN_ACROSS, MIN_DOWN = 0.06, 0.03
"""Shortest rule, as a share of the page's width; a letter's stem or bar is shorter."""
MAX_THICKNESS = 0.006
DARKER_BY = 18
"""Grey levels by which ink is darker than its surroundings."""
MAX_RULES = 1_000


def find_rules(image: Image) -> Rules:
    """Horizontal and vertical strokes longer than text makes them. Takes some 20 ms for a page."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    width = grey.shape[1]
    block = max(15, width // 40) | 1
    ink = cv2.adaptiveThreshold(
        grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, block, DARKER_BY
    )
    thickest = max(4, int(MAX_THICKNESS * width))
    across = _strokes(ink, (max(20, int(MIN_ACROSS * width)), 1), thickest)
    down = _strokes(ink, (1, max(15, int(MIN_DOWN * width))), thickest)
    return Rules(
        tuple((y + h / 2, float(x), float(x + w)) for x, y, w, h in across),
        tuple((x + w / 2, float(y), float(y + h)) for x, y, w, h in down),
    )


def _strokes(ink: Any, kernel: tuple[int, int], thickest: int) -> list[tuple[int, int, int, int]]:
    """x, y, width and height of the connected runs that hold the kernel."""
    bridged = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    opened = cv2.morphologyEx(bridged, cv2.MORPH_OPEN, np.ones(kernel[::-1], np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    boxes = [tuple(int(value) for value in stats[index][:4]) for index in range(1, min(count, MAX_RULES))]
    return [(x, y, w, h) for x, y, w, h in boxes if min(w, h) <= thickest]
