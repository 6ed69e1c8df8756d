"""What it came to: rows counted against the plan, ``summary.json``, ``failures.jsonl``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from manifests.errors import JobError
from manifests.pages import DOCUMENT_PAGE, format_spans, spans_of
from results.open_unit import ANSWERED
from results.output import Output
from results.reasons import alike
from results.rows import Status
from results.selection import FAILED
from results.spool import Spool
from results.store import Store
from results.unit_files import Footer, read_footer

SUMMARY_PATH = "summary.json"
FAILURES_PATH = "failures.jsonl"
TOP_REASONS = 5


@dataclass(slots=True)
class Totals:
    """All sealed units of an output, added up from their footers."""

    units: set[str] = field(default_factory=set)
    documents: int = 0
    cut_pages: int = 0
    cut_documents: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    with_failures: list[str] = field(default_factory=list)
    generations: Counter[int] = field(default_factory=Counter)

    @property
    def pages(self) -> int:
        return sum(self.counts.values())


def total_up(store: Store) -> Totals:
    """Read every footer. Milliseconds per unit, no rows."""
    totals = Totals()
    for footer in Output(store).units():
        _add(totals, footer)
    return totals


def _add(totals: Totals, footer: Footer) -> None:
    totals.units.add(footer.unit_id)
    totals.documents += len(footer.documents)
    totals.cut_pages += footer.cut_pages
    totals.cut_documents += sum(
        bool(sealed.document.max_pages and sealed.page_count > sealed.document.max_pages)
        for sealed in footer.documents
    )
    totals.counts.update(footer.counts)
    totals.tokens.update(footer.tokens)
    totals.flags.update(footer.flags)
    totals.generations[footer.generation] += 1
    if footer.counts.get(Status.FAILED):
        totals.with_failures.append(footer.unit_id)


def was_ever_read(store: Store) -> bool:
    """Whether any sealed unit holds a page that an engine read well. Stops at the first."""
    return any(ANSWERED & footer.counts.keys() for footer in Output(store).units())


def check_against_plan(totals: Totals, planned: Iterable[str]) -> None:
    """Every planned unit must be sealed (sealing checked every page). Raises JobError."""
    missing = sorted(set(planned) - totals.units)
    if missing:
        raise JobError(
            f"{len(missing)} planned units have no sealed file ({', '.join(missing[:5])}): rows do not "
            "match the plan. Run the same command again; 'pagefleet verify' tells what is missing"
        )


def failed_documents(store: Store, unit_ids: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    """The failed rows of these sealed units, a document at a time; with ``images`` where it has several."""
    columns = ("doc_id", "uri", "page", "variant", "reason")
    for unit_id in unit_ids:
        footer = read_footer(store, unit_id)
        documents = (sealed.document for sealed in footer.documents) if footer else ()
        images = {d.doc_id: [source.uri for source in d.sources] for d in documents if d.sources}
        tables = Output(store).rows_of(unit_id, columns, FAILED)
        rows = (row for table in tables for row in table.to_pylist())
        for doc_id, document in groupby(rows, key=itemgetter("doc_id")):
            several = {"images": images[doc_id]} if doc_id in images else {}
            yield [row | several for row in document]


def as_manifest_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A document's failed rows as a manifest row: feed it back in, or use ``pagefleet retry``."""
    address = "images" if "images" in rows[0] else "uri"
    line = {address: rows[0][address], "id": rows[0]["doc_id"]}
    if pages := {row["page"] for row in rows} - {DOCUMENT_PAGE}:
        line["pages"] = format_spans(spans_of(pages))
    if variants := sorted({row["variant"] for row in rows} - {""}):
        line["variants"] = variants
    return {**line, "reason": rows[0]["reason"], "failed_pages": len(rows)}


def write_reports(store: Store, totals: Totals, run: dict[str, Any]) -> dict[str, Any]:
    """Write ``failures.jsonl`` and ``summary.json``; returns the summary."""
    reasons = Counter[str]()
    with Spool(store) as lines:
        for rows in failed_documents(store, totals.with_failures):
            lines.append((json.dumps(as_manifest_row(rows), ensure_ascii=False) + "\n").encode())
            reasons.update(alike(row["reason"], row["uri"], row["doc_id"]) for row in rows)
        lines.put(FAILURES_PATH)
    summary = {
        "documents": totals.documents,
        "units": len(totals.units),
        "pages": dict(totals.counts),
        "failure_reasons": dict(reasons.most_common(TOP_REASONS)),
        "tokens": dict(totals.tokens),
        "flags": dict(totals.flags),
        "cut": {"pages": totals.cut_pages, "documents_shortened": totals.cut_documents},
        "run": run,
    }
    store.replace(SUMMARY_PATH, json.dumps(summary, indent=2, ensure_ascii=False).encode())
    return summary
