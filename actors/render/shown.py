"""Is a word of a text layer what the page shows? Told by pixels, letter by letter. No PyMuPDF.

What covers a word (a box, a picture, a note), cuts it off or has its colour takes its letters out of the
page's picture. Pictures are compared by their steps along the line: there boxes and rules have only ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.layout.lines import Box
from actors.render.ink import Gray
from actors.render.layer_words import Word

Steps = npt.NDArray[np.int32]
Pieces = npt.NDArray[np.intp]
Pixels = tuple[int, int, int, int]

PIECE = 0.8
"""Length of the stretches that a word is looked at by, in the heights of its box: about a letter."""
AS_PLAIN, MIN_LETTER = 24, 64
"""Levels that a pixel may be off what black letters on white would make it, and that a letter must have:
within these a word is shown, and most words of most pages need no closer look."""
MIN_OWN = 2_000.0
"""Squared levels, as a sum over a stretch: less is no letter, but a hyphen or the white beside one."""
MIN_DRAWN = 0.5
"""Share of a word's stretches that must have letters."""
MIN_LIKENESS = 0.45
"""Correlation of a stretch with its letters alone; 0.9 and more on any plain ground."""
MIN_CONTRAST = 0.03
"""Of the range from black to white, as letters lose it where they have nearly their ground's colour."""
MIN_ON_PAGE = 0.8
"""Share of a word's box that must lie on the page."""
MIN_STEP = 16
"""Grey levels of the strongest step in a scanned letter, at least."""
UNDER = 0.25
"""Share of a word under something painted, from which on it counts as covered."""
GROUND = 0.5
"""Share of the page from which on something painted is the ground and no cover."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as a small gray picture; and how much of each pixel its letters cover (0-255), whatever lies
    over them, of the same size."""

    gray: Gray
    letters: Gray


def any_hidden(words: Sequence[Word], size: tuple[float, float], picture: Picture) -> bool:
    """Whether any of the words is not to be seen in the picture of its page, which has ``size`` points."""
    plain = np.abs(picture.gray.astype(np.int16) + picture.letters - 255) <= AS_PLAIN
    doubtful: tuple[list[Pixels], list[Pixels]] = [], []
    for word, box in _placed(words, size, picture.gray.shape):
        if box is None:
            return True
        x1, y1, x2, y2 = box
        if not (plain[y1:y2, x1:x2].all() and picture.letters[y1:y2, x1:x2].max() >= MIN_LETTER):
            doubtful[_axis(word.turn)].append(box)
    return any(_any_unlike(boxes, picture, axis) for axis, boxes in enumerate(doubtful) if boxes)


def _any_unlike(boxes: Sequence[Pixels], picture: Picture, axis: int) -> bool:
    """Whether the page has other steps than the letters have in any stretch of the words in these boxes."""
    around = np.array(boxes)
    (left, top), (right, bottom) = around[:, :2].min(axis=0), around[:, 2:].max(axis=0)
    page = _steps(picture.gray[top:bottom, left:right], axis)
    letters = _steps(picture.letters[top:bottom, left:right], axis)
    pieces, firsts = _pieces(around - (left, top, left, top), axis)
    own = _sums(letters * letters, pieces)
    drawn = own > MIN_OWN
    counts = np.diff(firsts, append=len(pieces))
    if np.any(np.add.reduceat(drawn, firsts, dtype=np.intp) < MIN_DRAWN * counts):
        return True
    alike = np.abs(_sums(page * letters, pieces))
    least = np.maximum(MIN_LIKENESS * np.sqrt(own * _sums(page * page, pieces)), MIN_CONTRAST * own)
    return bool(np.any(alike[drawn] < least[drawn]))


def seen_in_scan(
    words: Sequence[Word], size: tuple[float, float], gray: Gray, painted: Sequence[Box]
) -> list[Word]:
    """Of words without ink, those that lie on letters of a scan: with strokes, and nothing painted over."""
    covers = np.array([box for box in painted if _share(box, (0, 0, *size)) < GROUND]).reshape(-1, 4)
    steps = [np.abs(_steps(gray, axis)) for axis in (0, 1)]
    return [
        word
        for word, box in _placed(words, size, gray.shape)
        if box is not None
        and not (len(covers) and _under(word.box, covers) > UNDER)
        and _has_steps(steps[_axis(word.turn)], box, _axis(word.turn))
    ]


