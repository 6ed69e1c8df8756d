"""Sources that stop answering, files that cannot be read, and files that change while they are rendered."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from actors.render.image import ImagePages
from actors.render.pdf import PdfPages
from actors.render.renderer import Renderer
from actors.render.settings import RenderConfig
from actors.sources.cache import LocatedSource, SourceCache
from manifests.documents import Document
from manifests.errors import DocumentError, SourceUnavailable
from manifests.pages import PageSpan
from manifests.work import UnavailableSource
from results.rows import Status
from tests.actors.render_samples import call, encoded, item, text_pdf


class Sources(SourceCache):
    """Sources that do as they are told: ``errors`` are raised one after the other, None is an answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / "cache"), 2**30, {})
        self.errors: list[Exception | None] = []
        self.away: set[str] = set()

    def locate(self, document: Document, max_source_bytes: int) -> LocatedSource:
        error = self.errors.pop(0) if self.errors else None
        if error is not None or document.uri in self.away:
            raise error or SourceUnavailable(f"{document.uri}: the mount is gone")
        return super().locate(document, max_source_bytes)


@pytest.fixture
def sources(tmp_path):
    return Sources(tmp_path)


@pytest.fixture
def working(sources):
    working = Renderer(RenderConfig(), sources, hard_limits=False)
    yield working
    working.close()


def numbers(chunk):
    return [(page.doc_index, page.page) for page in chunk.pages]


def test_a_call_ends_before_a_document_whose_source_does_not_answer(tmp_path, sources, working):
    paths = [text_pdf(tmp_path / f"{name}.pdf") for name in "abc"]
    sources.away = {str(paths[1])}
    report, chunk = working.render(call(*(item(path, index=i) for i, path in enumerate(paths))))
    assert report.unavailable == (UnavailableSource(1, f"{paths[1]}: the mount is gone"),)
    assert report.covered == ((0, PageSpan(1, 3)),)
    assert [opened.doc_index for opened in report.opened] == [0]
    assert numbers(chunk) == [(0, 1), (0, 2), (0, 3)]
    sources.away = set()
    report, chunk = working.render(call(*(item(path, index=i) for i, path in enumerate(paths[1:], 1))))
    assert report.unavailable == () and len(chunk.pages) == 6


def test_a_source_that_does_not_answer_from_the_start_is_all_a_call_tells(tmp_path, sources, working):
    path = text_pdf(tmp_path / "a.pdf")
    sources.away = {str(path)}
    for limit in ({}, {"max_pages": 0}):
        report, chunk = working.render(call(item(path), **limit))
        assert (report.opened, report.covered, chunk.pages) == ((), (), ())
        assert report.unavailable[0].doc_index == 0


def failing(monkeypatch, kind, page, error, times=1):
    """``render`` raises an error for one page, so many times."""
    real, left = kind.render, [times]

    def render(self, number):
        if number == page and left[0]:
            left[0] -= 1
            raise error
        return real(self, number)

    monkeypatch.setattr(kind, "render", render)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_a_read_error_asks_the_source_again_and_condemns_no_page(
    tmp_path, sources, working, monkeypatch, code
):
    path = text_pdf(tmp_path / "a.pdf")
    failing(monkeypatch, PdfPages, 2, OSError(code, os.strerror(code)))
    sources.errors = [None, SourceUnavailable("the mount is gone")]
    report, chunk = working.render(call(item(path)))
    assert report.covered == ((0, PageSpan(1, 1)),)
    assert report.unavailable == (UnavailableSource(0, "the mount is gone"),)
    assert [page.status for page in chunk.pages] == [None]


def test_a_read_error_that_passes_costs_nothing(tmp_path, working, monkeypatch):
    path = text_pdf(tmp_path / "a.pdf")
    failing(monkeypatch, PdfPages, 2, OSError(errno.EIO, "Input/output error"))
    report, chunk = working.render(call(item(path)))
    assert report.covered == ((0, PageSpan(1, 3)),) and report.unavailable == ()
    assert [page.status for page in chunk.pages] == [None] * 3


def test_a_page_fails_with_the_source_s_own_word_where_the_document_is_to_blame(
    tmp_path, sources, working, monkeypatch
):
    path = text_pdf(tmp_path / "a.pdf")
    failing(monkeypatch, PdfPages, 2, OSError(errno.EIO, "Input/output error"))
    sources.errors = [None, DocumentError("a.pdf: no such file")]
    _, chunk = working.render(call(item(path, PageSpan(1, 2))))
    assert (chunk.pages[1].status, chunk.pages[1].reason) == (Status.FAILED, "a.pdf: no such file")


