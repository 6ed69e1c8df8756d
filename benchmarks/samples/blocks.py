"""What is known of a drawn page: its blocks in reading order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a block is to a reader."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    TABLE = "table"
    PAGE_NUMBER = "page_number"


@dataclass(frozen=True, slots=True)
class Block:
    """A run of text as its author wrote it, without line ends; a table has ``rows`` of cells instead."""

    kind: Kind
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The block's text; a table gives one line per row."""
        return tuple(" ".join(row) for row in self.rows) if self.rows else (self.text,)

    def to_json(self) -> dict[str, Any]:
        return {"kind": str(self.kind), **({"rows": self.rows} if self.rows else {"text": self.text})}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Block:
        rows = tuple(tuple(row) for row in fields.get("rows", ()))
        return cls(Kind(fields["kind"]), fields.get("text", ""), rows)


@dataclass(frozen=True, slots=True)
class KnownPage:
    """What a perfect reader would read on a page: nothing on a blank one."""

    blocks: tuple[Block, ...] = ()

    @property
    def text(self) -> str:
        """Plain text in reading order, a blank line between blocks."""
        return "\n\n".join("\n".join(block.lines) for block in self.blocks)

    @property
    def tables(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        return tuple(block.rows for block in self.blocks if block.rows)


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A drawn file: the class of page it stands for, the script's language, and its pages."""

    page_class: str
    language: str
    pages: tuple[KnownPage, ...]

    def to_json(self) -> dict[str, Any]:
        pages = [[block.to_json() for block in page.blocks] for page in self.pages]
        return {"class": self.page_class, "language": self.language, "pages": pages}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> KnownDocument:
        pages = tuple(KnownPage(tuple(map(Block.from_json, blocks))) for blocks in fields["pages"])
        return cls(fields["class"], fields["language"], pages)
