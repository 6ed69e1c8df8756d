"""Documents of today's input against the units an output holds: a document stays where it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from manifests.documents import Document
from manifests.pages import PageSpan, format_spans, merge_spans, parse_pages, plan_pages, subtract_spans
from manifests.units import UnitPlan
from results.store import Store
from results.unit_files import Footer, clear_partials, list_open, list_sealed, read_footer, read_plan

FOOTER_THREADS = 16


@dataclass(slots=True)
class Stock:
    """What the output holds: sealed files with their versions, and generations under way."""

    sealed: dict[str, str]
    open: dict[str, int]

    @classmethod
    def take(cls, store: Store) -> Stock:
        """List the output, and clear away partials of generations that were sealed."""
        sealed = {unit_id: entry.version for unit_id, entry in list_sealed(store)}
        under_way: dict[str, int] = {}
        for found in list_open(store):
            footer = read_footer(store, found.unit_id) if found.unit_id in sealed else None
            if footer is not None and footer.generation >= found.generation:
                clear_partials(store, found.unit_id, found.generation)
            else:
                under_way[found.unit_id] = max(found.generation, under_way.get(found.unit_id, 0))
        return cls(sealed, under_way)

    def __contains__(self, unit_id: str) -> bool:
        return unit_id in self.sealed or unit_id in self.open


@dataclass(slots=True)
class _Held:
    """A unit of the output: its sealed footer, its plan under way, or both."""

    footer: Footer | None
    plan: UnitPlan | None
    stale: bool
    renewed: dict[int, Document] = field(default_factory=dict)
    reread: dict[int, str] = field(default_factory=dict)

    @property
    def documents(self) -> tuple[Document, ...]:
        """As they are planned, or as they were sealed."""
        if self.plan is not None:
            return self.plan.documents
        return tuple(as_sealed(s.document, s.version) for s in self.footer.documents) if self.footer else ()


class Matcher:
    """Finds the unit that holds a document, and gathers what today's input changes, unit by unit.

    Units sealed with another fingerprint than ``stale_fingerprint`` (when given) are read again.
    """

    def __init__(self, store: Store, stock: Stock, unit_ids: Iterable[str], stale_fingerprint: str) -> None:
        self._store = store
        self._stock = stock
        self._stale_fingerprint = stale_fingerprint
        self._places: dict[str, tuple[str, int]] = {}
        self.units: dict[str, _Held] = {}
        kept = list(unit_ids)
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            for unit_id, held in zip(kept, threads.map(self._look, kept), strict=True):
                self.units[unit_id] = held
                self._places.update({d.doc_id: (unit_id, i) for i, d in enumerate(held.documents)})

    def _look(self, unit_id: str) -> _Held:
        footer = read_footer(self._store, unit_id) if unit_id in self._stock.sealed else None
        under_way = self._stock.open.get(unit_id)
        plan = read_plan(self._store, unit_id, under_way) if under_way else None
        stale = self._stale_fingerprint and footer and footer.fingerprint != self._stale_fingerprint
        return _Held(footer, plan, bool(stale))

    @property
    def markdown(self) -> set[str]:
        """The Markdown files these units own."""
        return {document.markdown for held in self.units.values() for document in held.documents}

    def unit_of(self, document: Document) -> str | None:
        """The unit that holds a document, or None."""
        place = self._places.get(document.doc_id)
        return place[0] if place else None

    def take(self, document: Document) -> bool:
        """Note what a document that some unit holds needs today; tells whether its source changed."""
        unit_id, i = self._places[document.doc_id]
        held = self.units[unit_id]
        was = held.documents[i]
        changed = bool(document.version and was.version and document.version != was.version)
        today = replace(
            document, markdown=was.markdown or document.markdown, version=document.version or was.version
        )
        page_count = held.footer.documents[i].page_count if held.footer else 0
        if held.footer is None:
            held.renewed[i] = today if changed else wider(was, today)
        elif changed or held.stale:
            held.renewed[i], held.reread[i] = today, ""
        elif page_count:
            held.renewed[i], added = _widened(was, today, page_count)
            if added:
                held.reread[i] = added
        else:
            held.renewed[i] = today
        return changed

    def plans(self) -> Iterator[UnitPlan]:
        """A plan for every one of these units that is under way or has something to read again."""
        for unit_id, held in self.units.items():
            documents = tuple(held.renewed.get(i, document) for i, document in enumerate(held.documents))
            if held.plan is not None:
                reread = held.plan.reread
                if reread is not None:
                    reread = _together(reread, held.reread)
                yield replace(held.plan, documents=documents, reread=reread)
            elif held.footer is not None and held.reread:
                version = self._stock.sealed[unit_id]
                yield UnitPlan(unit_id, held.footer.generation + 1, documents, held.reread, version)


def as_sealed(document: Document, version: str) -> Document:
    """A document in the version it was read in, which its plan may not have known."""
    return document if document.version == version else replace(document, version=version)


def wider(was: Document, today: Document) -> Document:
    """Today's document, wanting what it wants and what the unit that is under way wants of it."""
    if (was.pages, was.max_pages) == (today.pages, today.max_pages):
        return today
    if was.pages == today.pages:
        cut = max(was.max_pages, today.max_pages) if was.max_pages and today.max_pages else 0
        return replace(today, max_pages=cut)
    both = [_explicit(was), _explicit(today)]
    return replace(today, max_pages=0, pages=",".join(both) if all(both) else "")


def _explicit(document: Document) -> str:
    """A selection with the cut of a trial run worked in; '' for all pages."""
    if not document.max_pages:
        return document.pages
    spans = parse_pages(document.pages)
    if not spans:
        return f"1-{document.max_pages}"
    return format_spans(plan_pages(document.pages, document.max_pages, spans[-1].last).read)


def _widened(was: Document, today: Document, page_count: int) -> tuple[Document, str]:
    """The document that names the pages had and wanted, and the pages that adds ('' for none)."""
    old = plan_pages(was.pages, was.max_pages, page_count)
    new = plan_pages(today.pages, today.max_pages, page_count)
    had = (*old.read, *old.beyond)
    asked = (*new.read, *new.beyond)
    added = subtract_spans(asked, had)
    if not added:
        return replace(today, pages=was.pages, max_pages=was.max_pages), ""
    if was.pages == today.pages:  # the cut stays a cut, and counts as one
        return wider(was, today), format_spans(added)
    together = merge_spans([*asked, *had])
    pages = "" if together == (PageSpan(1, page_count),) else format_spans(together)
    return replace(today, pages=pages, max_pages=0), format_spans(added)


def _together(first: dict[int, str], second: dict[int, str]) -> dict[int, str]:
    """Pages to read again by either; a whole document ('') takes in its pages."""
    both = dict(first)
    for i, pages in second.items():
        here = both.get(i)
        both[i] = (
            pages if here is None else format_spans(parse_pages(f"{here},{pages}")) if here and pages else ""
        )
    return both
