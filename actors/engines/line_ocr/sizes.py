"""How large the letters of a line are, from what it says and how long its box is.

A detected box is high by chance (a tenth more or less, and whatever reaches above or below the line);
its length is the sum of its letters'. Together they tell a heading from running text.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from actors.layout.lines import TextLine

NARROW, WIDE = set("iljtfrI.,;:'!|()[]/’‘“” "), set("mwMW—%&@")
NARROW_EM, LOWER_EM, CAPITAL_EM, WIDE_EM, FULL_EM = 0.30, 0.50, 0.68, 0.84, 1.0
"""Mean widths in Times and Helvetica (Adobe Core 14 metrics), in font sizes; spaces of set text too."""
LEAST_CHARACTERS = 4


def with_sizes(lines: Sequence[TextLine], margin: float) -> list[TextLine]:
    """The lines with ``size``, on the scale of the page's typical box height.

    ``margin`` is the white beside the letters that boxes hold, left and right together, in box heights.
    """
    by_length = {index: _size_by_length(line, margin) for index, line in enumerate(lines) if _tells(line)}
    if not by_length:
        return list(lines)
    scale = median(line.height for line in lines) / median(by_length.values())
    return [
        replace(line, size=math.sqrt(line.height * scale * by_length[index])) if index in by_length else line
        for index, line in enumerate(lines)
    ]


def _tells(line: TextLine) -> bool:
    return sum(character.isalnum() for character in line.text) >= LEAST_CHARACTERS


def _size_by_length(line: TextLine, margin: float) -> float:
    length = line.box[2] - line.box[0] - margin * line.height
    return max(length, 1e-3) / sum(map(_width, line.text))


def _width(character: str) -> float:
    if character in NARROW:
        return NARROW_EM
    if character in WIDE:
        return WIDE_EM
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return FULL_EM
    return CAPITAL_EM if character.isupper() else LOWER_EM
