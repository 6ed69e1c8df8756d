"""Labels beside paragraphs: side notes, the years of a curriculum vitae, the speakers of a play.

A narrow column of labels is not read from top to bottom: each label goes with what it stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from actors.layout.geometry import hull, line_height, middle, rows_of, share_row
from actors.layout.tables import Item, Table

MIN_LABELS = 2
MAX_LABEL_ROWS = 4
MAX_ROWS_SHARE = 0.5
"""Rows of labels against those of the text. A column of text has about as many as the one beside it."""
SHORT_EM = 2.0
"""White that a paragraph's last line leaves, at least."""
APART = 1.3
"""Distance of two rows, in the text's usual one, from which on they are parted."""


def beside_paragraphs(left: Sequence[Item], right: Sequence[Item]) -> list[tuple[list[Item], list[Item]]]:
    """Labels with the text that each stands beside, in order; both sides whole where they are columns."""
    whole = [(list(left), list(right))]
    if not left or not right or any(isinstance(item, Table) for item in (*left, *right)):
        return whole
    rows, label_rows = rows_of(right), rows_of(left)
    steps = sorted(middle(b[0]) - middle(a[0]) for a, b in pairwise(rows))
    apart = APART * steps[len(steps) // 3] if steps else 0.0
    labels = _groups(label_rows, apart)
    if (
        max(len(row) for row in (*rows, *label_rows)) > 1
        or (len(label_rows) > MAX_ROWS_SHARE * len(rows) and len(label_rows) > len(labels))
        or max(map(len, labels)) > MAX_LABEL_ROWS
        or _width(left) >= _width(right)
    ):
        return whole
    starts = {id(group[0][0]) for group in _groups(rows, apart)}
    edge = hull(right)[2] - SHORT_EM * line_height(right)
    starts |= {id(row[0]) for above, row in pairwise(rows) if above[0].box[2] < edge}
    beside = [next((row[0] for row in rows if share_row(row[0], label[0][0])), None) for label in labels]
    if any(item is not None and id(item) not in starts for item in beside):
        return whole
    if sum(item is not None for item in beside) < MIN_LABELS:
        return whole
    pairs: list[tuple[list[Item], list[Item]]] = [([], [])]
    waiting = list(rows)
    for label in labels:
        above = [row for row in waiting if middle(row[0]) < label[0][0].box[1]]
        pairs[-1][1].extend(row[0] for row in above)
        waiting = waiting[len(above) :]
        pairs.append(([row[0] for row in label], []))
    pairs[-1][1].extend(row[0] for row in waiting)
    return pairs


def _groups(rows: Sequence[list[Item]], distance: float) -> list[list[list[Item]]]:
    """Rows parted where they are further from one another than this."""
    groups = [[rows[0]]]
    for above, row in pairwise(rows):
        if middle(row[0]) - middle(above[0]) > distance:
            groups.append([row])
        else:
            groups[-1].append(row)
    return groups


def _width(items: Sequence[Item]) -> float:
    box = hull(items)
    return box[2] - box[0]
