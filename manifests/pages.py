"""Page selections: ``"1-10,15"`` and the page numbers they stand for. Pages count from 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_PAGE = 1_000_000
DOCUMENT_PAGE = 0
"""The page number of the one row of a document that cannot be opened."""


@dataclass(frozen=True, slots=True)
class PageSpan:
    """The pages ``first`` to ``last``, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))


def parse_pages(selection: str) -> tuple[PageSpan, ...]:
    """Parse ``"1-10,15,20-"``; spans come back sorted and merged, an open end reaches ``MAX_PAGE``.

    Raises ValueError with what is allowed. An empty selection gives no span (meaning: all pages).
    """
    spans = []
    for part in filter(None, (piece.strip() for piece in selection.split(","))):
        first_text, dash, last_text = (piece.strip() for piece in part.partition("-"))
        if not first_text.isdecimal() or (last_text and not last_text.isdecimal()):
            raise ValueError(f"must be like 1-10,15 (pages count from 1), got {part!r}")
        first = int(first_text)
        last = int(last_text) if last_text else MAX_PAGE if dash else first
        if first < 1:
            raise ValueError(f"must be 1 or more, got {first}")
        if last > MAX_PAGE:
            raise ValueError(f"must be at most {MAX_PAGE}, got {last}")
        if last < first:
            raise ValueError(f"range {part!r} runs backwards")
        spans.append(PageSpan(first, last))
    if selection.strip() and not spans:
        raise ValueError(f"must be like 1-10,15 (pages count from 1), got {selection!r}")
    return merge_spans(spans)


def merge_spans(spans: Iterable[PageSpan]) -> tuple[PageSpan, ...]:
    """Sort spans and join those that touch or overlap."""
    merged: list[PageSpan] = []
    for span in sorted(spans, key=lambda span: span.first):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = PageSpan(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return tuple(merged)


def spans_of(pages: Iterable[int]) -> tuple[PageSpan, ...]:
    """The fewest spans that hold exactly these pages. Where spans are at hand, ``merge_spans`` is cheaper."""
    runs: list[list[int]] = []
    for page in sorted(set(pages)):
        if runs and page == runs[-1][1] + 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    return tuple(PageSpan(first, last) for first, last in runs)


def format_spans(spans: Iterable[PageSpan]) -> str:
    """``(1-3, 7)`` as ``"1-3,7"``; the inverse of ``parse_pages`` for closed spans."""
    return ",".join(
        str(span.first) if span.first == span.last else f"{span.first}-{span.last}" for span in spans
    )


def subtract_pages(spans: Iterable[PageSpan], pages: Iterable[int]) -> tuple[PageSpan, ...]:
    """What is left of ``spans`` without ``pages``."""
    return subtract_spans(spans, spans_of(pages))


def subtract_spans(spans: Iterable[PageSpan], taken: Iterable[PageSpan]) -> tuple[PageSpan, ...]:
    """What is left of ``spans`` without the pages of ``taken``; costs as many steps as there are spans."""
    holes = merge_spans(taken)
    if not holes:
        return tuple(spans)
    left: list[PageSpan] = []
    begin = 0
    for span in merge_spans(spans):
        first = span.first
        while begin < len(holes) and holes[begin].last < first:
            begin += 1
        for hole in map(holes.__getitem__, range(begin, len(holes))):
            if hole.first > span.last:
                break
            if hole.first > first:
                left.append(PageSpan(first, hole.first - 1))
            first = hole.last + 1
        if first <= span.last:
            left.append(PageSpan(first, span.last))
    return tuple(left)


@dataclass(frozen=True, slots=True)
class PlannedPages:
    """What one document owes: pages to read, pages asked for past its end, pages cut by a trial run."""

    read: tuple[PageSpan, ...]
    beyond: tuple[PageSpan, ...]
    cut: int


def plan_pages(selection: str, max_pages: int, page_count: int) -> PlannedPages:
    """Split a selection by what the document really has.

    An open-ended span (``"5-"``) never reaches past the end. ``max_pages`` keeps only the first
    pages of the selection that exist; pages cut by it are counted, not planned.
    """
    spans = parse_pages(selection) or (PageSpan(1, MAX_PAGE),)
    inside = [PageSpan(span.first, min(span.last, page_count)) for span in spans if span.first <= page_count]
    beyond = [
        PageSpan(max(span.first, page_count + 1), span.last)
        for span in spans
        if page_count < span.last < MAX_PAGE
    ]
    total = sum(map(len, inside))
    if not max_pages or total <= max_pages:
        return PlannedPages(tuple(inside), tuple(beyond), 0)
    kept: list[PageSpan] = []
    left = max_pages
    for span in inside:
        if left <= 0:
            break
        kept.append(PageSpan(span.first, min(span.last, span.first + left - 1)))
        left -= len(kept[-1])
    return PlannedPages(tuple(kept), tuple(beyond), total - max_pages)