def _has_steps(steps: Steps, box: Pixels, axis: int) -> bool:
    """Whether every stretch of a word has some."""
    pieces, _ = _pieces(np.array([box]), axis)
    return all(steps[y1:y2, x1:x2].max(initial=0) >= MIN_STEP for x1, y1, x2, y2 in pieces.tolist())


def _placed(
    words: Sequence[Word], size: tuple[float, float], shape: tuple[int, ...]
) -> Iterator[tuple[Word, Pixels | None]]:
    """Words that say something, with their boxes in pixels; None for one that the page cuts off."""
    scale_x, scale_y = shape[1] / size[0], shape[0] / size[1]
    for word in words:
        if not any(map(str.isalnum, word.text)):
            continue
        if _share(word.box, (0, 0, *size), of=word.box) < MIN_ON_PAGE:
            yield word, None
            continue
        x1, y1 = max(0, int(word.box[0] * scale_x)), max(0, int(word.box[1] * scale_y))
        x2, y2 = min(shape[1], int(word.box[2] * scale_x) + 1), min(shape[0], int(word.box[3] * scale_y) + 1)
        yield word, (min(x1, x2 - 1), min(y1, y2 - 1), x2, y2)


def _share(box: Box, other: Box, of: Box | None = None) -> float:
    """How much of ``of`` (by default of ``other``) lies in both boxes."""
    of = of or other
    width, height = (
        min(box[2], other[2]) - max(box[0], other[0]),
        min(box[3], other[3]) - max(box[1], other[1]),
    )
    return max(width, 0.0) * max(height, 0.0) / max((of[2] - of[0]) * (of[3] - of[1]), 1e-6)


def _under(box: Box, covers: npt.NDArray[np.float64]) -> float:
    """Share of a box in the cover that takes most of it."""
    low = np.maximum(covers[:, :2], box[:2])
    high = np.minimum(covers[:, 2:], box[2:])
    common = float(np.prod(np.clip(high - low, 0, None), axis=1).max())
    return common / max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)


def _axis(turn: int) -> int:
    """Of a picture's array, the one that lines with this turn run along."""
    return 0 if turn in (90, 270) else 1


def _steps(picture: Gray, axis: int) -> Steps:
    """From each pixel to the next one."""
    steps = np.zeros(picture.shape, dtype=np.int32)
    after, before = (picture[1:], picture[:-1]) if axis == 0 else (picture[:, 1:], picture[:, :-1])
    np.subtract(after, before, out=steps[:-1] if axis == 0 else steps[:, :-1], dtype=np.int32)
    return steps


def _pieces(array: Pieces, axis: int) -> tuple[Pieces, Pieces]:
    """The stretches of words with these boxes, a row each, and the index of every word's first one."""
    begin, end = (array[:, 0], array[:, 2]) if axis else (array[:, 1], array[:, 3])
    height = (array[:, 3] - array[:, 1]) if axis else (array[:, 2] - array[:, 0])
    length = end - begin
    counts = np.maximum(1, np.rint(length / np.maximum(4.0, PIECE * height))).astype(np.intp)
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
    word = np.repeat(np.arange(len(array)), counts)
    place = np.arange(len(word)) - firsts[word]
    pieces = array[word]
    low, high = (0, 2) if axis else (1, 3)
    pieces[:, low] = begin[word] + place * length[word] // counts[word]
    pieces[:, high] = begin[word] + (place + 1) * length[word] // counts[word]
    return pieces, firsts


def _sums(values: Steps, pieces: Pieces) -> npt.NDArray[np.float64]:
    """Values added up over each piece, by sums from the picture's corner (Crow, 1984)."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype=np.int64)
    np.cumsum(values, axis=0, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], axis=1, out=total[1:, 1:])
    x1, y1, x2, y2 = pieces.T
    sums = total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]
    return np.asarray(sums, dtype=np.float64)
