"""Render calls: limits, coverage, documents kept open, blank pages."""

import numpy as np
import pymupdf
import pytest
from PIL import Image, ImageFilter

from actors.render.blank import is_blank
from actors.render.opening import OpenFailure
from manifests.pages import PageSpan
from results.rows import Status
from tests.actors.render_samples import call, encoded, item, only_page, renderer, text_pdf


def numbers(chunk):
    return [(page.doc_index, page.page) for page in chunk.pages]


def test_items_are_rendered_in_order_until_max_pages(tmp_path):
    first, second = text_pdf(tmp_path / "a.pdf"), text_pdf(tmp_path / "b.pdf", 4)
    items = item(first, PageSpan(1, 1), PageSpan(3, 3)), item(second, index=7, pages="2-9")
    report, chunk = renderer(tmp_path).render(call(*items, max_pages=4))
    assert numbers(chunk) == [(0, 1), (0, 3), (7, 2), (7, 3)]
    assert report.covered == ((0, PageSpan(1, 1)), (0, PageSpan(3, 3)), (7, PageSpan(2, 3)))
    assert [opened.doc_index for opened in report.opened] == [0, 7]
    assert chunk.documents[7].uri == str(second)


@pytest.mark.parametrize("limit", [{"max_bytes": 1}, {"max_s": 0.0}, {"max_pages": 1}])
def test_one_page_is_rendered_whatever_the_limits(tmp_path, limit):
    path = text_pdf(tmp_path / "a.pdf")
    report, _ = renderer(tmp_path).render(call(item(path), item(path, index=1), **limit))
    assert report.covered == ((0, PageSpan(1, 1)),)
    assert len(report.opened) == 1


def test_a_call_for_no_pages_only_opens(tmp_path):
    path = text_pdf(tmp_path / "a.pdf")
    report, chunk = renderer(tmp_path).render(call(item(path), item(path, index=1), max_pages=0))
    assert [opened.page_count for opened in report.opened] == [3, 3]
    assert (report.covered, chunk.pages) == ((), ())


def test_bytes_are_counted_until_they_reach_the_limit(tmp_path):
    path = text_pdf(tmp_path / "a.pdf", 9)
    working = renderer(tmp_path)
    page_bytes = working.render(call(item(path), max_pages=1))[0].image_bytes
    report, _ = working.render(call(item(path), max_bytes=page_bytes * 3))
    assert (report.to_read, report.image_bytes) == (3, page_bytes * 3)


def test_max_pages_of_a_document_and_its_selection_are_obeyed(tmp_path):
    path = text_pdf(tmp_path / "a.pdf", 5)
    report, _ = renderer(tmp_path).render(call(item(path, pages="2-", max_pages=2)))
    assert report.covered == ((0, PageSpan(2, 3)),)


def test_a_document_with_nothing_to_read_is_opened_only(tmp_path):
    path = text_pdf(tmp_path / "a.pdf")
    report, chunk = renderer(tmp_path).render(call(item(path, pages="7-8"), item(path, index=1)))
    assert [opened.page_count for opened in report.opened] == [3, 3]
    assert report.covered == ((1, PageSpan(1, 3)),)
    assert set(chunk.opened) == {0, 1}


def test_a_missing_document_fails_alone(tmp_path):
    path = text_pdf(tmp_path / "a.pdf")
    report, chunk = renderer(tmp_path).render(call(item(tmp_path / "none.pdf"), item(path, index=1)))
    assert "no such file" in report.opened[0].error and report.opened[0].version == ""
    assert numbers(chunk) == [(0, 0), (1, 1), (1, 2), (1, 3)]
    assert report.to_read == 3


def test_a_document_that_does_not_open_reports_the_version_it_had(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"garbage")
    report, _ = renderer(tmp_path).render(call(item(tmp_path / "a.pdf")))
    assert report.opened[0].version.startswith("7-")


