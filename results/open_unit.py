"""What the writer remembers of a unit under way: which pages it has, never their texts for long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import JobError
from manifests.pages import DOCUMENT_PAGE, PageSpan, PlannedPages, plan_pages, spans_of, subtract_spans
from manifests.units import UnitPlan
from results.rows import SCHEMA, Status

ANSWERED = frozenset({Status.OK, Status.FALLBACK})
UNREAD = frozenset({Status.BLANK, Status.FAILED, Status.SKIPPED})
"""What a page is as a whole: one row of it stands for all variants."""

COLUMNS = ("doc_id", "page", "variant", "page_count", "source_version", "status")
"""What has to be known of a row to keep track of it."""


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What is stored of a document: its page count (0: unknown), its version, its pages with a row
    in every variant, and how many rows an engine read well."""

    page_count: int
    version: str
    stored: tuple[PageSpan, ...]
    answered: int = 0


class OpenUnit:
    """The pages of one generation of one unit, one byte for each variant of each."""

    def __init__(self, plan: UnitPlan) -> None:
        self.plan = plan
        self.page_counts: dict[int, int] = {}
        self.versions = {i: d.version for i, d in enumerate(plan.documents) if d.version}
        self.index = {document.doc_id: i for i, document in enumerate(plan.documents)}
        self._slots = {variant: i for i, variant in enumerate(plan.variants)}
        self._pages: dict[int, list[bytearray]] = {}
        self._answered: Counter[int] = Counter()

    def admit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Remember a batch's pages and return the rows that are new.

        A page that was not read is one row for all variants when it comes; returned is one for each. A
        document that cannot be opened any more, though pages of it are stored, fails in the others.
        Dropped: a row there is already (the same work done twice after a fault), and a row of another
        version of the source than the one this unit is reading.
        """
        batch = self._spread(batch)
        kept = self.note(batch)
        return batch if len(kept) == batch.num_rows else batch.take(pa.array(kept, pa.int32()))

    def note(self, batch: pa.RecordBatch) -> list[int]:
        """Remember rows that are stored, by ``COLUMNS``; returns the indexes of those that count."""
        columns = (batch.column(name).to_pylist() for name in COLUMNS)
        kept = []
        for row, key in enumerate(zip(*columns, strict=True)):
            doc_id, page, variant, page_count, version, status = key
            i = self.index.get(doc_id, -1)
            if i < 0 or (version and self.versions.setdefault(i, version) != version):
                continue
            pages = self._pages.get(i)
            if pages is None:
                pages = self._pages[i] = [bytearray(page_count + 1) for _ in self._slots]
            if self._note(i, pages, page, self._slots.get(variant, -1) if page != DOCUMENT_PAGE else 0):
                kept.append(row)
                if page_count:
                    self.page_counts[i] = page_count
                if status in ANSWERED:
                    self._answered[i] += 1
        return kept

    def _note(self, doc_index: int, pages: list[bytearray], page: int, slot: int) -> bool:
        if slot < 0 or pages[0][DOCUMENT_PAGE]:
            return False
        if page == DOCUMENT_PAGE and self._has_pages(doc_index):
            return False
        mine = pages[slot]
        if page >= len(mine):
            mine.extend(bytes(page - len(mine) + 1))
        if mine[page]:
            return False
        mine[page] = 1
        return True

    def _spread(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows that stand for more than one, as those."""
        variants = batch.column("variant").to_pylist()
        if self._slots.keys() >= set(variants) and DOCUMENT_PAGE not in batch.column("page").to_pylist():
            return batch
        columns = (batch.column(name).to_pylist() for name in ("doc_id", "page", "variant", "status"))
        rows: list[int] = []
        keys: list[tuple[int, str]] = []
        changed = False
        for row, (doc_id, page, variant, status) in enumerate(zip(*columns, strict=True)):
            stands_for = [(page, variant)]
            if page == DOCUMENT_PAGE:
                stands_for = self._left_to_fail(doc_id) or [(page, variant)]
            elif variant not in self._slots and status in UNREAD:
                stands_for = [(page, owed) for owed in self._slots]
            elif variant not in self._slots:
                raise JobError(
                    f"unit {self.plan.unit_id}: {doc_id} page {page} came in variant {variant!r}, owed are "
                    f"{', '.join(map(repr, self._slots))}. This is a bug; what is stored is safe"
                )
            changed = changed or stands_for != [(page, variant)]
            keys += stands_for
            rows += [row] * len(stands_for)
        if not changed:
            return batch
        counts = [self.page_counts.get(self.index.get(d, -1), 0) for d in batch.column("doc_id").to_pylist()]
        batch = batch.take(pa.array(rows, pa.int32()))
        known = pa.array([counts[row] for row in rows], pa.int32())
        page_count = pc.if_else(pc.equal(batch.column("page_count"), 0), known, batch.column("page_count"))
        columns_now = {
            "page": pa.array([page for page, _ in keys], pa.int32()),
            "variant": pa.array([variant for _, variant in keys], pa.string()),
            "page_count": page_count,
        }
        return pa.RecordBatch.from_arrays(
            [columns_now.get(name, batch.column(name)) for name in SCHEMA.names], schema=SCHEMA
        )

    def _left_to_fail(self, doc_id: str) -> list[tuple[int, str]]:
        """The pages and variants without a row of a document that was opened once."""
        i = self.index.get(doc_id, -1)
        page_count = self.page_counts.get(i, 0)
        if not page_count or not self._has_pages(i):
            return []
        spans = subtract_spans(self.planned(i, page_count).read, self._stored(i))
        return [(page, variant) for span in spans for page in span for variant in self._slots]

    def restart(self, doc_index: int, version: str) -> None:
        """Forget a document's rows: its source changed and is read again from page 1."""
        self._pages.pop(doc_index, None)
        self._answered.pop(doc_index, None)
        self.page_counts.pop(doc_index, None)
        self.versions[doc_index] = version
        self.plan = self.plan.restarted(doc_index, version)

    def has(self, doc_index: int, page: int) -> bool:
        """Whether a page has a row in every variant; that of the whole document counts for all."""
        variants = self._pages.get(doc_index)
        if variants is None:
            return False
        if page == DOCUMENT_PAGE:
            return bool(variants[0][DOCUMENT_PAGE])
        return all(page < len(pages) and pages[page] for pages in variants)

    def planned(self, doc_index: int, page_count: int) -> PlannedPages:
        """What this generation owes of a document with so many pages."""
        document = self.plan.wanted(doc_index)
        return plan_pages(document.pages, document.max_pages, page_count)

    def states(self) -> dict[int, DocumentState]:
        """What is stored, for every wanted document that has rows."""
        return {
            i: DocumentState(
                self.page_counts.get(i, 0), self.versions.get(i, ""), self._stored(i), self._answered[i]
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
            elif left := subtract_spans(self.planned(i, page_count).read, self._stored(i)):
                missing[i] = left
        return missing

    def _has_pages(self, doc_index: int) -> bool:
        return any(any(pages[1:]) for pages in self._pages.get(doc_index, ()))

    def _stored(self, doc_index: int) -> tuple[PageSpan, ...]:
        """Pages with a row in every variant."""
        if doc_index not in self._pages:
            return ()
        variants = [np.frombuffer(pages, np.uint8) for pages in self._pages[doc_index]]
        shortest = min(map(len, variants))
        there = np.logical_and.reduce([pages[:shortest] for pages in variants])
        there[DOCUMENT_PAGE] = variants[0][DOCUMENT_PAGE]
        return spans_of(np.flatnonzero(there).tolist())
