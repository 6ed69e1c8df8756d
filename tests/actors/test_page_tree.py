"""PDFs whose page trees lie: no page is missing without a word."""

import time

import numpy as np
import pytest

from actors.render.page_tree import MAX_ABSENT
from results.rows import Status
from tests.actors.pdf_samples import HELLO, leaf, one_page, pdf_of, tree
from tests.actors.render_samples import only_page, render, stream

THREE = ("PAGE 1", "PAGE 2", "PAGE 3")
INNER = "<</Type/Pages/Parent 2 0 R/Count %s/Kids[5 0 R 6 0 R]>>"


def texts(tmp_path, data):
    """What each page says by its text layer, or why it failed."""
    chunk = render(tmp_path, data, text_layer="fallback")[1]
    return [page.layer.text if page.layer else page.reason for page in chunk.pages]


@pytest.mark.parametrize(
    "top",
    [
        "/Kids[3 0 R 4 0 R 5 0 R]/Count 1",
        "/Kids[3 0 R 4 0 R 5 0 R]/Count 2",
        "/Kids[3 0 R 4 0 R 5 0 R]/Count 0",
        "/Kids[3 0 R 4 0 R 5 0 R]/Count -1",
        "/Kids[3 0 R 4 0 R 5 0 R]/Count/three",
        "/Kids[3 0 R 4 0 R 5 0 R]/Count 99 0 R",
        "/Kids[3 0 R 4 0 R 5 0 R]",
    ],
)
def test_all_kids_are_read_whatever_they_are_counted_as(tmp_path, top):
    data = tree(top, *THREE)
    assert texts(tmp_path, data) == ["page 1", "page 2", "page 3"]
    assert all("repaired" in page.flags for page in render(tmp_path, data)[1].pages)


@pytest.mark.parametrize("counts", [("3", "1"), ("1", "1"), ("2", "2"), ("3", "2"), ("3", "0"), ("9", "2")])
def test_counts_within_a_tree_hide_nothing(tmp_path, counts):
    data = tree(f"/Kids[3 0 R 4 0 R]/Count {counts[0]}", "PAGE 1", INNER % counts[1], "PAGE 2", "PAGE 3")
    assert texts(tmp_path, data)[:3] == ["page 1", "page 2", "page 3"]


def test_what_a_tree_counts_and_does_not_hold_is_told_page_by_page(tmp_path):
    said = texts(tmp_path, tree("/Kids[3 0 R 4 0 R 5 0 R]/Count 5", *THREE))
    reason = "the document says that it has 5 pages, but its page tree holds 3"
    assert said == ["page 1", "page 2", "page 3", reason, reason]


def test_an_absurd_count_is_told_once(tmp_path):
    said = texts(tmp_path, tree("/Kids[3 0 R 4 0 R 5 0 R]/Count 2000000000", *THREE))
    assert said[:3] == ["page 1", "page 2", "page 3"] and len(said) == 4
    assert "2000000000 pages" in said[3]
    opened = render(tmp_path, tree(f"/Kids[3 0 R]/Count {MAX_ABSENT + 1}", "PAGE 1"))[0].opened
    assert opened[0].page_count == MAX_ABSENT + 1


@pytest.mark.parametrize("kid", ["99 0 R", "null", "7", "(a string)"])
def test_a_kid_that_is_no_page_fails_in_its_place(tmp_path, kid):
    said = texts(tmp_path, tree(f"/Kids[3 0 R {kid} 5 0 R]/Count 3", *THREE))
    assert said == ["page 1", "page 2 is named in the document's page tree, but it is not there", "page 3"]


@pytest.mark.parametrize("again", ["2 0 R", "6 0 R"])
def test_a_tree_that_holds_itself_ends(tmp_path, again):
    nodes = (*THREE, f"<</Type/Pages/Parent 2 0 R/Count 1/Kids[{again}]>>")
    said = texts(tmp_path, tree("/Kids[3 0 R 6 0 R 4 0 R 5 0 R]/Count 3", *nodes))
    assert said == ["page 1", "page 2", "page 3"]


def test_pages_without_a_tree_are_found(tmp_path):
    said = texts(tmp_path, tree("/Count 3", *THREE))
    assert said == ["page 1", "page 2", "page 3"]


def test_pages_inherit_in_a_tree_that_was_mended(tmp_path):
    page = b"<</Type/Page/Parent 2 0 R/Contents 4 0 R>>"
    font = b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>/MediaBox[0 0 600 400]"
    pages = b"<</Type/Pages/Kids[3 0 R 3 0 R]/Count 1" + font + b"/Rotate 90>>"
    chunk = render(
        tmp_path, pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", pages, page, stream("", HELLO)]), dpi=72
    )[1]
    assert [(page.width, page.height) for page in chunk.pages] == [(400, 600)] * 2
    assert all(np.any(page.image < 128) for page in chunk.pages)


