"""``python -m benchmarks.quality.compare OUT``: what was expected of the sample corpus, and what came.

Prints nothing for an output that holds other documents.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.engines.base import SCRIPT_FLAG
from benchmarks.quality.measure import SAMPLES, KnownFile, sample_files
from benchmarks.quality.metrics import PageScore, score_page
from benchmarks.quality.text import known_text, plain_text
from benchmarks.samples.blocks import KnownPage
from manifests.documents import local_path
from results.local_store import LocalStore
from results.rows import Status
from results.store import Store
from results.unit_files import list_sealed, read_rows

COLUMNS = ["uri", "page", "status", "reason", "flags", "text"]
WIDTH = 100
MOST_CHARACTERS = 200
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """A document's known pages, each with the row that came of it."""

    file: KnownFile
    rows: tuple[Row | None, ...]

    @property
    def pages(self) -> list[tuple[KnownPage, str]]:
        """Each known page and the Markdown that came; a blank page's note is no text."""
        return [
            (known, row["text"] if row and row["status"] in (Status.OK, Status.FALLBACK) else "")
            for known, row in zip(self.file.known.pages, self.rows, strict=True)
        ]

    @property
    def scores(self) -> list[PageScore]:
        return [score_page(known, text) for known, text in self.pages]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.compare", description=__doc__)
    parser.add_argument("output", type=Path, help="folder that `pagefleet ocr` wrote the samples into")
    folder = parser.parse_args().output
    console = Console()
    if compared := compare(LocalStore(folder)):
        show(compared, Console(width=min(console.width, WIDTH)))


def compare(store: Store, samples: Path = SAMPLES) -> list[Compared]:
    """Every document of the samples that is in the output, in the order of ``known_text.json``."""
    rows = _rows(store)
    return [
        Compared(file, tuple(pages.get(number) for number in range(1, len(file.known.pages) + 1)))
        for file in sample_files(samples)
        if (pages := rows.get(file.path.resolve()))
    ]


def show(compared: Sequence[Compared], console: Console) -> None:
    """Print a table of the documents and a closing line."""
    table = Table(
        "document", "expected, and what came", "errors", "status, flags", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column, width in zip(table.columns, (20, console.width - 56, 6, 18), strict=True):
        column.width = width
    table.columns[1].no_wrap = True
    table.columns[2].justify = "right"
    for document in compared:
        name = document.file.name.removeprefix("documents/")
        page_class = document.file.known.page_class.replace("_", " ")
        table.add_row(
            Text(f"{name}\n") + Text(page_class, "dim"),
            _first_words(document),
            _errors(document.scores),
            _endings(document.rows),
            end_section=True,
        )
    console.print(table)
    console.print(_closing_line(compared), highlight=False)


def _rows(store: Store) -> dict[Path, dict[int, Row]]:
    """The rows of sealed units by file and page; those of remote documents left out."""
    found: dict[Path, dict[int, Row]] = {}
    for _, entry in list_sealed(store):
        table = read_rows(store, entry.path, COLUMNS)
        for row in table.to_pylist() if table is not None else ():
            if "://" not in row["uri"]:
                found.setdefault(local_path(row["uri"]).resolve(), {})[row["page"]] = row
    return found


def _first_words(document: Compared) -> Text:
    """The beginnings of both texts, from the first page that has any; one line each."""
    pages = [(known_text(known), plain_text(text)) for known, text in document.pages]
    expected, came = next((page for page in pages if any(page)), ("", ""))
    return Text("\n").join(
        Text(text[:MOST_CHARACTERS] or "(nothing)", "" if text else "dim") for text in (expected, came)
    )


def _errors(scores: Sequence[PageScore]) -> Text:
    """Character error rate of the document, or how many characters were read where there are none."""
    known, edits = _sums(scores)
    if not known:
        return Text(f"{edits} ch", style="red" if edits else "green")
    rate = edits / known
    return Text(f"{rate:.1%}", style="green" if rate <= 0.01 else "yellow" if rate <= 0.05 else "red")


def _sums(scores: Sequence[PageScore]) -> tuple[int, int]:
    known = sum(score.known_characters for score in scores)
    return known, sum(score.character_edits for score in scores)


def _endings(rows: Sequence[Row | None]) -> str:
    """Statuses of the pages, with how many where they differ, and flags."""
    statuses = Counter(row["status"] if row else "no row" for row in rows)
    single = len(statuses) == 1
    words = [status if single else f"{status} {count}" for status, count in statuses.items()]
    return "\n".join([", ".join(words), *sorted(_flags(rows))])


def _flags(rows: Sequence[Row | None]) -> set[str]:
    """Flags of the pages; a detail after a colon is left out."""
    return {flag.partition(":")[0] for row in rows if row for flag in row["flags"] or ()}


def _closing_line(compared: Sequence[Compared]) -> str:
    """How many characters differ, in documents whose script the engine says it covers."""
    covered = [document for document in compared if SCRIPT_FLAG not in _flags(document.rows)]
    known, edits = _sums([score for document in covered for score in document.scores])
    pages = sum(len(document.rows) for document in compared)
    line = f"{len(compared)} documents of known text, {pages} pages. Wrong: "
    line += f"{edits:,} of {known:,} characters ({edits / max(known, 1):.2%})"
    if uncovered := len(compared) - len(covered):
        line += f", {uncovered} in an uncovered script left out"
    return f"{line}."


if __name__ == "__main__":
    main()
