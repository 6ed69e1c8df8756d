"""Edit distance of strings and word lists, and the place of a string in another.

Plain NumPy rather than a package for it, because ``make run`` compares too and installs no test tools.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.int32]


def edit_distance(expected: Sequence[Hashable], came: Sequence[Hashable]) -> int:
    """Levenshtein distance: insertions, deletions and substitutions at one each."""
    start, end = 0, min(len(expected), len(came))
    while start < end and expected[start] == came[start]:
        start += 1
    tail = 0
    while tail < end - start and expected[-1 - tail] == came[-1 - tail]:
        tail += 1
    expected, came = expected[start : len(expected) - tail], came[start : len(came) - tail]
    return int(_last_row(expected, came, np.arange(len(came) + 1, dtype=np.int32))[-1])


def find_ends(piece: str, text: str) -> tuple[int, list[int]]:
    """The fewest edits that turn some part of the text into the piece, and all places where one ends."""
    row = _last_row(piece, text, np.zeros(len(text) + 1, dtype=np.int32))
    best = int(row.min())
    return best, [int(end) for end in np.flatnonzero(row == best)]


def _last_row(expected: Sequence[Hashable], came: Sequence[Hashable], row: Row) -> Row:
    """The last row of the table of distances, one row per item of ``expected``; ``row`` is the first.

    An insertion depends on the cell to its left. Less the column's number it is a running minimum.
    """
    codes: dict[Any, int] = {}
    columns = np.arange(len(row), dtype=np.int32)
    coded = np.array([codes.setdefault(item, len(codes)) for item in came], dtype=np.int32)
    for item in expected:
        code = codes.get(item, -1)
        above = row + 1
        np.minimum(above[1:], row[:-1] + (coded != code), out=above[1:])
        row = np.minimum.accumulate(above - columns) + columns
    return row
