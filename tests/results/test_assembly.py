"""A document's Markdown, made from its rows."""

from __future__ import annotations

import pytest

from results.assembly import PageText, document_markdown, markdown_file, page_image_file


def text(page: int, body: str, **fields: object) -> PageText:
    return PageText(page, **{"status": "ok", "reason": "", "text": body, **fields})


def test_pages_stand_in_order_with_a_heading_from_the_second_on():
    pages = [text(3, "three"), text(1, "one\n"), text(2, "  two")]
    assert (
        document_markdown("a", pages) == "one\n\n----- Page 2 -----\n\ntwo\n\n----- Page 3 -----\n\nthree\n"
    )


def test_a_selection_that_begins_later_says_so():
    assert document_markdown("a", [text(5, "five")]) == "----- Page 5 -----\n\nfive\n"


def test_a_failed_page_keeps_its_place_with_its_reason_on_one_line():
    pages = [text(1, "one"), text(2, "", status="failed", reason="killed\nits  engine")]
    expected = "one\n\n----- Page 2 -----\n\n[[Page 2 could not be read: killed its engine]]\n"
    assert document_markdown("a", pages) == expected


def test_a_document_that_cannot_be_opened_is_one_note():
    page = text(0, "", status="failed", reason="not a PDF")
    assert document_markdown("a", [page]) == "[[Document could not be read: not a PDF]]\n"


def test_pages_past_the_end_are_left_out():
    assert document_markdown("a", [text(1, "one"), text(9, "", status="skipped", reason="x")]) == "one\n"


@pytest.mark.parametrize("status", ["ok", "fallback", "blank"])
def test_what_was_read_is_shown_whatever_its_status(status):
    assert document_markdown("a", [text(1, "[[Blank page]]", status=status)]) == "[[Blank page]]\n"


def test_an_empty_page_keeps_its_heading():
    pages = [text(1, "one"), text(2, ""), text(3, "three")]
    assert document_markdown("a", pages).count("----- Page") == 2


def test_a_kept_image_is_linked_relative_to_the_markdown_with_a_safe_address():
    markdown = document_markdown("in/my scan (1)", [text(2, "two", has_image=True)])
    assert "![Page 2](my%20scan%20%281%29_assets/page-00002.jpg)\n\ntwo" in markdown
    assert page_image_file("in/my scan (1)", 2) == "markdown/in/my scan (1)_assets/page-00002.jpg"
    assert markdown_file("in/my scan (1)") == "markdown/in/my scan (1).md"


def test_a_document_without_pages_is_an_empty_file():
    assert document_markdown("a", []) == "\n"
