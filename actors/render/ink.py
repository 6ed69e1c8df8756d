"""Where a gray picture has ink: its edges, and those of them that are straight lines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
STRAIGHT = 15


def edges_of(gray: Gray) -> npt.NDArray[np.int16]:
    """How much each pixel differs from the one to its right or below, whichever is more."""
    levels = gray.astype(np.int16)
    edges = np.zeros_like(levels)
    edges[:, :-1] = np.abs(np.diff(levels, axis=1))
    np.maximum(edges[:-1], np.abs(np.diff(levels, axis=0)), out=edges[:-1])
    return edges


def straight(mask: Mask) -> Mask:
    """Pixels in horizontal or vertical runs of at least ``STRAIGHT``: rules, frames, axes."""
    return _runs(mask) | _runs(np.ascontiguousarray(mask.T)).T


def _runs(mask: Mask) -> Mask:
    """Pixels in horizontal runs of at least ``STRAIGHT``."""
    width = mask.shape[1]
    if width < STRAIGHT:
        return np.zeros_like(mask)
    starts, length = mask, 1
    while length < STRAIGHT:
        step = min(length, STRAIGHT - length)
        starts = starts[:, :-step] & starts[:, step:]
        length += step
    runs = np.zeros_like(mask)
    for step in range(STRAIGHT):
        runs[:, step : step + starts.shape[1]] |= starts
    return runs
