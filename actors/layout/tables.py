"""Simple tables: by their ruled grid, or by cells that stand under one another."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from actors.layout.geometry import hull, middle, rows_of
from actors.layout.lines import Box, TextLine

MIN_ROWS = 3
"""Of a table without rules; two rows of two are as likely an address beside a date."""
SEPARATOR_EM = 0.6
TOLERATED_CROSSINGS = 0.12
"""Share of the rows whose cells may reach over a column separator: headings over two columns do."""
PROSE_FILL = 0.75
CELL_CHARACTERS = 20
"""Columns of text fill their width with longer lines than this; cells do not."""
SHORT_CELL = 12
"""No column of text is so narrow."""
ALIGNED_EM = 0.3
WHOLE_ROWS = 0.6
CLOSE = 0.85
"""Distance of lines within a row against that of two rows."""
MIN_ENTRIES = 5
_MARK = re.compile(r"[•·‣▪●○◦■□–*-]|\(?(?:\d{1,2}|[a-zA-Z]|[ivxIVX]{1,4})[.)]")
Split = tuple[list[TextLine], "Table", list[TextLine]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first row is the header. Every row has as many cells as there are columns."""

    box: Box
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As a GitHub-flavoured Markdown table."""
        lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in self.rows]
        lines.insert(1, "|" + " --- |" * len(self.rows[0]))
        return "\n".join(lines)


Item = TextLine | Table


def find_table(lines: Sequence[TextLine], em: float) -> Split | None:
    """The table among lines read downwards, with the lines before and after it, if there is one."""
    rows = rows_of(lines)
    whole = [index for index, row in enumerate(rows) if _gaps(row, em)]
    if len(whole) < MIN_ROWS:
        return None
    first, last = whole[0], whole[-1]
    core = rows[first : last + 1]
    if len(whole) < WHOLE_ROWS * len(core) or not _aligned([rows[index] for index in whole], em):
        return None
    columns = _columns([rows[index] for index in whole], em)
    if len(columns) < 2:
        return None
    rows_of_cells = [_cells(row, columns) for row in core]
    if _is_list(rows_of_cells) or _runs_on(rows_of_cells):
        return None
    if not reads_like_a_table([rows[index] for index in whole], columns):
        return None
    begin = _fields_begin(rows_of_cells)
    edge = (columns[begin - 1][1] + columns[begin][0]) / 2 if begin else float("-inf")
    if any(line.box[0] < edge < line.box[2] for row in core for line in row):
        begin, edge = 0, float("-inf")
    before = [line for row in rows[:first] for line in row]
    before += [line for row in core for line in row if line.box[2] <= edge]
    inside = [line for row in core for line in row if line.box[2] > edge]
    after = [line for row in rows[last + 1 :] for line in row]
    cells = _with_continuations([row[begin:] for row in rows_of_cells], _close_rows(core, rows_of_cells))
    return before, Table(hull(inside), cells), after


def _fields_begin(rows: Sequence[tuple[str, ...]]) -> int:
    """The first column of names that end in a colon, where an address stands to the left of them."""
    for index, column in enumerate(zip(*rows, strict=True)):
        cells = [cell for cell in column if cell]
        named = sum(cell.endswith((":", "：")) for cell in cells)
        if named:
            whole = named == len(cells) >= MIN_ROWS and index < len(rows[0]) - 1
            return index if whole else 0
    return 0


def _is_list(rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether the first of every two columns holds nothing but bullets and numbers of items."""
    marks = [cell for row in rows for cell in row[::2] if cell]
    return len(rows[0]) % 2 == 0 and all(_MARK.fullmatch(mark) for mark in marks)


