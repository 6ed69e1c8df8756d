"""Figures as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, with the target it is held against (``""``: none) and whether it is met."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Report:
    """A benchmark's lines and everything it measured."""

    name: str
    lines: list[Line] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, value: str, target: str = "", met: bool | None = None) -> None:
        self.lines.append(Line(what, value, target, met))

    def show(self) -> str:
        return "\n".join([self.name, *_columns(self.lines)])

    def to_json(self) -> dict[str, Any]:
        lines = [{"what": x.what, "value": x.value, "target": x.target, "met": x.met} for x in self.lines]
        return {"lines": lines, **self.data}


def _columns(lines: Sequence[Line]) -> list[str]:
    wide = max((len(line.what) for line in lines), default=0)
    words = {True: "met", False: "MISSED", None: ""}
    return [f"  {x.what:<{wide}}  {x.value:<34} {x.target:<12} {words[x.met]}".rstrip() for x in lines]


def mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"
