"""Ruled tables: lines of ink that cross and make a grid, and the text that stands in its cells."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

from actors.layout.geometry import middle, root_of, rows_of
from actors.layout.lines import Rules, TextLine
from actors.layout.tables import Table, joined_cells, reads_like_a_table, split_at

MAX_RULES = 2_000
MAX_CELL_ROWS = 12
"""A frame around columns of text looks like a grid, but cells hold less than this."""
RULED_ROWS = 4
"""With so many horizontal rules every row has its own; with fewer they part only head and body."""


def take_grids(lines: Sequence[TextLine], rules: Rules, em: float) -> tuple[list[Table], list[TextLine]]:
    """The tables that the rules make, and the lines outside them."""
    tables: list[Table] = []
    rest = list(lines)
    for xs, ys in _grids(rules, em):
        inside = [line for line in rest if _is_inside(line, xs, ys)]
        table = _table(inside, xs, ys)
        if table is not None:
            tables.append(table)
            taken = set(map(id, inside))
            rest = [line for line in rest if id(line) not in taken]
    return tables, rest


def _grids(rules: Rules, em: float) -> list[tuple[list[float], list[float]]]:
    """Sorted x and y of the rules of every group that touch one another and part something."""
    horizontal, vertical = rules.horizontal[:MAX_RULES], rules.vertical[:MAX_RULES]
    group = list(range(len(horizontal) + len(vertical)))
    near = 0.5 * em
    for i, (y, x1, x2) in enumerate(horizontal):
        for j, (x, y1, y2) in enumerate(vertical):
            if x1 - near <= x <= x2 + near and y1 - near <= y <= y2 + near:
                group[root_of(group, i)] = root_of(group, len(horizontal) + j)
    members: dict[int, tuple[list[float], list[float]]] = {}
    for i, (y, _, _) in enumerate(horizontal):
        members.setdefault(root_of(group, i), ([], []))[1].append(y)
    for j, (x, _, _) in enumerate(vertical):
        members.setdefault(root_of(group, len(horizontal) + j), ([], []))[0].append(x)
    grids = [(_distinct(xs, near), _distinct(ys, near)) for xs, ys in members.values()]
    return [(xs, ys) for xs, ys in grids if len(xs) >= 2 and len(ys) >= 2 and len(xs) + len(ys) >= 5]


def _distinct(values: Sequence[float], near: float) -> list[float]:
    distinct: list[float] = []
    for value in sorted(values):
        if not distinct or value - distinct[-1] > near:
            distinct.append(value)
    return distinct


def _is_inside(line: TextLine, xs: Sequence[float], ys: Sequence[float]) -> bool:
    x = (line.box[0] + line.box[2]) / 2
    return xs[0] <= x <= xs[-1] and ys[0] <= middle(line) < ys[-1]


def _table(lines: Sequence[TextLine], xs: Sequence[float], ys: Sequence[float]) -> Table | None:
    columns = len(xs) - 1

    def column_of(line: TextLine) -> int:
        x = (line.box[0] + line.box[2]) / 2
        return min(max(bisect_right(xs, x) - 1, 0), columns - 1)

    rows: list[tuple[str, ...]] = []
    for top, bottom in pairwise(ys):
        parts = [part for line in lines if top <= middle(line) < bottom for part in split_at(line, xs[1:-1])]
        text_rows = rows_of(parts)
        if len(ys) >= RULED_ROWS or not _are_rows(text_rows, list(pairwise(xs))):
            if any(len(rows_of(cell)) > MAX_CELL_ROWS for cell in _by_column(parts, column_of)):
                return None
            text_rows = [parts] if parts else []
        rows += [joined_cells(row, columns, column_of) for row in text_rows]
    if len(rows) < 2 or columns < 2:
        return None
    return Table((xs[0], ys[0], xs[-1], ys[-1]), tuple(rows))


def _by_column(parts: Sequence[TextLine], column_of: Callable[[TextLine], int]) -> list[list[TextLine]]:
    cells: dict[int, list[TextLine]] = {}
    for part in parts:
        cells.setdefault(column_of(part), []).append(part)
    return list(cells.values())


def _are_rows(text_rows: Sequence[Sequence[TextLine]], columns: Sequence[tuple[float, float]]) -> bool:
    """Whether each row of text between two rules is a row of the table."""
    full = sum(len(row) >= 0.6 * len(columns) for row in text_rows)
    many = len(text_rows) > 1 and full >= 0.7 * len(text_rows)
    return many and reads_like_a_table(text_rows, columns)
