"""Large pages cut into tiles for the detector, which sees small print only where it is not shrunk; and the
lines of all tiles put together again. Boxes and quads in pixels of the whole page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from actors.engines.line_ocr.upright import Quad, sides
from actors.layout.geometry import root_of

TILE, OVERLAP = 2_560, 256
"""Sides of a tile at most, and what two share: lines no higher than half of it are whole in one of them."""
AT_BORDER = 4.0
SAME_LINE = 0.5
"""Of the lower one's height, common to two parts of one line."""

Tile = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels of the page."""


def tiles_of(width: int, height: int) -> list[Tile]:
    """Boxes that cover a page, row by row, all of about the same size."""
    return [(x1, y1, x2, y2) for (y1, y2), (x1, x2) in product(_spans(height), _spans(width))]


def _spans(length: int) -> list[tuple[int, int]]:
    count = max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))
    size = -(-(length + (count - 1) * OVERLAP) // count)
    starts = [tile_index * (length - size) // max(1, count - 1) for tile_index in range(count)]
    return [(start, start + size) for start in starts]


def joined(found: Sequence[tuple[Tile, Sequence[Quad]]], width: int, height: int) -> list[Quad]:
    """The lines of a page from those of its tiles: parts of one line as one, and none twice."""
    parts = [
        (tile_index, quad)
        for tile_index, (tile, quads) in enumerate(found)
        for quad in quads
        if not _is_cut(quad, tile, width, height)
    ]
    groups = list(range(len(parts)))
    hulls = np.array([(*quad.min(axis=0), *quad.max(axis=0)) for _, quad in parts]).reshape(-1, 4)
    for one, other in combinations(range(len(found)), 2):
        if _overlap(found[one][0], found[other][0]):
            _pair(parts, hulls, groups, (one, other))
    lines: dict[int, list[Quad]] = {}
    for index, (_, quad) in enumerate(parts):
        lines.setdefault(root_of(groups, index), []).append(quad)
    return [_line(quads) for quads in lines.values()]


def _overlap(one: Tile, other: Tile) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _is_cut(quad: Quad, tile: Tile, width: int, height: int) -> bool:
    """Whether a tile's border cut a line lengthwise: the tile beside it has it whole."""
    standing = _stands(quad)
    low, high = quad.min(axis=0), quad.max(axis=0)
    axis, end = (0, width) if standing else (1, height)
    begins, ends = tile[axis], tile[axis + 2]
    if high[axis] - low[axis] > OVERLAP / 2:
        return False
    return bool(
        (begins > 0 and low[axis] < begins + AT_BORDER) or (ends < end and high[axis] > ends - AT_BORDER)
    )


def _stands(quad: Quad) -> bool:
    across, down = sides(quad)
    return down > 2 * across


def _pair(
    parts: Sequence[tuple[int, Quad]], hulls: np.ndarray, groups: list[int], tiles: tuple[int, int]
) -> None:
    """Put parts of two tiles that are one line into one group."""
    ones, others = ([i for i, (tile_index, _) in enumerate(parts) if tile_index == tile] for tile in tiles)
    if not ones or not others:
        return
    a, b = hulls[ones][:, None], hulls[others][None, :]
    common = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    least = np.minimum(a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2])
    for i, j in np.argwhere(np.all(common > 0, axis=2)).tolist():
        one, other = ones[i], others[j]
        standing = _stands(parts[one][1])
        across = 0 if standing else 1
        if standing == _stands(parts[other][1]) and common[i, j, across] > SAME_LINE * least[i, j, across]:
            groups[root_of(groups, other)] = root_of(groups, one)


def _line(quads: Sequence[Quad]) -> Quad:
    """One quad from the first part's beginning to the last part's end."""
    if len(quads) == 1:
        return quads[0]
    if _stands(quads[0]):
        top = min(quads, key=lambda quad: quad[:2, 1].sum())
        bottom = max(quads, key=lambda quad: quad[2:, 1].sum())
        return np.array([top[0], top[1], bottom[2], bottom[3]], np.float32)
    left = min(quads, key=lambda quad: quad[0, 0] + quad[3, 0])
    right = max(quads, key=lambda quad: quad[1, 0] + quad[2, 0])
    return np.array([left[0], right[1], right[2], left[3]], np.float32)
