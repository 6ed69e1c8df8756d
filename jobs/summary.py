"""What it came to: rows counted against the plan, ``summary.json``, ``failures.jsonl``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from manifests.errors import JobError
from manifests.pages import DOCUMENT_PAGE, format_spans, spans_of
from results.rows import Status
from results.store import Store
from results.unit_files import Footer, list_sealed, read_footer, read_rows, sealed_path

READ_THREADS = 16
WELL_READ = {Status.OK, Status.FALLBACK}


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
    unit_ids = [unit_id for unit_id, _ in list_sealed(store)]
    with ThreadPoolExecutor(READ_THREADS) as threads:
        for footer in threads.map(lambda unit_id: read_footer(store, unit_id), unit_ids):
            if footer is not None:
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
    footers = (read_footer(store, unit_id) for unit_id, _ in list_sealed(store))
    return any(footer is not None and WELL_READ & footer.counts.keys() for footer in footers)


def check_against_plan(totals: Totals, planned: Iterable[str]) -> None:
    """Every planned unit must be sealed (sealing checked every page). Raises JobError."""
    missing = sorted(set(planned) - totals.units)
    if missing:
        raise JobError(
            f"{len(missing)} planned units have no sealed file ({', '.join(missing[:5])}): rows do not "
            "match the plan. Run the same command again; 'pagefleet verify' tells what is missing"
        )


def failures(store: Store, totals: Totals) -> Iterator[dict[str, Any]]:
    """One manifest row per document with failed pages: feed it back in, or use ``pagefleet retry``."""
    columns = ["doc_id", "uri", "page", "status", "reason"]
    for unit_id in totals.with_failures:
        table = read_rows(store, sealed_path(unit_id), columns)
        if table is None:
            continue
        failed = table.filter(pc.equal(table.column("status"), Status.FAILED)).to_pylist()
        documents: dict[str, list[dict[str, Any]]] = {}
        for row in failed:
            documents.setdefault(row["doc_id"], []).append(row)
        for doc_id, rows in documents.items():
            pages = [row["page"] for row in rows if row["page"] != DOCUMENT_PAGE]
            line = {"uri": rows[0]["uri"], "id": doc_id}
            if pages:
                line["pages"] = format_spans(spans_of(pages))
            yield {**line, "reason": rows[0]["reason"], "failed_pages": len(rows)}


def write_reports(store: Store, totals: Totals, run: dict[str, Any]) -> dict[str, Any]:
    """Write ``failures.jsonl`` and ``summary.json``; returns the summary."""
    lines = [json.dumps(line, ensure_ascii=False) for line in failures(store, totals)]
    store.replace("failures.jsonl", "".join(f"{line}\n" for line in lines).encode())
    summary = {
        "documents": totals.documents,
        "units": len(totals.units),
        "pages": dict(totals.counts),
        "tokens": dict(totals.tokens),
        "flags": dict(totals.flags),
        "cut": {"pages": totals.cut_pages, "documents_shortened": totals.cut_documents},
        "run": run,
    }
    store.replace("summary.json", json.dumps(summary, indent=2, ensure_ascii=False).encode())
    return summary
