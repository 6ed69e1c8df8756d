"""The order in which a page is read: band by band, in a band the left side before the right one.

Each side is looked at anew, until no gutter is left in it. Running heads and feet are read before and after
the columns, tables and headings over all columns part what is above them from what is below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.layout.geometry import hull, line_height, middle, rows_of, share_row
from actors.layout.gutters import MIN_SUPPORT, Band, Gutter, bands_of, find_gutters, passes_headings
from actors.layout.labels import beside_paragraphs
from actors.layout.lines import HEADING_RATIO, TextLine, body_size
from actors.layout.tables import Item, Table, find_table

MAX_GUTTER_EM = 4.0
"""With more white than this between them, columns are pages side by side, each with a head of its own."""
HEAD_DISTANCE_EM = 0.6
"""White between the text and a running head or foot, at least."""
MAX_ROW_DISTANCE_EM = 2.0
"""White between two rows of one table, at most."""
MAX_DEPTH = 12
MAX_ITEMS = 6_000
"""More fragments than this come from no page made for reading: they are taken row by row."""

Part = list[TextLine] | Table
"""A run of lines that are read downwards, or a table."""


def in_reading_order(items: Sequence[Item]) -> list[Part]:
    """Runs of lines that are read downwards, and tables, in reading order."""
    if len(items) > MAX_ITEMS:
        return _runs([item for row in rows_of(items) for item in row])
    return _ordered(list(items), 0, line_height(items))


def _ordered(items: list[Item], depth: int, em: float) -> list[Part]:
    if len(items) < 2 * MIN_SUPPORT or depth > MAX_DEPTH:
        return _leaf(items)
    gutters = find_gutters(items, em)
    title = min(items, key=lambda item: item.box[1])
    alone = all(other is title or other.box[1] >= title.box[3] for other in items)

    def rank(gutter: Gutter) -> tuple[bool, bool]:
        below_title = alone and gutter.crossed_by(title) and 2 * gutter.support >= gutters[0].support
        return not passes_headings(gutter, gutters[0], items), not below_title

    for gutter in sorted(gutters, key=rank):
        bands = bands_of(items, gutter, em)
        if not all(band.crossing for band in bands):
            parts: list[Part] = []
            for band in bands:
                parts += _ordered_band(band, gutter, depth, em, before_text=band is not bands[-1])
            return parts
    return _leaf(items)


def _ordered_band(band: Band, gutter: Gutter, depth: int, em: float, *, before_text: bool) -> list[Part]:
    """``before_text``: whether something that is read across follows the band."""
    if band.crossing:
        return _ordered(band.items, depth + 1, em)
    parts: list[Part] = []
    rest: list[Item] = []

    def columns() -> None:
        if rest:
            left = [item for item in rest if item.box[2] <= gutter.x]
            right = [item for item in rest if item.box[2] > gutter.x]
            for label, text in beside_paragraphs(left, right):
                for side in (label, text):
                    parts.extend(_ordered(side, depth + 1, em) if side else [])
            rest.clear()

    body = body_size([item for item in band.items if isinstance(item, TextLine)])
    head, between, foot = _parted(band.items, gutter, body, em, before_text=before_text)
    parts += _leaf(head)
    for piece in _with_rows_apart(_pieces(between, em), em):
        found = find_table([item for item in piece if isinstance(item, TextLine)], em)
        if found is None:
            if _begins_with_heading(piece, body):
                columns()
            rest.extend(piece)
            continue
        columns()
        before, table, after = found
        parts += [*_leaf(before), table, *_leaf(after)]
        parts += [item for item in piece if isinstance(item, Table)]
    columns()
    return [*parts, *_leaf(foot)]


def _leaf(items: Sequence[Item]) -> list[Part]:
    """No column left: downwards, a table standing where its middle stands."""
    lines = [item for item in items if isinstance(item, TextLine)]
    tables = [item for item in items if isinstance(item, Table)]
    ordered: list[tuple[float, Any]] = [(middle(table), table) for table in tables]
    ordered += [(middle(row[0]), part) for row in rows_of(lines) for part in row]
    return _runs([item for _, item in sorted(ordered, key=lambda pair: pair[0])])


def _runs(items: Sequence[Item]) -> list[Part]:
    runs: list[Part] = []
    for item in items:
        if isinstance(item, Table):
            runs.append(item)
        elif runs and isinstance(runs[-1], list):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _begins_with_heading(items: Sequence[Item], body: float) -> bool:
    """Whether a large line stands alone above all columns: what follows is read after what was before."""
    first = items[0]
    return _is_large(first, body) and not any(share_row(first, other) for other in items[1:])


def _is_large(item: Item, body: float) -> bool:
    return isinstance(item, TextLine) and item.font_size >= HEADING_RATIO * body


def _parted(
    items: Sequence[Item], gutter: Gutter, body: float, em: float, *, before_text: bool
) -> tuple[list[Item], list[Item], list[Item]]:
    """What is read before the columns, the columns, and what is read after them.

    Rows of parts on both sides, at some distance, are a running head or foot. Single rows below both
    columns on the left, before text of full width, are a letter's salutation and subject.
    """
    rows = rows_of(items)
    first, last = 0, len(rows)
    one_page = gutter.right - gutter.left <= MAX_GUTTER_EM * em
    if one_page and last > 2 and _is_apart(rows[0], rows[1], rows[2], gutter, body, em):
        first = 1
    if one_page and last - first > 2 and _is_apart(rows[-1], rows[-2], rows[-3], gutter, body, em):
        last -= 1
    while before_text and last - first > 2 and _gap(rows[last - 2], rows[last - 1]) > em:
        if not _is_plain(rows[last - 1], body) or hull(rows[last - 1])[2] > gutter.x:
            break
        last -= 1
    head, columns, foot = (
        [item for row in part for item in row] for part in (rows[:first], rows[first:last], rows[last:])
    )
    return head, columns, foot


def _is_apart(
    row: Sequence[Item],
    inner: Sequence[Item],
    next_inner: Sequence[Item],
    gutter: Gutter,
    body: float,
    em: float,
) -> bool:
    """Whether a first or last row keeps more distance than those next to it do, and has parts on both sides,
    on the right not flush with the column, as a heading of its own would be."""
    parts = [item for item in row if item.box[0] > gutter.x]
    if not parts or len(parts) == len(row):
        return False
    below = [item.box[0] for item in (*inner, *next_inner) if item.box[0] > gutter.x]
    return (
        _is_plain(row, body)
        and min(item.box[0] for item in parts) - min(below, default=float("-inf")) > em
        and _gap(row, inner) >= HEAD_DISTANCE_EM * em
        and (_gap(row, inner) > 1.5 * _gap(inner, next_inner) or not _is_plain(inner, body))
    )


def _gap(a: Sequence[Item], b: Sequence[Item]) -> float:
    """The white between two rows, whichever is above."""
    return max(hull(a)[1], hull(b)[1]) - min(hull(a)[3], hull(b)[3])


def _is_plain(row: Sequence[Item], body: float) -> bool:
    """Whether a row is text of no more than the usual size, but for one that was measured wrongly."""
    return sum(isinstance(item, Table) or _is_large(item, body) for item in row) < max(1, len(row) / 2)


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


def _with_rows_apart(pieces: Sequence[list[Item]], em: float) -> list[list[Item]]:
    """Single rows of cells joined to the pieces next to them where that makes a table: headings over a
    rule, and the widely spaced fields of a form."""
    chains: list[list[list[Item]]] = []
    for piece in pieces:
        above = chains[-1][-1] if chains else None
        near = above is not None and hull(piece)[1] - hull(above)[3] <= MAX_ROW_DISTANCE_EM * em
        if above is not None and near and (_is_row_of_cells(piece) or _is_row_of_cells(above)):
            chains[-1].append(piece)
        else:
            chains.append([piece])
    joined: list[list[Item]] = []
    for chain in chains:
        whole = [item for piece in chain for item in piece]
        found = (
            find_table([item for item in whole if isinstance(item, TextLine)], em) if len(chain) > 1 else None
        )
        outside = {id(item) for part in (found[0], found[2]) for item in part} if found else set()
        rows = [item for piece in chain if _is_row_of_cells(piece) for item in piece]
        if found and not any(id(item) in outside for item in rows):
            joined.append(whole)
        else:
            joined += chain
    return joined


def _is_row_of_cells(piece: Sequence[Item]) -> bool:
    return len(piece) > 1 and all(isinstance(item, TextLine) and share_row(piece[0], item) for item in piece)