def test_an_image_s_read_error_is_no_damage(tmp_path, sources, working, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.effect_noise((90, 90), 90), "PNG"))
    failing(monkeypatch, ImagePages, 1, OSError(errno.EIO, "Input/output error"))
    sources.errors = [None, SourceUnavailable("gone")]
    report, chunk = working.render(call(item(path)))
    assert report.unavailable and not chunk.pages


def take_away(path):
    """Have every descriptor of a file read something else, as when the mount below it is gone."""
    elsewhere = os.open("/tmp", os.O_RDONLY)
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink() == path:
                os.dup2(elsewhere, int(link.name))
        except OSError:
            continue
    os.close(elsewhere)


def test_what_mupdf_could_not_read_is_neither_blank_nor_failed(tmp_path, sources, working):
    path = text_pdf(tmp_path / "a.pdf", 40)
    working.render(call(item(path, PageSpan(1, 1))))
    take_away(path)
    sources.errors = [None, SourceUnavailable("the mount is gone")]
    report, chunk = working.render(call(item(path, PageSpan(30, 40))))
    assert report.unavailable == (UnavailableSource(0, "the mount is gone"),) and not chunk.pages
    report, chunk = working.render(call(item(path, PageSpan(30, 40))))
    assert [page.status for page in chunk.pages] == [None] * 11


def rewritten(path, pages):
    """The same file with another content, in place."""
    other = text_pdf(path.with_suffix(".new"), pages)
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(pages, pages))


def changing(monkeypatch, path, times):
    """A file that changes after each of its first pages is rendered."""
    real, left = PdfPages.render, [times]

    def render(self, number):
        raster = real(self, number)
        if number == 1 and left[0]:
            left[0] -= 1
            rewritten(path, 5 + left[0])
        return raster

    monkeypatch.setattr(PdfPages, "render", render)


def test_a_file_that_changes_while_it_is_rendered_is_begun_anew_in_its_new_version(
    tmp_path, working, sources, monkeypatch
):
    path = text_pdf(tmp_path / "a.pdf")
    changing(monkeypatch, path, 1)
    report, chunk = working.render(call(item(path)))
    now = sources.locate(Document("a", str(path)), 2**40).stat.version
    assert [(opened.version, opened.page_count) for opened in report.opened] == [(now, 5)]
    assert report.covered == ((0, PageSpan(1, 5)),)
    assert report.image_bytes == sum(page.image.nbytes for page in chunk.pages)
    assert not any("damaged" in page.flags for page in chunk.pages)


def test_a_file_that_goes_on_changing_is_left_to_the_driver(tmp_path, working, monkeypatch):
    path = text_pdf(tmp_path / "a.pdf")
    changing(monkeypatch, path, 99)
    seen = set()
    for _ in range(3):
        report, chunk = working.render(call(item(path)))
        assert report.covered == () and chunk.pages == ()
        seen.add(report.opened[0].version)
    assert len(seen) == 3


def test_a_file_that_is_half_written_when_it_is_opened_is_looked_at_again(tmp_path, working, monkeypatch):
    from actors.render import opening

    path = text_pdf(tmp_path / "a.pdf")
    whole = path.read_bytes()
    path.write_bytes(b"%PDF-")
    real = opening.open_pages

    def open_pages(found, *more):
        try:
            return real(found, *more)
        finally:
            if found.stat().st_size < len(whole):
                found.write_bytes(whole)

    monkeypatch.setattr(opening, "open_pages", open_pages)
    report, _ = working.render(call(item(path)))
    assert report.covered == ((0, PageSpan(1, 3)),) and not report.opened[0].error


def test_a_page_that_can_never_be_read_is_the_document_s_fault_only_beside_one_that_can(
    tmp_path, working, monkeypatch
):
    folder = tmp_path / "alone"
    folder.mkdir()
    path = text_pdf(folder / "a.pdf")
    failing(monkeypatch, PdfPages, 2, OSError(errno.EIO, "Input/output error"), times=99)
    report, chunk = working.render(call(item(path)))
    assert report.unavailable and [page.page for page in chunk.pages] == [1]
    text_pdf(folder / "b.pdf")
    report, chunk = working.render(call(item(path)))
    assert not report.unavailable
    assert [page.status for page in chunk.pages] == [None, Status.FAILED, None]
    assert "Input/output error" in chunk.pages[1].reason
