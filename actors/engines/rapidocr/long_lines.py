"""Lines too long for the recogniser, read in parts that are cut at the white between words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from actors.engines.base import Image
from actors.engines.rapidocr.merged import white_runs

LONGEST = 80.0
"""Width over height of a line that is read as it is; lines of a page hardly reach it."""
PART = 40.0
SLACK = 0.4
"""Of a part, to either side of where it should end: there the widest white is looked for."""

Reading = tuple[str, float]
"""The text of a line, and its mean confidence."""


def parts_of(crop: Image) -> list[Image]:
    """A level line as itself, or in parts from left to right."""
    height, width = crop.shape[:2]
    if width <= LONGEST * height:
        return [crop]
    count = int(np.ceil(width / (PART * height)))
    size = width / count
    runs = white_runs(crop)
    cuts = [0, *(_cut(runs, index * size, SLACK * size) for index in range(1, count)), width]
    return [crop[:, start:end] for start, end in pairwise(cuts) if end > start]


def _cut(runs: Sequence[tuple[int, int]], wanted: float, slack: float) -> int:
    """The middle of the widest white near a place, or the place itself where ink goes on and on."""
    near = [(start, end) for start, end in runs if wanted - slack <= (start + end) / 2 <= wanted + slack]
    if not near:
        return round(wanted)
    start, end = max(near, key=lambda run: (run[1] - run[0], -abs(run[0] - wanted)))
    return (start + end) // 2


def joined_reading(readings: Sequence[Reading]) -> Reading:
    """What the parts of a line say together, and the mean confidence over their characters."""
    if len(readings) == 1:
        return readings[0]
    text = ""
    for part, _ in readings:
        close = text and part and _is_wide(text[-1]) and _is_wide(part[0])
        text += part if close or not text else f" {part}"
    characters = sum(max(1, len(part)) for part, _ in readings)
    return text, sum(score * max(1, len(part)) for part, score in readings) / characters


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")
