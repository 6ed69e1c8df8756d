"""Documents of several sources: one page that shows all their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.chunks import RenderedPage
from actors.render.opening import OpenDocuments
from actors.sources.cache import SourceCache
from manifests.documents import Document, Source, sources_version
from manifests.errors import SourceUnavailable
from manifests.pages import PageSpan
from manifests.sources import local_version
from manifests.work import RenderItem, RenderReport
from results.rows import Status
from tests.actors.render_samples import call, encoded, renderer, text_pdf


def colour(path: Path, value: int, side: int = 40) -> Path:
    """An image that is not blank; its first pixel tells which it is."""
    pixels = np.full((side, side, 3), 255, np.uint8)
    pixels[: side // 2] = value
    path.write_bytes(encoded(Image.fromarray(pixels), "PNG"))
    return path


def blank(path: Path) -> Path:
    path.write_bytes(encoded(Image.new("RGB", (30, 30), "white"), "PNG"))
    return path


def together(*paths: Path, **fields: object) -> RenderItem:
    spans = fields.pop("spans", ())
    sources = tuple(Source(str(path)) for path in paths)
    document = Document("several", str(paths[0]), sources=sources, **fields)  # type: ignore[arg-type]
    return RenderItem(3, document, spans)  # type: ignore[arg-type]


def show(tmp_path: Path, *items: RenderItem, **config: object) -> tuple[RenderReport, list[RenderedPage]]:
    working = renderer(tmp_path, **config)
    try:
        report, chunk = working.render(call(*items))
    finally:
        working.close()
    return report, list(chunk.pages)


def version_of(*paths: Path) -> str:
    found = [path.stat() for path in paths]
    return sources_version([local_version(stat.st_size, stat.st_mtime_ns) for stat in found])


def test_one_page_shows_the_first_page_of_every_source_in_order(tmp_path: Path) -> None:
    paths = [colour(tmp_path / "a.png", 10), text_pdf(tmp_path / "b.pdf"), colour(tmp_path / "c.png", 30, 60)]
    report, (page,) = show(tmp_path, together(*paths))
    assert [image.shape[:2] for image in page.images] == [(40, 40), (834, 625), (60, 60)]
    assert [int(page.images[i][0, 0, 0]) for i in (0, 2)] == [10, 30]
    assert (page.doc_index, page.page, page.status) == (3, 1, None)
    assert (page.width, page.height) == (40, 40)
    assert report.image_bytes == sum(image.nbytes for image in page.images)
    assert (report.to_read, report.covered) == (1, ((3, PageSpan(1, 1)),))
    (opened,) = report.opened
    assert (opened.page_count, opened.version, opened.error) == (1, version_of(*paths), "")


def test_all_of_them_travel_as_jpeg_where_one_does(tmp_path: Path) -> None:
    item = together(colour(tmp_path / "a.png", 10), blank(tmp_path / "b.png"))
    working = renderer(tmp_path)
    report, chunk = working.render(call(item, encode=True))
    assert all(isinstance(image, bytes) for image in chunk.pages[0].images)
    assert report.image_bytes == sum(map(len, chunk.pages[0].images))


def test_only_if_all_are_blank_the_page_is(tmp_path: Path) -> None:
    empty, other = blank(tmp_path / "a.png"), blank(tmp_path / "b.png")
    seen = colour(tmp_path / "c.png", 10)
    _, (beside,) = show(tmp_path, together(empty, seen))
    assert beside.status is None and [image.shape[0] for image in beside.images] == [30, 40]
    report, (page,) = show(tmp_path, together(empty, other))
    assert (page.status, page.images, page.reason) == (Status.BLANK, (), "near-uniform colour")
    assert report.image_bytes == 0


@pytest.mark.parametrize("spoil", ["missing", "damaged", "empty"])
def test_an_image_that_cannot_be_read_fails_the_page_and_is_named(tmp_path: Path, spoil: str) -> None:
    bad = tmp_path / "b.png"
    if spoil != "missing":
        bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing" if spoil == "damaged" else b"")
    item = together(colour(tmp_path / "a.png", 10), bad, colour(tmp_path / "c.png", 30))
    after = RenderItem(4, Document("after", str(tmp_path / "a.png")))
    report, (page, neighbour) = show(tmp_path, item, after)
    assert (page.status, page.page, page.images) == (Status.FAILED, 1, ())
    assert page.reason.startswith("image 2 of 3: ") and page.reason.count(str(bad)) == 1
    assert report.opened[0].page_count == 1
    assert neighbour.status is None


def test_flags_are_those_of_all_and_no_text_layer_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), c) for c in ("red", "blue")]
    frames[0].paste("white", (0, 0, 20, 20))
    (tmp_path / "a.gif").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    item = together(text_pdf(tmp_path / "b.pdf"), tmp_path / "a.gif", tmp_path / "a.gif")
    _, (page,) = show(tmp_path, item, text_layer="prefer")
    assert page.status is None and page.layer is None and len(page.images) == 3
    assert page.flags == ("first_frame_only",)


def test_a_selection_without_its_one_page_shows_nothing(tmp_path: Path) -> None:
    item = together(colour(tmp_path / "a.png", 10), colour(tmp_path / "b.png", 20), pages="2-3")
    report, pages = show(tmp_path, item)
    assert pages == [] and report.opened[0].page_count == 1


def test_a_source_that_does_not_answer_ends_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locate = SourceCache.locate

    def lost(self: SourceCache, document: Document, most: int) -> object:
        if document.uri.endswith("b.png"):
            raise SourceUnavailable("the mount is gone")
        return locate(self, document, most)

    monkeypatch.setattr(SourceCache, "locate", lost)
    item = together(colour(tmp_path / "a.png", 10), colour(tmp_path / "b.png", 20))
    report, pages = show(tmp_path, item)
    assert pages == []
    assert [(source.doc_index, source.message) for source in report.unavailable] == [(3, "the mount is gone")]


def test_an_image_that_changes_meanwhile_is_seen_in_one_version_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [colour(tmp_path / "a.png", 10), colour(tmp_path / "b.png", 20)]
    get, asked = OpenDocuments.get, []

    def changing(self: OpenDocuments, document: Document) -> object:
        asked.append(document.uri)
        if len(asked) == 2:
            colour(paths[0], 11, side=50)
        return get(self, document)

    monkeypatch.setattr(OpenDocuments, "get", changing)
    report, (page,) = show(tmp_path, together(*paths))
    assert [int(image[0, 0, 0]) for image in page.images] == [11, 20]
    assert report.opened[0].version == version_of(*paths)
