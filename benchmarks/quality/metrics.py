"""Scores of one page: what was read against what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.quality.distance import edit_distance, find_ends
from benchmarks.quality.text import Matrix, known_lines, known_tables, known_text, plain_text, tables
from benchmarks.samples.blocks import KnownPage

PIECE_WORDS = 5
FOUND_ERRORS = 0.35
"""A piece counts as found where at most this share of its characters differs."""
READ_WORDS = 0.6
"""A piece that is nowhere found but has at least this share of its words in the text was torn apart."""
ADJACENT_SLACK = 12
"""Characters by which a piece may miss the end of the one before it, on top of a quarter of its length."""
CELL_ERRORS = 0.2


@dataclass(frozen=True, slots=True)
class PageScore:
    """Counts of one page, to be added up over pages. ``pairs`` are neighbouring pieces of known text."""

    known_characters: int
    read_characters: int
    character_edits: int
    known_words: int
    word_edits: int
    pairs: int
    pairs_in_order: int
    known_cells: int
    read_cells: int
    right_cells: int


def score_page(known: KnownPage, markdown: str) -> PageScore:
    """All scores of a page. ``markdown`` is the engine's text; plain text is Markdown, too."""
    expected, came = known_text(known), plain_text(markdown)
    words = expected.split()
    in_order, pairs = order_pairs([line for block in known.blocks for line in known_lines(block)], came)
    known_cells, read_cells, right_cells = cell_counts(known_tables(known), tables(markdown))
    return PageScore(
        known_characters=len(expected),
        read_characters=len(came),
        character_edits=edit_distance(expected, came),
        known_words=len(words),
        word_edits=edit_distance(words, came.split()),
        pairs=pairs,
        pairs_in_order=in_order,
        known_cells=known_cells,
        read_cells=read_cells,
        right_cells=right_cells,
    )


def order_pairs(lines: Sequence[str], text: str) -> tuple[int, int]:
    """How many neighbouring pieces of the known lines follow one another in the text, and of how many.

    Pieces are looked up with tolerance for misread characters. A piece that was read but torn apart
    counts against the order; one that was not read at all counts neither way.
    """
    words = set(text.split())
    right = pairs = 0
    before: int | None = None
    fresh = True
    for piece in (piece for line in lines for piece in _pieces(line)):
        end = _find(piece, text, before)
        if end is None and len(words.intersection(piece.split())) < READ_WORDS * len(piece.split()):
            before, fresh = None, True
            continue
        if not fresh:
            pairs += 1
            right += before is not None and end is not None and _adjacent(before, end, piece)
        before, fresh = end, False
    return right, pairs


def cell_counts(known: Sequence[Matrix], read: Sequence[Matrix]) -> tuple[int, int, int]:
    """Cells of the known tables, of the tables read, and of those in the right row and column.

    Each known table is held against the table read that fits it best. Empty cells are not counted.
    """
    left = list(read)
    right = 0
    for table in known:
        if not left:
            break
        fits = [_right_cells(table, candidate) for candidate in left]
        right += max(fits)
        left.pop(fits.index(max(fits)))
    return _filled(known), _filled(read), right


def same_cell(expected: str, came: str) -> bool:
    """Whether two cells are equal but for a misread character or so."""
    return edit_distance(expected, came) <= CELL_ERRORS * len(expected)


def _pieces(line: str) -> list[str]:
    words = line.split()
    starts = range(0, len(words), PIECE_WORDS)
    pieces = [" ".join(words[start : start + PIECE_WORDS]) for start in starts]
    if len(pieces) > 1 and len(pieces[-1].split()) < PIECE_WORDS // 2:  # a lone last word is found anywhere
        pieces[-2:] = [" ".join(pieces[-2:])]
    return pieces


def _find(piece: str, text: str, before: int | None) -> int | None:
    """Where the piece ends in the text; of several places the one that follows ``before`` most closely."""
    edits, ends = find_ends(piece, text)
    if edits > FOUND_ERRORS * len(piece):
        return None
    wanted = (before or 0) + len(piece) + 1
    return min(ends, key=lambda end: abs(end - wanted))


def _adjacent(before: int, end: int, piece: str) -> bool:
    return abs(end - before - len(piece) - 1) <= ADJACENT_SLACK + len(piece) / 4


def _right_cells(known: Matrix, read: Matrix) -> int:
    pairs = zip(known, read, strict=False)  # a row or column too many or too few costs its own cells
    return sum(
        bool(cell) and same_cell(cell, other)
        for row, other_row in pairs
        for cell, other in zip(row, other_row, strict=False)
    )


def _filled(matrices: Sequence[Matrix]) -> int:
    return sum(bool(cell) for table in matrices for row in table for cell in row)
