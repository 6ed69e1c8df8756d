"""A text layer's words: from characters with boxes to lines as the layout code takes them. No PyMuPDF."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from actors.layout.compose import compose
from actors.layout.geometry import hull
from actors.layout.lines import Box, ComposedPage, Rules, TextLine
from results.rows import Region

WIDEST_SPACE, WIDEST_JUSTIFIED = 1.0, 1.4
"""Font sizes. A wider gap ends a line; in a justified line, whose gaps are alike, the second holds."""
JUSTIFIED = 1.6
UPRIGHT_DEGREES = 10
THICKEST_RULE = 3.0
SHORTEST_RULE = 12.0
MAX_RULES = 2_000
SLANTED = -1
LIGATURES = {0xFB00 + i: text for i, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}


@dataclass(frozen=True, slots=True)
class Word:
    """A word on the page, boxes in points of the page as it is shown, y downwards.

    ``turn`` is degrees clockwise that bring its line upright, ``SLANTED`` where none of four does.
    """

    text: str
    box: Box
    size: float
    turn: int = 0
    visible: bool = True


def turn_of(direction: tuple[float, float]) -> int:
    """The turn that makes a writing direction run to the right."""
    degrees = math.degrees(math.atan2(-direction[1], direction[0])) % 360
    nearest = round(degrees / 90) * 90
    return nearest % 360 if abs(degrees - nearest) <= UPRIGHT_DEGREES else SLANTED


def clean(text: str) -> str:
    """Composed accents, ligatures as letters, no marks that only steer direction or breaks."""
    text = unicodedata.normalize("NFC", text.translate(LIGATURES))
    return "".join(c for c in text if unicodedata.category(c) != "Cf") if not text.isascii() else text


def once(words: Iterable[Word]) -> list[Word]:
    """Words without those drawn again at the same place, as fake bold and shadows are."""
    seen: set[tuple[str, bool, int, int]] = set()
    kept = []
    for word in words:
        step = max(word.size, 1.0) / 2
        x, y = round(word.box[0] / step), round(word.box[1] / step)
        if any((word.text, word.visible, x + i, y + j) in seen for i in (-1, 0, 1) for j in (-1, 0, 1)):
            continue
        seen.add((word.text, word.visible, x, y))
        kept.append(word)
    return kept


def compose_words(words: Sequence[Word], rules: Sequence[Box], size: tuple[float, float]) -> ComposedPage:
    """The page's text: the direction most words are written in first, then the others."""
    groups: dict[int, list[Word]] = {}
    for word in words:
        groups.setdefault(word.turn, []).append(word)
    parts = [
        _compose_turned(groups[turn], rules, size, turn)
        for turn in sorted(groups, key=lambda turn: (-len(groups[turn]), turn))
    ]
    text = "\n\n".join(part.text for part in parts if part.text.strip())
    return ComposedPage(text, tuple(region for part in parts for region in part.regions))


def _compose_turned(
    words: Sequence[Word], rules: Sequence[Box], size: tuple[float, float], turn: int
) -> ComposedPage:
    width, height = size
    turned = [replace(word, box=_turn_box(word.box, turn, width, height)) for word in words]
    lines = rules_among(_turn_box(box, turn, width, height) for box in rules)
    sides = (height, width) if turn in (90, 270) else (width, height)
    page = compose(list(text_lines(turned)), *sides, lines)
    back = -turn % 360 if turn != SLANTED else SLANTED
    regions = tuple(_turn_region(region, back) for region in page.regions)
    return ComposedPage(page.text, regions)


def _turn_box(box: Box, turn: int, width: float, height: float) -> Box:
    """A box after its page was turned clockwise by so many degrees."""
    x1, y1, x2, y2 = box
    if turn == 90:
        return height - y2, x1, height - y1, x2
    if turn == 180:
        return width - x2, height - y2, width - x1, height - y1
    if turn == 270:
        return y1, width - x2, y2, width - x1
    return box


def _turn_region(region: Region, turn: int) -> Region:
    x1, y1, x2, y2 = (int(value) for value in _turn_box(region.box, turn, 999, 999))
    return replace(region, box=(x1, y1, x2, y2))


def text_lines(words: Sequence[Word]) -> Iterator[TextLine]:
    """Words that follow one another on one baseline, cut where a gap is wider than a space can be."""
    row: list[Word] = []
    for word in words:
        if row and not _same_row(row[-1], word):
            yield from _cut(row)
            row = []
        row.append(word)
    if row:
        yield from _cut(row)


def _same_row(before: Word, word: Word) -> bool:
    top, bottom = max(before.box[1], word.box[1]), min(before.box[3], word.box[3])
    lower = min(before.box[3] - before.box[1], word.box[3] - word.box[1])
    return bottom - top >= lower / 2


def _gap(before: Word, word: Word) -> float:
    """In font sizes, to whichever side the writing runs."""
    gap = max(word.box[0] - before.box[2], before.box[0] - word.box[2])
    return gap / max(before.size, word.size, 0.1)


def _cut(row: Sequence[Word]) -> Iterator[TextLine]:
    gaps = [_gap(a, b) for a, b in pairwise(row)]
    widest = min(max(WIDEST_SPACE, JUSTIFIED * median(gaps)), WIDEST_JUSTIFIED) if gaps else WIDEST_SPACE
    start = 0
    for index, gap in enumerate(gaps, 1):
        if gap > widest:
            yield _line(row[start:index])
            start = index
    yield _line(row[start:])


def _line(words: Sequence[Word]) -> TextLine:
    return TextLine(" ".join(word.text for word in words), hull(words), size=max(word.size for word in words))


def rules_among(boxes: Iterable[Box]) -> Rules:
    """Ruled lines among the boxes of what is drawn; none where there are too many to be a table's."""
    horizontal, vertical = [], []
    for x1, y1, x2, y2 in boxes:
        width, height = x2 - x1, y2 - y1
        if height <= THICKEST_RULE and width >= SHORTEST_RULE:
            horizontal.append(((y1 + y2) / 2, x1, x2))
        elif width <= THICKEST_RULE and height >= SHORTEST_RULE:
            vertical.append(((x1 + x2) / 2, y1, y2))
        if len(horizontal) + len(vertical) > MAX_RULES:
            return Rules()
    return Rules(tuple(horizontal), tuple(vertical))
