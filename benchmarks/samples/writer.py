"""Invents text from a seed: sentences, paragraphs, lists, tables."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.samples.blocks import Block, Kind
from benchmarks.samples.words import language

YEARS = (1871, 2019)


class Writer:
    """Writes in one language. The same generator state gives the same text."""

    def __init__(self, choose: random.Random, code: str = "en") -> None:
        self._choose = choose
        self._words = language(code)
        self._decks: dict[tuple[str, ...], list[str]] = {}

    def heading(self) -> Block:
        return Block(Kind.HEADING, self._phrase(self._words.headings))

    def paragraph(self, sentences: int) -> Block:
        return Block(Kind.PARAGRAPH, " ".join(self.sentence() for _ in range(sentences)))

    def list_items(self, count: int) -> list[Block]:
        """Numbered or bulleted; the mark is part of the text."""
        numbered = self._choose.random() < 0.5
        items = self._choose.sample(self._words.items, min(count, len(self._words.items)))
        marks = [f"{number}." if numbered else "•" for number in range(1, len(items) + 1)]
        return [
            Block(Kind.LIST_ITEM, f"{mark} {self._fill(item)}")
            for mark, item in zip(marks, items, strict=True)
        ]

    def sentence(self) -> str:
        """One sentence in one of several shapes, so that most punctuation turns up on a page."""
        clause, ending = self._clause(), self._phrase(self._words.endings)
        left, right = self._words.quotes
        shapes = (
            f"{clause} {ending}.",
            f"{clause} {ending}.",
            f"{clause}, {ending}.",
            f"{clause}; {self._clause()} {ending}.",
            f"{clause} ({ending}).",
            f"{clause} – {ending}.",
            f"{left}{_capital(clause)} {ending}{right}, {self._words.said} {self._name()}.",
        )
        return _capital(self._choose.choice(shapes))

    def table(self, rows: int) -> Block:
        """A header row and so many rows under it: a name in the first column, then figures."""
        names = self._choose.sample(TABLE_ITEMS, rows)
        kinds = self._choose.sample(list(self._cells()), self._choose.randint(2, 4))
        header = ("Item", *kinds)
        cells = self._cells()
        body = [(name, *(cells[kind]() for kind in kinds)) for name in names]
        return Block(Kind.TABLE, rows=(header, *body))

    def _cells(self) -> dict[str, Callable[[], str]]:
        choose = self._choose
        return {
            "Price": lambda: f"{choose.randint(1, 900)}.{choose.randint(0, 99):02d}",
            "Pieces": lambda: str(choose.randint(2, 4_000)),
            "Place": lambda: choose.choice(self._words.places),
            "Date": lambda: (
                f"{choose.randint(1, 28):02d}.{choose.randint(1, 12):02d}.{choose.randint(*YEARS)}"
            ),
            "Share": lambda: f"{choose.randint(1, 99)}.{choose.randint(0, 9)} %",
            "Weight": lambda: f"{choose.randint(2, 950)} kg",
        }

    def _clause(self) -> str:
        return f"{self._phrase(self._words.subjects)} {self._phrase(self._words.predicates)}"

    def _phrase(self, phrases: tuple[str, ...]) -> str:
        """One of the phrases; none comes again before all had their turn."""
        deck = self._decks.setdefault(phrases, [])
        if not deck:
            deck += self._choose.sample(phrases, len(phrases))
        return self._fill(deck.pop())

    def _name(self) -> str:
        return self._choose.choice(self._words.names)

    def _fill(self, phrase: str) -> str:
        choose, words = self._choose, self._words
        number = choose.choice((choose.randint(2, 40), choose.randint(41, 999)))
        price = choose.choice(words.prices).format(n=number, cents=f"{choose.randint(0, 99):02d}")
        date = words.date.format(
            day=choose.randint(1, 28), month=choose.choice(words.months), year=choose.randint(*YEARS)
        )
        return phrase.format(
            n=number,
            price=price,
            date=date,
            time=f"{choose.randint(6, 22)}:{choose.randint(0, 59):02d}",
            name=self._name(),
            place=choose.choice(words.places),
        )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


TABLE_ITEMS = (
    "Anchor chain",
    "Barley",
    "Candles",
    "Copper wire",
    "Dried fish",
    "Flour",
    "Grey cloth",
    "Iron nails",
    "Lamp oil",
    "Linen thread",
    "Maps",
    "Oak planks",
    "Paint",
    "Rope",
    "Salt",
    "Slate",
    "Soap",
    "Sugar",
    "Tallow",
    "Tar",
    "Tea",
    "Timber",
    "Wax",
    "Window glass",
    "Wool",
)
