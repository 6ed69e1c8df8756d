"""Boxes and rows: what stands beside, above and across what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Protocol, TypeVar

from actors.layout.lines import Box

SAME_ROW_OVERLAP = 0.5
"""Share of the lower box's height that two boxes on one row have in common."""


class Boxed(Protocol):
    """Anything with a box."""

    @property
    def box(self) -> Box: ...


T = TypeVar("T", bound=Boxed)


def middle(item: Boxed) -> float:
    """The vertical middle of a box."""
    return (item.box[1] + item.box[3]) / 2


def hull(items: Iterable[Boxed]) -> Box:
    """The smallest box around all of them; there must be one."""
    x1s, y1s, x2s, y2s = zip(*(item.box for item in items), strict=True)
    return min(x1s), min(y1s), max(x2s), max(y2s)


def overlap(a: Boxed, b: Boxed) -> float:
    """What two boxes have in common vertically, as a share of the lower one's height; below 0: nothing."""
    common = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
    return common / max(min(a.box[3] - a.box[1], b.box[3] - b.box[1]), 1e-3)


def share_row(a: Boxed, b: Boxed) -> bool:
    """Whether two boxes stand on one row."""
    return overlap(a, b) >= SAME_ROW_OVERLAP


def rows_of(items: Sequence[T]) -> list[list[T]]:
    """Group into rows from top to bottom, each from left to right.

    A row takes what shares it with its first, most recent member: a slight slope does not chain rows.
    """
    rows: list[list[T]] = []
    for item in sorted(items, key=middle):
        for row in rows[-3:]:
            if share_row(row[0], item) and all(_beside(item, other) for other in row):
                row.append(item)
                break
        else:
            rows.append([item])
    for row in rows:
        row.sort(key=lambda item: item.box[0])
    return sorted(rows, key=lambda row: median(middle(item) for item in row))


def _beside(a: Boxed, b: Boxed) -> bool:
    """Whether they overlap sideways by no more than a fifth of the narrower one."""
    common = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    return common <= 0.2 * min(a.box[2] - a.box[0], b.box[2] - b.box[0])


def root_of(groups: list[int], index: int) -> int:
    """The representative of an item's group, where ``groups`` names another member for each that is none."""
    while groups[index] != index:
        groups[index] = groups[groups[index]]
        index = groups[index]
    return index


def line_height(items: Iterable[Boxed]) -> float:
    """The typical height, at least a little above zero."""
    heights = [item.box[3] - item.box[1] for item in items]
    return max(median(heights), 1e-3) if heights else 1.0
