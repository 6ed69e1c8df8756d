"""Gutters: the white stripes between columns, and the order of reading that follows from them.

A gutter shows where line after line ends and another begins beside it, with a stripe of white in
common. What crosses the stripe (a heading over all columns, a full-width paragraph) cuts the page
into bands; inside a band the left side is read before the right one, and each side is looked at anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.layout.geometry import hull, line_height, middle, overlap, rows_of, share_row
from actors.layout.lines import HEADING_RATIO, TextLine
from actors.layout.tables import Table, find_table

Item = TextLine | Table
MIN_GUTTER_EM = 0.35
"""In line heights. Detected boxes reach beyond their letters, so that half an em of white is left of one."""
MIN_SUPPORT = 3
"""Lines that stand beside one another along a gutter, at least."""
BESIDE = 0.2
"""Overlap of lines that stand beside one another; those of two columns need not share a baseline."""
MIN_COLUMN_EM = 4.0
"""A column is at least so wide: bullets and numbers in the margin are none."""
MAX_DEPTH = 12
MAX_ITEMS = 6_000
"""More fragments than this come from no page made for reading: they are taken row by row."""


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


def in_reading_order(items: Sequence[Item]) -> list[list[TextLine] | Table]:
    """Runs of lines that are read downwards, and tables, in reading order."""
    if len(items) > MAX_ITEMS:
        return _runs([item for row in rows_of(items) for item in row])
    return _ordered(list(items), 0, line_height(items))


def _ordered(items: list[Item], depth: int, em: float) -> list[list[TextLine] | Table]:
    if len(items) < 2 * MIN_SUPPORT or depth > MAX_DEPTH:
        return _leaf(items)
    for gutter in find_gutters(items, em):
        bands = _bands(items, gutter, em)
        if not all(band.crossing for band in bands):
            parts: list[list[TextLine] | Table] = []
            for band in bands:
                parts += _ordered_band(band, gutter, depth, em)
            return parts
    return _leaf(items)


def _ordered_band(band: Band, gutter: Gutter, depth: int, em: float) -> list[list[TextLine] | Table]:
    if band.crossing:
        return _ordered(band.items, depth + 1, em)
    parts: list[list[TextLine] | Table] = []
    rest: list[Item] = []

    def columns() -> None:
        if rest:
            left = [item for item in rest if item.box[2] <= gutter.x]
            right = [item for item in rest if item.box[2] > gutter.x]
            for side in (left, right):
                parts.extend(_ordered(side, depth + 1, em) if side else [])
            rest.clear()

    for piece in _pieces(band.items, em):
        found = find_table([item for item in piece if isinstance(item, TextLine)], em)
        if found is None:
            if _begins_with_heading(piece, em):
                columns()
            rest.extend(piece)
            continue
        columns()
        before, table, after = found
        parts += [*_leaf(before), table, *_leaf(after)]
        parts += [item for item in piece if isinstance(item, Table)]
    columns()
    return parts


def _leaf(items: Sequence[Item]) -> list[list[TextLine] | Table]:
    """No column left: downwards, a table standing where its middle stands."""
    lines = [item for item in items if isinstance(item, TextLine)]
    tables = [item for item in items if isinstance(item, Table)]
    ordered: list[tuple[float, Any]] = [(middle(table), table) for table in tables]
    ordered += [(middle(row[0]), part) for row in rows_of(lines) for part in row]
    return _runs([item for _, item in sorted(ordered, key=lambda pair: pair[0])])


def _runs(items: Sequence[Item]) -> list[list[TextLine] | Table]:
    runs: list[list[TextLine] | Table] = []
    for item in items:
        if isinstance(item, Table):
            runs.append(item)
        elif runs and isinstance(runs[-1], list):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


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


def _bands(items: Sequence[Item], gutter: Gutter, em: float) -> list[Band]:
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
    for place, group in enumerate(groups):
        columns = _are_columns(group, gutter, em)
        _append(bands, group, not columns)
        if place < len(crossing):
            line = crossing[place]
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


def _begins_with_heading(items: Sequence[Item], em: float) -> bool:
    """Whether a large line stands alone above all columns: what follows is read after what was before."""
    first = items[0]
    large = isinstance(first, TextLine) and first.font_size >= HEADING_RATIO * em
    return large and not any(share_row(first, other) for other in items[1:])


def _pieces(items: Sequence[Item], em: float) -> list[list[Item]]:
    """Cut where white runs through the whole band, so that a table is told from what is around it."""
    pieces: list[list[Item]] = []
    bottom = float("-inf")
    for item in sorted(items, key=lambda item: item.box[1]):
        if not pieces or item.box[1] - bottom > em:
            pieces.append([])
        pieces[-1].append(item)
        bottom = max(bottom, item.box[3])
    return pieces
