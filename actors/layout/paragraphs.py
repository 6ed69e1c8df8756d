"""From lines read downwards to blocks: headings, paragraphs rejoined from their lines, list items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from actors.layout.geometry import hull, middle, rows_of
from actors.layout.lines import HEADING_RATIO, Box, TextLine

HEADING_LEVELS = ((1.8, 1), (1.45, 2))
MAX_HEADING_LINES = 4
SAME_SIZE_RATIO = 1.2
PARAGRAPH_GAP = 1.4
"""Distance of two baselines, in the column's own leading, from which on a paragraph begins."""
INDENT_EM = 0.7
RIGHT_SLACK_EM = 0.8
STRETCHED = 0.8
"""Width of a row per character, in its box's height; running text takes 0.3 to 0.5."""
VERSE_SHARE, CAPITAL_SHARE = 0.5, 0.7
MIN_VERSE_ROWS = 4
MIN_ADDRESS_ROWS, MAX_ADDRESS_ROWS, ADDRESS_CHARACTERS = 3, 8, 30

_MARKER = re.compile(r"(?:[•·‣▪●○◦■□–*-]\s+|[•●▪■]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)]\s+)(?=\S)")
_BULLET = re.compile(r"[•·‣▪●○◦■□–*-]\s*")
_PAGE_NUMBER = re.compile(r"[-–—\s]*(?:\d{1,4}|[ivxlcIVXLC]{1,6})[-–—.\s]*")
_SOFT_HYPHENS = "\u00ad\u2010"


