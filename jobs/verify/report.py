"""What ``pagefleet verify`` found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rich.console import Console
from rich.text import Text

MAX_KEPT = 1000
"""Findings of one kind that are kept with their names; all are counted."""

MAX_SHOWN = 20


class Kind(StrEnum):
    """What can be wrong with an output. Each makes the answer "not well"."""

    UNFINISHED = "unfinished"
    MISSING = "missing"
    DOUBLED = "doubled"
    ORPHAN = "orphan"
    INVALID = "invalid"
    FOOTER = "footer"
    SCHEMA = "schema"
    UNREADABLE = "unreadable"
    MARKDOWN = "markdown"
    SUMMARY = "summary"
    CHANGED = "changed"


MEANINGS = {
    Kind.UNFINISHED: "units that are not sealed yet, or a job that never came to its end",
    Kind.MISSING: "pages and documents without a row",
    Kind.DOUBLED: "rows of a page that has one already (--repair takes them away)",
    Kind.ORPHAN: "rows and documents nobody asked for",
    Kind.INVALID: "rows that contradict themselves",
    Kind.FOOTER: "footers that disagree with their rows",
    Kind.SCHEMA: "files with other columns than documented",
    Kind.UNREADABLE: "files that cannot be read",
    Kind.MARKDOWN: "Markdown that is missing, different or nobody's",
    Kind.SUMMARY: "summary.json or failures.jsonl disagree with the rows",
    Kind.CHANGED: "sources that changed since they were read",
}


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong. ``pages`` is like ``3`` or ``3-7,9``; what does not apply is empty."""

    kind: Kind
    what: str
    where: str = ""
    doc_id: str = ""
    pages: str = ""

    def __str__(self) -> str:
        subject = " ".join(filter(None, [self.doc_id, self.pages and f"page {self.pages}"]))
        place = f"{subject} in {self.where}" if subject and self.where else subject or self.where
        return f"{place}: {self.what}" if place else self.what


@dataclass(slots=True)
class Findings:
    """All that was found: counts by kind, the first of each by name, warnings, and totals of the rows.

    ``documents`` counts distinct documents, ``statuses`` the rows of sealed units.
    """

    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    named: dict[Kind, list[Defect]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    warnings: list[str] = field(default_factory=list)
    warning_count: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    documents: int = 0
    units: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong. Warnings do not count."""
        return not any(self.counts.values())

    @property
    def pages(self) -> int:
        """Rows in sealed units."""
        return sum(self.statuses.values())

    def add(self, defect: Defect, count: int = 1) -> None:
        """Count a defect that stands for ``count`` pages, rows or files."""
        self.counts[defect.kind] += count
        if len(self.named[defect.kind]) < MAX_KEPT:
            self.named[defect.kind].append(defect)

    def warn(self, message: str) -> None:
        """Tell something that is worth knowing but not wrong."""
        self.warning_count += 1
        if len(self.warnings) < MAX_KEPT:
            self.warnings.append(message)

    def verdict(self) -> str:
        """The last line of the report."""
        if self.ok:
            return f"verified: {self.pages:,} pages in {self.documents:,} documents, all well"
        counts = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items() if count)
        return f"NOT well: {counts}"


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """One line per kind with its count, the first findings by name, warnings, and the verdict.

    Names come from files and manifests: nothing in them is taken as markup or sent as control codes.
    """
    out = console or Console(highlight=False)

    def line(text: str, style: str = "") -> None:
        out.print(Text(_printable(text), style=style), soft_wrap=True)

    line(f"{findings.units:,} sealed units, {findings.pages:,} rows: {_statuses(findings.statuses)}")
    for kind, count in findings.counts.items():
        line(f"{count:>12,}  {kind:<11} {MEANINGS[kind]}", "bold red" if count else "")
    for kind, named in findings.named.items():
        for defect in named[:MAX_SHOWN]:
            line(f"{kind}: {defect}")
        if len(named) > MAX_SHOWN:
            line(f"{kind}: … and more of them, {findings.counts[kind]:,} in all")
    for warning in findings.warnings[:MAX_SHOWN]:
        line(f"warning: {warning}", "yellow")
    if findings.warning_count > MAX_SHOWN:
        line(f"warning: … and more of them, {findings.warning_count:,} in all", "yellow")
    line(findings.verdict(), "bold green" if findings.ok else "bold red")


def _statuses(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items())) or "no pages"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
