"""The layout's input and output: lines of text with their boxes, and the page composed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.rows import Region

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2; y grows downwards. Pixels or points, as long as a page uses one of them."""
HEADING_RATIO = 1.17
"""Size of a heading over that of the page's text, at least; estimated sizes vary by a tenth."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text, or a part of one that stands by itself, such as a cell. Never spans a gutter.

    ``size`` is the font size in the unit of the box where it is known; else the box's height tells.
    ``score`` is the reader's confidence, 0 to 1.
    """

    text: str
    box: Box
    score: float = 1.0
    size: float = 0.0

    @property
    def font_size(self) -> float:
        """The size, or what stands for it."""
        return self.size or self.height

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]


@dataclass(frozen=True, slots=True)
class Rules:
    """Ruled lines on the page: horizontal ones as (y, x1, x2), vertical ones as (x, y1, y2)."""

    horizontal: tuple[tuple[float, float, float], ...] = ()
    vertical: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ComposedPage:
    """``text`` is Markdown in reading order; ``regions`` are its blocks, boxes on the 0-999 scale."""

    text: str
    regions: tuple[Region, ...]


def body_size(lines: Sequence[TextLine]) -> float:
    """The size most of the page's characters have."""
    sizes = sorted((line.font_size, len(line.text)) for line in lines)
    half = sum(count for _, count in sizes) / 2
    for size, count in sizes:
        half -= count
        if half <= 0:
            return size
    return 1.0