@dataclass(frozen=True, slots=True)
class Block:
    """``label`` is heading, text, list_item, page_number or table; ``text`` is Markdown."""

    label: str
    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a column, joined from its parts."""

    text: str
    box: Box
    size: float

    @property
    def indent(self) -> float:
        return self.box[0]

    @property
    def is_stretched(self) -> bool:
        """Whether white or dots part the row's text, as in a table of contents: it stands by itself."""
        return self.box[2] - self.box[0] > STRETCHED * len(self.text) * (self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Column:
    """What is usual in a run of rows: its left and right edge, distance of lines, size of letters."""

    left: float
    right: float
    leading: float
    size: float
    hanging: bool
    verse: bool = False

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Column:
        em = median(row.size for row in rows)
        plain = [row for row in rows if row.size < HEADING_RATIO * em] or list(rows)
        lefts = sorted(row.box[0] for row in plain)
        rights = sorted(row.box[2] for row in plain)
        left, right = lefts[len(lefts) // 10], rights[-1 - len(rights) // 10]
        steps = [middle(b) - middle(a) for a, b in pairwise(rows)]
        close = sorted(step for step in steps if 0 < step < 2.6 * em)
        leading = close[len(close) // 3] if close else 1.3 * em
        indented = sum(row.box[0] > left + INDENT_EM * em for row in plain)
        column = cls(left, right, leading, em, indented > 0.5 * len(plain))
        return replace(column, verse=_is_verse(plain, column))


def _is_verse(rows: Sequence[Row], column: Column) -> bool:
    """Whether lines end where their author ended them, as in poems, addresses and short entries."""
    if any(_MARKER.match(row.text) for row in rows):
        return False
    if _is_address(rows):
        return True
    if len(rows) < MIN_VERSE_ROWS:
        return False
    ended = sum(_ended(above, row, column) for above, row in pairwise(rows))
    capitals = sum(not row.text[:1].islower() for row in rows)
    return ended >= VERSE_SHARE * (len(rows) - 1) and capitals >= CAPITAL_SHARE * len(rows)


def _is_address(rows: Sequence[Row]) -> bool:
    """Whether a run is a few short lines that each begin anew; their lengths may be alike by chance."""
    return MIN_ADDRESS_ROWS <= len(rows) <= MAX_ADDRESS_ROWS and all(
        len(row.text) <= ADDRESS_CHARACTERS and (row.text[0].isupper() or row.text[0].isdigit())
        for row in rows
    )


def blocks_of(lines: Sequence[TextLine], body: float) -> list[Block]:
    """Blocks from top to bottom. ``body`` is the size of the page's running text."""
    rows = [_row(row) for row in rows_of(lines)]
    if not rows:
        return []
    column = Column.of(rows)
    groups: list[list[Row]] = [[rows[0]]]
    for above, row in pairwise(rows):
        if _begins(row, above, groups[-1], column, body):
            groups.append([row])
        else:
            groups[-1].append(row)
    return _joined_verse([_block(group, body) for group in groups], groups, column, body)


def join_lines(texts: Sequence[str]) -> str:
    """Lines of a paragraph as one: words cut at line ends are put together again."""
    joined = texts[0]
    for text in texts[1:]:
        if joined.endswith(tuple(_SOFT_HYPHENS)) and len(joined) > 1 and text[:1].islower():
            joined = joined[:-1] + text
        elif joined.endswith("-") and joined[-2:-1].isalpha() and text[:1].isalpha():
            joined = (joined[:-1] if text[:1].islower() else joined) + text
        elif (joined.endswith(("—", "/")) and joined[-2:-1].strip()) or (
            _is_wide(joined[-1:]) and _is_wide(text[:1])
        ):
            joined += text
        else:
            joined += " " + text
    return joined


def _row(parts: Sequence[TextLine]) -> Row:
    text = " ".join(part.text.strip() for part in parts)
    return Row(text, hull(parts), max(part.font_size for part in parts))


def _is_wide(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces."""
    return "\u2e80" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef"


def _begins(row: Row, above: Row, group: Sequence[Row], column: Column, body: float) -> bool:
    """Whether a row begins a block of its own."""
    ratio = row.size / above.size
    larger = row if ratio > 1 else above
    if not 1 / SAME_SIZE_RATIO < ratio < SAME_SIZE_RATIO and _is_large(larger, body):
        return True
    step = middle(row) - middle(above)
    if _is_large(row, body) and _is_large(above, body):
        return step > 2.2 * row.size
    if step > PARAGRAPH_GAP * column.leading or step <= 0:
        return True
    if column.verse or row.is_stretched or above.is_stretched:
        return True
    if _MARKER.match(row.text) and (_ended(above, row, column) or _MARKER.match(group[0].text)):
        return True
    if _MARKER.match(group[0].text) and row.indent > group[0].indent + 0.3 * column.size:
        return _ended(above, row, column)
    indented = row.indent - column.left > INDENT_EM * column.size
    if column.hanging:
        return not indented
    if indented and above.indent - column.left <= INDENT_EM * column.size:
        return True
    return _ended(above, row, column)


def _is_large(row: Row, body: float) -> bool:
    return row.size >= HEADING_RATIO * body


def _ended(above: Row, row: Row, column: Column) -> bool:
    """Whether the first word of ``row`` had found room in the line above: then it was ended on purpose."""
    word = row.text.split(" ", 1)[0]
    width = (row.box[2] - row.box[0]) * len(word) / max(len(row.text), 1)
    return column.right - above.box[2] > width + RIGHT_SLACK_EM * column.size


def _block(rows: Sequence[Row], body: float) -> Block:
    texts = [row.text for row in rows]
    ratio = median(row.size for row in rows) / body
    text = join_lines(texts)
    if len(rows) == 1 and _PAGE_NUMBER.fullmatch(text) and any(map(str.isalnum, text)):
        return Block("page_number", text, hull(rows))
    if ratio >= HEADING_RATIO and len(rows) <= MAX_HEADING_LINES and any(map(str.isalpha, text)):
        level = next((level for least, level in HEADING_LEVELS if ratio >= least), 3)
        return Block("heading", f"{'#' * level} {text}", hull(rows))
    if _MARKER.match(text):
        bullet = _BULLET.match(text)
        return Block("list_item", f"- {text[bullet.end() :]}" if bullet else text, hull(rows))
    return Block("text", text, hull(rows))


def _joined_verse(
    blocks: Sequence[Block], groups: Sequence[Sequence[Row]], column: Column, body: float
) -> list[Block]:
    """Single lines in the distance of one another (an address, a verse) stay one block of lines."""
    joined: list[Block] = []
    last: Row | None = None
    for block, group in zip(blocks, groups, strict=True):
        row = group[0]
        near = last is not None and middle(row) - middle(last) <= PARAGRAPH_GAP * column.leading
        single = block.label == "text" and len(group) == 1
        if joined and near and single and last is not None and joined[-1].label == "text":
            above = joined[-1]
            joined[-1] = replace(above, text=f"{above.text}\n{block.text}", box=hull((above, block)))
        else:
            joined.append(block)
        last = row if single else None
    return joined