def test_a_tree_of_shared_branches_is_refused_before_it_fills_the_memory(tmp_path):
    nodes = [f"<</Type/Pages/Count 1/Kids[{' '.join([f'{4 + n} 0 R'] * 100)}]>>" for n in range(5)]
    started = time.perf_counter()
    report, _ = render(tmp_path, tree("/Kids[3 0 R]/Count 1", *nodes, "PAGE 1"))
    assert "more than 1,000,000 pages" in report.opened[0].error
    assert time.perf_counter() - started < 60


def test_a_document_without_any_page_says_so(tmp_path):
    assert render(tmp_path, tree("/Kids[]/Count 3"))[0].opened[0].error == "the PDF has no pages"


def ink(page):
    assert page.status is None, page.reason
    return int((page.image.min(axis=2) < 128).sum())


@pytest.mark.parametrize(
    "fields",
    [
        "/MediaBox[0 0 500 500]/CropBox[600 600 900 900]",
        "/MediaBox[0 0 500 500]/CropBox[500 0 900 500]",
        "/MediaBox[0 0 500 500]/CropBox[0 0 0 0]",
        "/MediaBox[0 0 500 500]/CropBox[100 100 100 400]",
        "/MediaBox[0 0 500 500]/CropBox[0 0 0.5 0.5]",
        "/MediaBox[0 0 500 500]/CropBox[a b c d]",
        "/MediaBox[0 0 500 500]/CropBox[0 0]",
        "/MediaBox[0 0 500 500]/CropBox 99 0 R",
        "/MediaBox[0 0 500 500]/CropBox[-1e30 -1e30 -1e29 -1e29]",
        "/MediaBox[0 0 500 500]/UserUnit 0",
        "/MediaBox[0 0 500 500]/UserUnit -1",
        "/MediaBox[0 0 500 500]/UserUnit 1000000000",
        "/MediaBox[0 0 500 500]/UserUnit 0.000000001",
        "/MediaBox[0 0 500 500]/UserUnit/x",
        "/MediaBox[0 0 0 0]",
        "/MediaBox[0 0 500 0.01]",
        "/MediaBox[0 0 1e40 1e40]",
        "/MediaBox[null null null null]",
        "/MediaBox 99 0 R",
        "/MediaBox[0 0 0 0]/CropBox[0 0 500 500]",
    ],
)
def test_boxes_and_units_that_leave_nothing_of_a_page_are_not_believed(tmp_path, fields):
    page = only_page(tmp_path, one_page(fields))
    assert ink(page) > 5_000 and page.flags == ("repaired",)


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "/MediaBox[500 500 0 0]",
        "/MediaBox[500 500]",
        "/MediaBox[-100 100 400 600]",
        "/MediaBox[0 0 500 500]/CropBox[0 250 500 400]",
        "/MediaBox[0 0 500 500]/UserUnit 2",
        "/MediaBox[0 0 500 500]/Rotate 45",
        "/MediaBox[0 0 500 500]/Rotate -90",
        "/MediaBox[0 0 500 500]/Rotate 1000000000",
    ],
)
def test_odd_boxes_that_make_sense_are_believed(tmp_path, fields):
    page = only_page(tmp_path, one_page(fields))
    assert ink(page) > 5_000 and page.flags == ()


def test_a_crop_box_of_one_page_is_not_that_of_the_next(tmp_path):
    pages = b"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2/CropBox[600 600 900 900]>>"
    nodes = [leaf(5), leaf(5, "/MediaBox[0 0 500 500]/CropBox[0 250 500 400]"), stream("", HELLO)]
    chunk = render(tmp_path, pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", pages, *nodes]), dpi=72)[1]
    assert [(page.height, page.flags) for page in chunk.pages] == [(500, ("repaired",)), (150, ())]


def test_a_page_in_inches_is_drawn_large_enough_to_be_read(tmp_path):
    page = only_page(tmp_path, one_page("/MediaBox[0 0 8.5 11]", b"BT /F 0.2 Tf 1 5 Td (Hello World) Tj ET"))
    assert page.height == 1000 and ink(page) > 300


def test_ink_that_vanishes_on_a_page_shrunk_to_the_cap_is_not_blank(tmp_path):
    page = only_page(tmp_path, one_page("/MediaBox[0 0 1000000 1000000]"))
    assert page.status is Status.FAILED
    assert page.reason == (
        "the page is 1e+06 x 1e+06 points: what it shows vanishes at the size allowed (render.max_pixels)"
    )
    assert only_page(tmp_path, one_page("/MediaBox[0 0 1000000 1000000]", b"")).status is Status.BLANK
