"""What the driver knows of a unit under way: its plan as it stands, and what was given to the writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from manifests.pages import DOCUMENT_PAGE, PageSpan, plan_pages, spans_of, subtract_pages
from manifests.units import UnitPlan
from manifests.work import RenderItem
from results.open_unit import DocumentState
from results.rows import ResultRow, Status

MAX_RESTARTS = 3
MAX_SEALS = 20
NO_VERSION = "changing"
"""The version of a source that changed again and again while it was read: none it ever had, so that no row
of any is taken, and a later run reads it again."""


@dataclass(slots=True)
class RunningUnit:
    """One generation of a unit, from its opening until it is sealed."""

    plan: UnitPlan
    opened: bool = False
    sealing: bool = False
    writes: int = 0
    held: int = 0
    """Failures that nobody has decided on yet."""
    versions: dict[int, str] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    _restarts: Counter[int] = field(default_factory=Counter)
    _seals: int = 0
    _missing: int = 0
    _indexes: dict[str, int] = field(default_factory=dict)

    def index_of(self, doc_id: str) -> int:
        """A document's place in the plan."""
        if not self._indexes:
            self._indexes = {document.doc_id: i for i, document in enumerate(self.plan.documents)}
        return self._indexes[doc_id]

    def left_to_read(
        self, states: dict[int, DocumentState], page_counts: dict[int, int]
    ) -> tuple[list[RenderItem], int]:
        """What is to be rendered, given what is stored; and how many stored pages an engine answered.

        Adds the page counts that are known to ``page_counts``.
        """
        items, answered = [], 0
        for i in self.plan.wanted_indexes():
            document = self.plan.wanted(i)
            state = states.get(i)
            stale = state is not None and document.version and state.version != document.version
            if state is None or stale or not state.stored:
                items.append(RenderItem(i, document))
                continue
            answered += state.answered
            self.versions[i] = state.version
            if state.stored[0].first == DOCUMENT_PAGE:
                continue
            planned = plan_pages(document.pages, document.max_pages, state.page_count).read
            left = subtract_pages(planned, (page for span in state.stored for page in span))
            page_counts[i] = state.page_count
            if left:
                items.append(RenderItem(i, document, left))
        return items, answered

    def items_of(self, pages: Iterable[tuple[int, int]]) -> list[RenderItem]:
        """``(document index, page)`` as items; page 0 stands for the whole document."""
        by_document: dict[int, list[int]] = {}
        for doc_index, page in pages:
            if doc_index not in self.given_up:
                by_document.setdefault(doc_index, []).append(page)
        return [
            RenderItem(i, self.plan.wanted(i), () if DOCUMENT_PAGE in wanted else spans_of(wanted))
            for i, wanted in by_document.items()
        ]

    def missing_items(self, missing: dict[int, tuple[PageSpan, ...]]) -> list[RenderItem]:
        """What a sealing that missed pages asks for."""
        return [RenderItem(i, self.plan.wanted(i), spans) for i, spans in missing.items()]

    def has_changed(self, doc_index: int, version: str) -> bool:
        """Whether an opened source is not the version that is being read; notes the first one."""
        if doc_index in self.given_up:
            return False
        expected = self.plan.documents[doc_index].version or self.versions.setdefault(doc_index, version)
        return bool(version and expected and version != expected)

    def restart(self, doc_index: int, version: str) -> int:
        """Read a document anew, in this version; returns how often that was done. Beyond
        ``MAX_RESTARTS`` it is given up."""
        self._seals = self._missing = 0
        self._restarts[doc_index] += 1
        if self._restarts[doc_index] > MAX_RESTARTS:
            self.given_up.add(doc_index)
            version = NO_VERSION
        self.plan = self.plan.restarted(doc_index, version)
        return self._restarts[doc_index]

    def may_seal_again(self, missing: dict[int, tuple[PageSpan, ...]]) -> bool:
        """Note a sealing that missed pages; whether it makes sense to try again. It counts where it misses
        no fewer than the last one."""
        count = sum(sum(map(len, spans)) or 1 for spans in missing.values())
        self._seals += not self._missing or count >= self._missing
        self._missing = count
        return self._seals < MAX_SEALS

    def first_missing(self, missing: dict[int, tuple[PageSpan, ...]]) -> str:
        """A missing page by name, for a message."""
        if not missing:
            return "it does not say which"
        doc_index, spans = next(iter(missing.items()))
        return f"{self.plan.documents[doc_index].doc_id} page {spans[0].first if spans else 1}"

    def failed_row(
        self, doc_index: int, page: int, reason: str, page_count: int, run: tuple[str, str]
    ) -> ResultRow:
        """The driver's own row: of a page whose worker did not live to tell. ``run`` is its id and
        fingerprint."""
        document = self.plan.documents[doc_index]
        run_id, fingerprint = run
        return ResultRow(
            doc_id=document.doc_id,
            uri=document.uri,
            page=page,
            status=Status.FAILED,
            reason=reason,
            page_count=page_count,
            generation=self.plan.generation,
            fingerprint=fingerprint,
            source_version=document.version or self.versions.get(doc_index, ""),
            run_id=run_id,
            finished_at=datetime.now(UTC),
            metadata=document.metadata,
        )
