"""Page selections: what is allowed, what they stand for, and what a document owes of them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.pages import (
    MAX_PAGE,
    PageSpan,
    format_spans,
    merge_spans,
    parse_pages,
    plan_pages,
    spans_of,
    subtract_pages,
    subtract_spans,
)

PAGES = st.sets(st.integers(1, 200), max_size=60)


@pytest.mark.parametrize(
    ("selection", "spans"),
    [
        ("", ()),
        ("  ", ()),
        ("7", (PageSpan(7, 7),)),
        ("1-10,15", (PageSpan(1, 10), PageSpan(15, 15))),
        (" 15 , 1 - 10 ,", (PageSpan(1, 10), PageSpan(15, 15))),
        ("1-3,4-6", (PageSpan(1, 6),)),
        ("5-9,1-6", (PageSpan(1, 9),)),
        ("20-", (PageSpan(20, MAX_PAGE),)),
    ],
)
def test_a_selection_becomes_sorted_and_merged_spans(selection: str, spans: tuple[PageSpan, ...]) -> None:
    assert parse_pages(selection) == spans


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("0", "must be 1 or more, got 0"),
        ("3-1", "range '3-1' runs backwards"),
        ("a", "must be like 1-10,15"),
        ("-3", "must be like 1-10,15"),
        ("1-2-3", "must be like 1-10,15"),
        ("1.5", "must be like 1-10,15"),
        ("1;2", "must be like 1-10,15"),
        (",", "must be like 1-10,15"),
        (f"{MAX_PAGE + 1}", f"must be at most {MAX_PAGE}"),
    ],
)
def test_what_is_no_selection_is_refused_with_what_is_allowed(selection: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pages(selection)


@given(st.text("0123-, ;٣²a", max_size=12))
def test_any_text_is_parsed_or_refused(selection: str) -> None:
    try:
        spans = parse_pages(selection)
    except ValueError:
        return
    assert spans == merge_spans(spans)


@given(PAGES)
def test_spans_survive_formatting_and_parsing(pages: set[int]) -> None:
    spans = spans_of(pages)
    assert parse_pages(format_spans(spans)) == spans
    assert {page for span in spans for page in span} == pages
    assert sum(map(len, spans)) == len(pages)


@given(PAGES, PAGES)
def test_subtracting_pages_leaves_the_others(pages: set[int], taken: set[int]) -> None:
    left = subtract_pages(spans_of(pages), taken)
    assert {page for span in left for page in span} == pages - taken


@given(st.lists(PAGES, max_size=3), st.lists(PAGES, max_size=3))
def test_subtracting_spans_is_subtracting_their_pages(some: list[set[int]], taken: list[set[int]]) -> None:
    spans = [span for pages in some for span in spans_of(pages)]
    left = subtract_spans(spans, [span for pages in taken for span in spans_of(pages)])
    wanted = set[int]().union(*some) - set[int]().union(*taken)
    assert {page for span in left for page in span} == wanted
    if any(taken):
        assert left == spans_of(wanted)


def test_a_million_pages_cost_what_their_spans_cost() -> None:
    """``pages: "1-999999"`` of a document of ten pages is planned in the memory of a few spans."""
    tracemalloc.start()
    try:
        (beyond,) = plan_pages("1-999999", 0, 10).beyond
        assert subtract_spans([beyond], [PageSpan(20, 900_000)]) == (
            PageSpan(11, 19),
            PageSpan(900_001, 999_999),
        )
        assert subtract_pages([beyond], [500]) == (PageSpan(11, 499), PageSpan(501, 999_999))
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


@given(PAGES, st.integers(0, 30), st.integers(0, 220))
def test_every_selected_page_is_read_beyond_the_end_or_cut(
    pages: set[int], max_pages: int, page_count: int
) -> None:
    plan = plan_pages(format_spans(spans_of(pages)), max_pages, page_count)
    wanted = sorted(pages) or range(1, page_count + 1)
    inside = [page for page in wanted if page <= page_count]
    assert [page for span in plan.read for page in span] == inside[: max_pages or None]
    assert [page for span in plan.beyond for page in span] == [page for page in wanted if page > page_count]
    assert plan.cut == len(inside) - len(inside[: max_pages or None])


def test_an_open_end_never_reaches_past_the_document() -> None:
    assert plan_pages("5-", 0, 3).beyond == ()
    assert plan_pages("5-", 0, 7).read == (PageSpan(5, 7),)
