"""Documents of today's input against a unit an output holds: what of it must be read, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.planning.document_index import HeldUnit
from manifests.documents import Document
from manifests.pages import PageSpan, format_spans, merge_spans, parse_pages, plan_pages, subtract_spans
from manifests.units import UnitPlan


def plan_for(
    held: HeldUnit,
    today: Mapping[str, Document],
    base_version: str,
    variants: tuple[str, ...],
    *,
    is_whole: bool,
) -> tuple[UnitPlan | None, list[str]]:
    """The plan of a unit that is under way or has something to read again, and which sources changed.

    ``today`` are the documents of it that the input names, by id; ``is_whole``: no ``--limit`` has cut that.
    What is left of it as it was sealed has rows in the same ``variants``: an output never changes those.
    """
    documents, reread, changed = list(held.documents), dict[int, str](), list[str]()
    for i, was in enumerate(held.documents):
        now = today.get(was.doc_id)
        if now is None:
            if is_whole and held.footer is None:  # it was listed once, and is not: gone, not unavailable
                documents[i] = replace(was, size=0)
            continue
        documents[i], again = _renewed(held, i, was, now)
        if again is not None:
            reread[i] = again
        if _differs(was, now):
            changed.append(was.doc_id)
    kept = tuple(documents)
    if held.plan is not None:
        both = None if held.plan.reread is None else _together(held.plan.reread, reread)
        return replace(held.plan, documents=kept, reread=both, variants=variants), changed
    if held.footer is not None and reread and base_version:  # without: sealed since, for the next run
        generation = held.footer.generation + 1
        return UnitPlan(held.unit_id, generation, kept, reread, base_version, variants), changed
    return None, changed


def _differs(was: Document, now: Document) -> bool:
    return bool(now.version and was.version and now.version != was.version)


def _renewed(held: HeldUnit, doc_index: int, was: Document, now: Document) -> tuple[Document, str | None]:
    """The document as it is to be planned, and what of it to read again ('' for all, None for nothing)."""
    today = replace(now, markdown=was.markdown or now.markdown, version=now.version or was.version)
    differs = _differs(was, now)
    if held.footer is None:
        return (today if differs else wider(was, today)), None
    if differs or held.stale:
        return today, ""
    if page_count := held.footer.documents[doc_index].page_count:
        document, added = _widened(was, today, page_count)
        return document, added or None
    return today, None


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
