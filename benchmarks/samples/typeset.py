"""Sets blocks of text on a page: line breaking, hyphenation, justification, columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pymupdf

from benchmarks.samples.blocks import Block, Kind

FAMILIES = {"sans": ("helv", "hebo"), "serif": ("tiro", "tibo"), "mono": ("cour", "cobo")}
ASCENT = 0.8
"""Share of the font size above the base line."""
LOOSEST_SPACE = 3.0
"""Word spaces of a justified line are stretched at most by this factor; looser lines stay ragged."""
VOWELS = "aeiouyäöüáéíóúàèùâêîôûαεηιουωάέήίόύώ"
HYPHENATION = re.compile(rf"(?i)(?<=[{VOWELS}])([^\W\d_{VOWELS}]?)(?=[^\W\d_{VOWELS}][{VOWELS}])")
DIVISION = "-\N{ZERO WIDTH SPACE}"
"""A hyphen that is there only because the line ends; taken out again where the text goes on."""
SHORTEST_HYPHENATED = 7
FEWEST_LETTERS = 3


@dataclass(frozen=True, slots=True)
class Style:
    """How running text is set. Lengths in points; ``leading`` in font sizes."""

    family: str = "serif"
    size: float = 10.5
    leading: float = 1.3
    indent: float = 0.0
    gap: float = 6.0
    justified: bool = False
    hyphenated: bool = False
    heading_scale: float = 1.6

    @property
    def line_height(self) -> float:
        return self.size * self.leading

    def of(self, kind: Kind) -> Style:
        """The style of a block that is not a paragraph."""
        if kind is Kind.HEADING:
            return replace(
                self, size=self.size * self.heading_scale, leading=1.2, indent=0.0, justified=False
            )
        if kind is Kind.LIST_ITEM:
            return replace(self, indent=0.0, gap=self.gap / 3, justified=False)
        return self


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle that text flows through, in points from the top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left


@dataclass(frozen=True, slots=True)
class _Line:
    words: tuple[str, ...]
    first: bool
    last: bool


@cache
def font(name: str) -> pymupdf.Font:
    """One of the fonts that come with PyMuPDF; they hold Latin, Greek and Cyrillic."""
    return pymupdf.Font(name)


@cache
def width(text: str, name: str, size: float) -> float:
    """Length of a text in points."""
    return float(font(name).text_length(text.replace(DIVISION, "-"), fontsize=size))


class Sheet:
    """A page that text is put on."""

    def __init__(self, document: pymupdf.Document, size: tuple[float, float]) -> None:
        self.page = document.new_page(width=size[0], height=size[1])
        self.area = Area(0, 0, *size)
        self._writer = pymupdf.TextWriter(self.page.rect)

    def write(self, x: float, y: float, text: str, name: str, size: float) -> None:
        """Put text with its base line's left end at (x, y)."""
        text = text.replace(DIVISION, "-")
        self._writer.append((x, y), text, font=font(name), fontsize=size)

    def finish(self) -> None:
        """Call once, when everything is written."""
        self._writer.write_text(self.page)


def flow(
    sheet: Sheet, blocks: Sequence[Block], areas: Sequence[Area], style: Style
) -> tuple[list[Block], float]:
    """Set blocks one under the other through the areas, and what was set, with the y below it.

    What does not fit is left out; a paragraph may be cut after a line, and is returned as it was cut.
    """
    pen = _Pen(sheet, areas)
    done: list[Block] = []
    for block in blocks:
        written = pen.set(block, style.of(block.kind), after=done[-1].kind if done else None)
        if written:
            done.append(Block(block.kind, written))
        if written != block.text:
            break
    return done, pen.y


class _Pen:
    """The place that the next line goes to."""

    def __init__(self, sheet: Sheet, areas: Sequence[Area]) -> None:
        self._sheet = sheet
        self._area, *self._later = areas
        self.y = self._area.top

    def set(self, block: Block, style: Style, after: Kind | None) -> str:
        """Set a block; returns the text that found room."""
        if after is not None and self.y > self._area.top:
            between = style.gap if block.kind is not Kind.HEADING else max(style.gap, 0.8 * style.size)
            self.y += between if after is not Kind.HEADING else max(style.gap, 0.3 * style.size)
        name = FAMILIES[style.family][block.kind is Kind.HEADING]
        hang = width("00. ", name, style.size) if block.kind is Kind.LIST_ITEM else 0.0
        need = 4 if block.kind is Kind.HEADING else 1  # no heading at the foot of a column
        lines = list(_broken(block.text, self._area.width - hang, name, style))
        written: list[str] = []
        for line in lines:
            if not self._make_room(style.line_height * need):
                break
            self._put(line, name, style, hang)
            written += line.words
            need = 1
        return _rejoined(written)

    def _make_room(self, height: float) -> bool:
        if self.y + height <= self._area.bottom:
            return True
        if not self._later:
            return False
        old = self._area
        self._area, *self._later = self._later
        if abs(old.width - self._area.width) > 0.5:
            raise ValueError("text flows through areas of one width only")
        self.y = self._area.top
        return self.y + height <= self._area.bottom

    def _put(self, line: _Line, name: str, style: Style, hang: float) -> None:
        base = self.y + style.size * ASCENT + (style.line_height - style.size) / 2
        left = self._area.left + (style.indent if line.first else hang if hang else 0.0)
        words = line.words
        if hang and line.first:
            self._sheet.write(self._area.left, base, words[0], name, style.size)
            left, words = self._area.left + hang, words[1:]
        room = self._area.right - left
        space = width(" ", name, style.size)
        natural = width(" ".join(words), name, style.size)
        stretch = (room - natural) / max(1, len(words) - 1)
        if style.justified and not line.last and stretch <= space * (LOOSEST_SPACE - 1):
            for word in words:
                self._sheet.write(left, base, word, name, style.size)
                left += width(word, name, style.size) + space + stretch
        else:
            self._sheet.write(left, base, " ".join(words), name, style.size)
        self.y += style.line_height


def _broken(text: str, room: float, name: str, style: Style) -> Iterator[_Line]:
    """The lines of a text. A divided word's first part ends in ``DIVISION``."""
    waiting = text.split(" ")[::-1]
    first = True
    while waiting:
        free = room - (style.indent if first else 0.0)
        words = [waiting.pop()]
        while waiting and width(" ".join([*words, waiting[-1]]), name, style.size) <= free:
            words.append(waiting.pop())
        if waiting and style.hyphenated:
            left = free - width(" ".join([*words, ""]), name, style.size)
            if parts := _divided(waiting[-1], left, name, style.size):
                words.append(f"{parts[0]}{DIVISION}")
                waiting[-1] = parts[1]
        yield _Line(tuple(words), first, not waiting)
        first = False


def _divided(word: str, room: float, name: str, size: float) -> tuple[str, str] | None:
    """The longest first part of a word that fits with a hyphen, and the rest."""
    if len(word) < SHORTEST_HYPHENATED or not word.isalpha() or not word.islower():
        return None
    cuts = [match.end() for match in HYPHENATION.finditer(word)]
    fitting = [
        cut
        for cut in cuts
        if FEWEST_LETTERS <= cut <= len(word) - FEWEST_LETTERS and width(f"{word[:cut]}-", name, size) <= room
    ]
    return (word[: fitting[-1]], word[fitting[-1] :]) if fitting else None


def _rejoined(words: Sequence[str]) -> str:
    """The text that was set: divisions undone, except where the text was cut there."""
    return " ".join(words).replace(f"{DIVISION} ", "").replace(DIVISION, "-")
