"""Markdown as plain text and as tables, the same way for every engine and for the known text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from benchmarks.samples.blocks import Block, Kind, KnownPage

SAME = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»‹›″", '"'),
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}\N{BYTE ORDER MARK}", ""),
    }
)
"""Typographic marks that say the same are taken for one: which of them is printed is no reading error."""
BULLETS = "•·●▪◦*"
DIVISION = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")

Matrix = tuple[tuple[str, ...], ...]
"""Cells of a table, row by row."""


def plain_text(markdown: str) -> str:
    """What a reader would read aloud: marks and bullets gone, a word divided at a line's end joined again.

    Numbers of lists stay. White space is collapsed, typographic quotes and dashes are made plain.
    """
    return _normal(_joined("\n".join(_lines(_parser().parse(markdown)))))


def known_text(page: KnownPage) -> str:
    """A page's known text in the form of ``plain_text``."""
    return _normal("\n".join(line for block in page.blocks for line in known_lines(block)))


def known_lines(block: Block) -> list[str]:
    """A block's lines in the form of ``plain_text``."""
    lines = [_normal(line) for line in block.lines]
    return [line.lstrip(f"{BULLETS} ") for line in lines] if block.kind is Kind.LIST_ITEM else lines


def tables(markdown: str) -> list[Matrix]:
    """The cells of every Markdown table, header row first, in the form of ``plain_text``."""
    found: list[Matrix] = []
    rows: list[tuple[str, ...]] = []
    cells: list[str] = []
    tokens = _parser().parse(markdown)
    for index, token in enumerate(tokens):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            cells = []
        elif token.type in ("th_open", "td_open"):
            cells.append(_normal(_inline(tokens[index + 1])))
        elif token.type == "tr_close":
            rows.append(tuple(cells))
        elif token.type == "table_close":
            found.append(tuple(rows))
    return found


def known_tables(page: KnownPage) -> list[Matrix]:
    """The cells of a page's tables in the form of ``tables``."""
    return [tuple(tuple(_normal(cell) for cell in row) for row in table) for table in page.tables]


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")


def _lines(tokens: Sequence[Token]) -> Iterator[str]:
    number = ""
    cells: list[str] | None = None
    for token in tokens:
        if token.type == "list_item_open" and token.info:
            number = f"{token.info}{token.markup} "
        elif token.type == "list_item_close" and number:
            yield number  # an item without text
            number = ""
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close" and cells is not None:
            yield " ".join(cells)
            cells = None
        elif token.type == "inline" and cells is not None:
            cells.append(_inline(token))
        elif token.type == "inline" or token.type in ("code_block", "fence", "html_block"):
            yield number + _inline(token).lstrip(BULLETS)
            number = ""


def _inline(token: Token) -> str:
    """The text of an inline token; its line ends kept."""
    if token.children is None:
        return token.content
    breaks = {"softbreak": "\n", "hardbreak": "\n"}
    return "".join(breaks.get(child.type, child.content) for child in token.children)


def _joined(text: str) -> str:
    """Words that were divided at line ends, joined where the next line goes on in lower case."""
    return DIVISION.sub(lambda match: "" if match.string[match.end()].islower() else "-", text)


def _normal(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text.translate(SAME)).replace("--", "-")
    return " ".join(plain.split())
