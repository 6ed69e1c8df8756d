"""Gutters: the white stripes between columns, and the bands that they cut a page into.

A gutter shows where line after line ends and another begins beside it, with a stripe of white in common.
What crosses the stripe (a heading over all columns, a full-width paragraph) cuts the page into bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.layout.geometry import hull, middle, overlap, share_row
from actors.layout.lines import TextLine
from actors.layout.tables import Item, Table, find_table

MIN_GUTTER_EM = 0.35
"""In line heights. Detected boxes reach beyond their letters, so that half an em of white is left of one."""
MIN_SUPPORT = 3
"""Lines that stand beside one another along a gutter, at least."""
BESIDE = 0.2
"""Overlap of lines that stand beside one another; those of two columns need not share a baseline."""
MIN_COLUMN_EM = 3.0
"""A column is at least so wide: bullets and numbers in the margin are none."""
MAX_HEADINGS = 20


@dataclass(slots=True)
class Gutter:
    """A stripe of white between ``left`` and ``right``, and how many gaps between lines hold it."""

    left: float
    right: float
    support: int = 1
    between: list[tuple[Item, Item]] = field(default_factory=list)

    @property
    def x(self) -> float:
        return (self.left + self.right) / 2

    def crossed_by(self, item: Item) -> bool:
        return item.box[0] < self.x < item.box[2]


@dataclass(slots=True)
class Band:
    """What lies between two crossing items; ``crossing`` bands are read across."""

    items: list[Item]
    crossing: bool


def find_gutters(items: Sequence[Item], em: float) -> list[Gutter]:
    """Stripes of white with enough support, best first."""
    gutters: list[Gutter] = []
    for left, right in _neighbours(items):
        _extend(gutters, left, right, MIN_GUTTER_EM * em)
    good = [gutter for gutter in gutters if gutter.support >= MIN_SUPPORT]
    return sorted(good, key=lambda gutter: -gutter.support)


def _neighbours(items: Sequence[Item]) -> list[tuple[Item, Item]]:
    """Pairs side by side with nothing between them, from top to bottom."""
    ordered = sorted(items, key=lambda item: item.box[1])
    tallest = max(item.box[3] - item.box[1] for item in items if isinstance(item, TextLine)) if items else 0
    pairs: list[tuple[Item, Item]] = []
    start = 0
    for item in ordered:
        if isinstance(item, Table):
            continue
        while ordered[start].box[1] < item.box[1] - 2 * tallest:
            start += 1
        beside: Item | None = None
        for other in ordered[start:]:
            if other.box[1] > item.box[3]:
                break
            if other is item or isinstance(other, Table) or overlap(item, other) < BESIDE:
                continue
            if other.box[0] >= item.box[2] and (beside is None or other.box[0] < beside.box[0]):
                beside = other
        if beside is not None:
            pairs.append((item, beside))
    return sorted(pairs, key=lambda pair: pair[0].box[1])


def _extend(gutters: list[Gutter], left: Item, right: Item, least: float) -> None:
    """Narrow the gutter that has most in common with this gap, or begin a new one."""
    best: Gutter | None = None
    widest = least
    for gutter in gutters:
        common = min(gutter.right, right.box[0]) - max(gutter.left, left.box[2])
        if common >= widest:
            best, widest = gutter, common
    if best is None:
        if right.box[0] - left.box[2] >= least:
            gutters.append(Gutter(left.box[2], right.box[0], 1, [(left, right)]))
        return
    best.left, best.right = max(best.left, left.box[2]), min(best.right, right.box[0])
    best.support += 1
    best.between.append((left, right))


def bands_of(items: Sequence[Item], gutter: Gutter, em: float) -> list[Band]:
    """Cut at what crosses the gutter. Neighbouring bands that are read across are joined."""
    crossing = sorted((item for item in items if gutter.crossed_by(item)), key=middle)
    across = set(map(id, crossing))
    groups: list[list[Item]] = [[] for _ in range(len(crossing) + 1)]
    for item in items:
        if id(item) in across:
            continue
        above = [other for other in crossing if middle(other) < middle(item)]
        touching = [other for other in crossing if isinstance(other, TextLine) and share_row(other, item)]
        if touching:
            across.add(id(item))
            continue
        groups[len(above)].append(item)
    beside = [item for item in items if id(item) in across and not gutter.crossed_by(item)]
    bands: list[Band] = []
    for index, group in enumerate(groups):
        columns = _are_columns(group, gutter, em)
        _append(bands, group, not columns)
        if index < len(crossing):
            line = crossing[index]
            row = [item for item in beside if isinstance(line, TextLine) and share_row(line, item)]
            beside = [item for item in beside if item not in row]
            _append(bands, [line, *row], True)
    return bands


def _append(bands: list[Band], items: list[Item], crossing: bool) -> None:
    if not items:
        return
    if crossing and bands and bands[-1].crossing:
        bands[-1].items.extend(items)
    else:
        bands.append(Band(list(items), crossing))


def _are_columns(items: Sequence[Item], gutter: Gutter, em: float) -> bool:
    """Whether a band has a text column on either side."""
    left = [item for item in items if item.box[2] <= gutter.x]
    right = [item for item in items if item.box[2] > gutter.x]
    if not left or not right:
        return False
    present = set(map(id, items))
    pairs = sum(id(a) in present and id(b) in present for a, b in gutter.between)
    if pairs < MIN_SUPPORT:
        return False
    widths = (box[2] - box[0] for box in (hull(left), hull(right)))
    return (
        min(widths) >= MIN_COLUMN_EM * em
        or find_table([item for item in items if isinstance(item, TextLine)], em) is not None
    )


def passes_headings(gutter: Gutter, best: Gutter, items: Sequence[Item]) -> bool:
    """Whether a gutter runs all the way down, beside every heading that crosses the best one.

    A heading over two of three columns is such: what stands to its right is read after all below it.
    """
    headings = [item for item in items if best.crossed_by(item)]
    if not 0 < len(headings) <= MAX_HEADINGS or any(map(gutter.crossed_by, items)):
        return False
    return all(
        any(
            (other.box[0] > gutter.x) != (heading.box[0] > gutter.x) and overlap(other, heading) > 0
            for other in items
        )
        for heading in headings
    )