def test_the_last_document_stays_open_until_its_source_changes(tmp_path, monkeypatch):
    opened = []
    real = pymupdf.open
    path = text_pdf(tmp_path / "a.pdf")
    monkeypatch.setattr(pymupdf, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    working = renderer(tmp_path)
    for _ in range(3):
        version = working.render(call(item(path, PageSpan(2, 2))))[0].opened[0].version
    assert len(opened) == 1
    other = text_pdf(tmp_path / "b.pdf", 8)
    opened.clear()
    other.rename(path)
    report, _ = working.render(call(item(path, PageSpan(2, 2))))
    assert report.opened[0].page_count == 8 and report.opened[0].version != version
    assert len(opened) == 1


def test_an_opening_failure_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(OpenFailure("damaged", "v1")))
    assert (str(error), error.version) == ("damaged", "v1")


def sheet(colour=240, noise=0.0, seed=0):
    level = np.random.default_rng(seed).normal(colour, noise, (700, 500, 3)) if noise else colour
    return np.broadcast_to(np.clip(level, 0, 255), (700, 500, 3)).astype(np.uint8)


def through_jpeg(pixels, quality=75):
    import io

    return np.asarray(Image.open(io.BytesIO(encoded(Image.fromarray(pixels), "JPEG", quality=quality))))


def written(text, size, level, at=(200, 310)):
    """A page with text at this level of grey on white, 150 dpi."""
    page = pymupdf.open().new_page(width=240, height=336)
    page.insert_text(at, text, fontsize=size, color=(level / 255,) * 3)
    pixmap = page.get_pixmap(dpi=150)
    return np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.h, pixmap.w, 3)


BLANK = {
    "white": sheet(255),
    "black": sheet(0),
    "one colour": np.full((700, 500, 3), (20, 60, 200), np.uint8),
    "sensor noise": sheet(noise=3),
    "sensor noise through JPEG": through_jpeg(sheet(noise=3)),
    "sensor noise through a bad JPEG": through_jpeg(sheet(noise=3), 40),
    "almost white": through_jpeg(sheet(254, noise=3)),
    "blurred noise": np.asarray(Image.fromarray(sheet(noise=4.5)).filter(ImageFilter.GaussianBlur(0.7))),
    "tiny": np.full((3, 5, 3), 7, np.uint8),
}
LINES = "lorem ipsum dolor sit\n" * 20
GHOST = np.asarray(
    Image.fromarray(written(LINES, 11, 240, (10, 20))[:, ::-1]).filter(ImageFilter.GaussianBlur(1.5))
)
NOISE = np.random.default_rng(1).normal(-15, 2, GHOST.shape)
NOT_BLANK = {
    "a light grey page number": written("7", 8, 0xCC),
    "a tiny light grey page number": written("7", 6, 0xCC),
    "a light grey number through JPEG": through_jpeg(written("7", 8, 0xCC)),
    "text showing through": GHOST,
    "text showing through, with noise": (GHOST + NOISE).astype(np.uint8),
    "a dot in the last corner": np.pad(np.full((699, 499, 3), 255, np.uint8), ((0, 1), (0, 1), (0, 0))),
    "text": written(LINES, 11, 0, (10, 20)),
}  # fmt: skip


@pytest.mark.parametrize("name", BLANK)
def test_empty_sheets_are_blank(name):
    assert is_blank(BLANK[name])


@pytest.mark.parametrize("name", NOT_BLANK)
def test_the_faintest_content_is_not_blank(name):
    assert not is_blank(NOT_BLANK[name])


def test_blank_pages_carry_no_image_unless_asked_to_be_read(tmp_path):
    data = encoded(Image.fromarray(sheet(noise=3)), "JPEG")
    page = only_page(tmp_path, data)
    assert (page.status, page.image, page.width) == (Status.BLANK, None, 500)
    assert page.reason
    kept = only_page(tmp_path, data, skip_blank=False)
    assert kept.status is None and kept.image is not None
