"""What the writer remembers of a unit under way: which pages it has, never their texts for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from manifests.pages import DOCUMENT_PAGE, PageSpan, PlannedPages, plan_pages, spans_of, subtract_pages
from manifests.units import UnitPlan
from results.rows import Status

BEYOND = "beyond last page"
ANSWERED = frozenset({Status.OK, Status.FALLBACK})


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What is stored of a document: its page count (0: unknown), its version, its pages with a row,
    and how many of those an engine read well."""

    page_count: int
    version: str
    stored: tuple[PageSpan, ...]
    answered: int = 0


class OpenUnit:
    """The pages of one generation of one unit, one byte each, and the rows not flushed yet."""

    def __init__(self, plan: UnitPlan) -> None:
        self.plan = plan
        self.page_counts: dict[int, int] = {}
        self.versions = {i: d.version for i, d in enumerate(plan.documents) if d.version}
        self.buffer: list[pa.RecordBatch] = []
        self.index = {document.doc_id: i for i, document in enumerate(plan.documents)}
        self._pages: dict[int, bytearray] = {}
        self._answered: Counter[int] = Counter()

    def admit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Remember a batch's pages and return the rows that are new.

        Dropped: a page there is a row for already (the same work done twice after a fault), and a
        row of another version of the source than the one this unit is reading.
        """
        keys = zip(
            batch.column("doc_id").to_pylist(),
            batch.column("page").to_pylist(),
            batch.column("page_count").to_pylist(),
            batch.column("source_version").to_pylist(),
            batch.column("status").to_pylist(),
            strict=True,
        )
        kept = []
        for row, (doc_id, page, page_count, version, status) in enumerate(keys):
            i = self.index[doc_id]
            if self._admit(i, page, page_count, version):
                kept.append(row)
                self._answered[i] += status in ANSWERED
        return batch if len(kept) == batch.num_rows else batch.take(pa.array(kept, pa.int32()))

    def _admit(self, doc_index: int, page: int, page_count: int, version: str) -> bool:
        if version and self.versions.setdefault(doc_index, version) != version:
            return False
        pages = self._pages.setdefault(doc_index, bytearray(page_count + 1))
        if page >= len(pages):
            pages.extend(bytes(page - len(pages) + 1))
        if pages[page]:
            return False
        pages[page] = 1
        if page_count:
            self.page_counts[doc_index] = page_count
        return True

    def restart(self, doc_index: int, version: str) -> None:
        """Forget a document's rows: its source changed and is read again from page 1."""
        self._pages.pop(doc_index, None)
        self.page_counts.pop(doc_index, None)
        self.versions[doc_index] = version
        self.plan = self.plan.restarted(doc_index, version)

    def has(self, doc_index: int, page: int) -> bool:
        pages = self._pages.get(doc_index)
        return pages is not None and page < len(pages) and bool(pages[page])

    def planned(self, doc_index: int, page_count: int) -> PlannedPages:
        """What this generation owes of a document with so many pages."""
        document = self.plan.wanted(doc_index)
        return plan_pages(document.pages, document.max_pages, page_count)

    def states(self) -> dict[int, DocumentState]:
        """What is stored, for every wanted document that has rows."""
        return {
            i: DocumentState(
                self.page_counts.get(i, 0),
                self.versions.get(i, ""),
                spans_of(page for page, there in enumerate(self._pages[i]) if there),
                self._answered[i],
            )
            for i in self.plan.wanted_indexes()
            if i in self._pages
        }

    def missing(self, page_counts: dict[int, int]) -> dict[int, tuple[PageSpan, ...]]:
        """Pages without a row, by document; an empty tuple for a document never opened.

        ``page_counts`` adds what the driver learned of documents that have no row yet.
        """
        missing: dict[int, tuple[PageSpan, ...]] = {}
        for i in self.plan.wanted_indexes():
            if self.has(i, DOCUMENT_PAGE):
                continue
            page_count = self.page_counts.get(i) or page_counts.get(i, 0)
            if not page_count:
                missing[i] = ()
            elif left := subtract_pages(self.planned(i, page_count).read, self._stored_pages(i)):
                missing[i] = left
        return missing

    def skipped(self, doc_index: int, page_count: int) -> Iterator[tuple[int, str]]:
        """Pages that were asked for but are not there, with the reason, unless they have a row.

        A selection that meets no page at all leaves one row for the document, so that it is not lost.
        """
        planned = self.planned(doc_index, page_count)
        if not planned.read and not planned.beyond:
            reason = f"the selection {self.plan.wanted(doc_index).pages!r} meets none of {page_count} pages"
            yield from [(DOCUMENT_PAGE, reason)] if not self.has(doc_index, DOCUMENT_PAGE) else ()
        for span in planned.beyond:
            yield from ((page, BEYOND) for page in span if not self.has(doc_index, page))

    def _stored_pages(self, doc_index: int) -> list[int]:
        return [page for page, there in enumerate(self._pages.get(doc_index, b"")) if there]