def _runs_on(rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether entries are in alphabetical order down one column and on in the next, as in an index."""
    columns: list[list[str]] = [
        [cell.casefold() for cell in column if cell] for column in zip(*rows, strict=True)
    ]
    entries = [cell for column in columns for cell in column]
    if min(map(len, columns)) < MIN_ENTRIES or not all(cell[0].isalpha() for cell in entries):
        return False
    rising = sum(a[0] <= b[0] for a, b in pairwise(entries))
    return rising >= 0.9 * (len(entries) - 1)


def _gaps(row: Sequence[TextLine], em: float) -> bool:
    return any(b.box[0] - a.box[2] >= SEPARATOR_EM * em for a, b in pairwise(row))


def _aligned(rows: Sequence[Sequence[TextLine]], em: float) -> bool:
    """Whether the cells of a row share their height; columns of text do so by chance only."""
    offsets = [abs(middle(line) - middle(row[0])) for row in rows for line in row[1:]]
    return sum(offset <= ALIGNED_EM * em for offset in offsets) >= 0.8 * len(offsets)


def _columns(rows: Sequence[Sequence[TextLine]], em: float) -> list[tuple[float, float]]:
    """The x-ranges of columns: what is left between stripes that hardly any row crosses."""
    edges = sorted(
        [(line.box[0], 1) for row in rows for line in row]
        + [(line.box[2], -1) for row in rows for line in row]
    )
    allowed = int(TOLERATED_CROSSINGS * len(rows))
    columns: list[tuple[float, float]] = []
    depth, begun = 0, None
    for x, step in edges:
        depth += step
        if depth > allowed and begun is None:
            begun = x
        elif depth <= allowed and begun is not None:
            if columns and begun - columns[-1][1] < SEPARATOR_EM * em:
                begun = columns.pop()[0]
            columns.append((begun, x))
            begun = None
    return columns


def _cells(row: Sequence[TextLine], columns: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    cells: list[list[str]] = [[] for _ in columns]
    borders = [(a[1] + b[0]) / 2 for a, b in pairwise(columns)]
    for line in row:
        for part in split_at(line, borders):
            overlaps = [min(part.box[2], x2) - max(part.box[0], x1) for x1, x2 in columns]
            cells[overlaps.index(max(overlaps))].append(part.text)
    return tuple(" ".join(texts) for texts in cells)


def _close_rows(core: Sequence[Sequence[TextLine]], rows: Sequence[tuple[str, ...]]) -> set[int]:
    """Places of rows without a first cell that are nearer to the row above than rows with one ever are."""
    steps = [middle(row[0]) - middle(above[0]) for above, row in pairwise(core)]
    whole = [step for step, row in zip(steps, rows[1:], strict=True) if row[0]]
    least = min(whole, default=0.0)
    return {
        index
        for index, (step, row) in enumerate(zip(steps, rows[1:], strict=True), 1)
        if not row[0] and step < CLOSE * least
    }


def _with_continuations(rows: Sequence[tuple[str, ...]], close: set[int]) -> tuple[tuple[str, ...], ...]:
    """Rows that go on with the cells above them, joined to these: ``close`` ones, and those of one cell
    that is not the first."""
    joined: list[tuple[str, ...]] = []
    for index, row in enumerate(rows):
        filled = [column for column, cell in enumerate(row) if cell]
        alone = len(row) > 2 and len(filled) == 1
        if joined and (alone or index in close) and all(c > 0 and joined[-1][c] for c in filled):
            joined[-1] = tuple(" ".join(filter(None, cells)) for cells in zip(joined[-1], row, strict=True))
        elif filled:
            joined.append(row)
    return tuple(joined)


def reads_like_a_table(rows: Sequence[Sequence[TextLine]], columns: Sequence[tuple[float, float]]) -> bool:
    """Whether some column holds numbers or short entries, which running text never does."""
    for x1, x2 in columns:
        cells = [line for row in rows for line in row if x1 <= (line.box[0] + line.box[2]) / 2 <= x2]
        if not cells:
            continue
        numbers = sum(_is_number(line.text) for line in cells[1:]) >= 0.5 * max(1, len(cells) - 1)
        lengths = median(len(line.text) for line in cells)
        fill = sum(line.box[2] - line.box[0] for line in cells) / len(cells) / max(x2 - x1, 1e-3)
        if numbers or lengths < SHORT_CELL or (lengths < CELL_CHARACTERS and fill < PROSE_FILL):
            return True
    return False


def _is_number(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return digits > 0 and digits >= 0.5 * sum(not character.isspace() for character in text)


def split_at(line: TextLine, borders: Sequence[float]) -> list[TextLine]:
    """Cut a line that reaches over borders, each at the space nearest to it."""
    x1, y1, x2, y2 = line.box
    em = max(y2 - y1, 1e-3)
    inside = [x for x in borders if x1 + 0.5 * em < x < x2 - 0.5 * em]
    spaces = [index for index, character in enumerate(line.text) if character == " "]
    if not inside or not spaces:
        return [line]
    per_character = (x2 - x1) / len(line.text)
    cuts = sorted(
        {min(spaces, key=lambda index: abs(x1 + (index + 0.5) * per_character - x)) for x in inside}
    )
    parts, start = [], 0
    for cut in [*cuts, len(line.text)]:
        text = line.text[start:cut].strip()
        if text:
            box = (x1 + start * per_character, y1, x1 + cut * per_character, y2)
            parts.append(TextLine(text, box, line.score, line.size))
        start = cut + 1
    return parts


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def joined_cells(
    lines: Sequence[TextLine], number_of_columns: int, column_of: Callable[[TextLine], int]
) -> tuple[str, ...]:
    """One row of cells from lines of any number of text rows."""
    cells: list[list[str]] = [[] for _ in range(number_of_columns)]
    for row in rows_of(lines):
        for line in row:
            cells[column_of(line)].append(line.text)
    return tuple(" ".join(texts) for texts in cells)
