"""Text layers: taken where they say what the page shows, doubted everywhere else."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image

from actors.chunks import RenderedPage
from actors.render.pdf import PdfPages
from actors.render.renderer import Renderer
from actors.render.settings import RenderConfig
from actors.sources.cache import SourceCache
from results.rows import Status
from tests.actors.layer_samples import (
    HEIGHT,
    PROSE,
    WIDTH,
    caesar,
    ciphered,
    few_lines,
    outlined,
    pdf,
    prose,
    scan,
    without_unicode_maps,
    write,
)
from tests.actors.render_samples import call, encoded, item, only_page

JOINED = " ".join(PROSE)


def preferred(tmp_path: Path, path: Path, **config: object) -> RenderedPage:
    return only_page(tmp_path, path, text_layer="prefer", **config)


def flat(text: str) -> str:
    """Text without its lines and paragraphs, which are the layout code's."""
    return " ".join(text.split())


def assert_taken(page: RenderedPage) -> str:
    assert page.status is Status.OK and page.image is None and page.flags[-1:] == ("text_layer",)
    assert page.layer is not None and page.layer.trusted
    return page.layer.text


def test_a_born_digital_page_is_not_rendered_and_weighs_little(tmp_path, monkeypatch):
    path = pdf(tmp_path / "a.pdf", few_lines)
    seen = only_page(tmp_path, path)
    monkeypatch.setattr(PdfPages, "render", None)
    page = preferred(tmp_path, path)
    assert flat(assert_taken(page)) == JOINED
    assert (page.width, page.height) == (seen.width, seen.height)
    assert len(pickle.dumps(page)) < 4_000


def test_without_being_asked_for_nobody_looks_for_a_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(PdfPages, "find_layer", None)
    page = only_page(tmp_path, pdf(tmp_path / "a.pdf", prose))
    assert page.status is None and page.layer is None and page.flags == ()


@pytest.mark.parametrize("sizing", [{}, {"dpi": 97}, {"longest_side": 333}, {"max_pixels": 50_000}])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_boxes_and_sizes_are_those_of_the_rendered_page(tmp_path, turn, sizing):
    def turned(page: pymupdf.Page) -> None:
        page.set_cropbox((20.3, 40, 400, 500.7))
        page.set_rotation(turn)

    path = pdf(tmp_path / "a.pdf", few_lines, turned)
    seen = only_page(tmp_path, path, **sizing)
    page = preferred(tmp_path, path, **sizing)
    assert "The harbour lay quiet" in assert_taken(page)
    assert (page.width, page.height) == (seen.width, seen.height)
    ink = np.argwhere(seen.image.min(axis=2) < 128)
    (y1, x1), (y2, x2) = ink.min(axis=0), ink.max(axis=0)
    boxes = np.array([region.box for region in page.layer.regions])
    found = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    expected = np.array([x1 / page.width, y1 / page.height, x2 / page.width, y2 / page.height]) * 999
    assert np.abs(found - expected).max() < 20


def secret(page: pymupdf.Page, **how: object) -> None:
    page.insert_text((40, HEIGHT - 15), "known to few", fontsize=10, **how)


def white_on_white(page: pymupdf.Page) -> None:
    secret(page, color=(1, 1, 1))


def black_box(page: pymupdf.Page) -> None:
    page.draw_rect((30, 100, 200, 140), fill=(0, 0, 0))


def very_small(page: pymupdf.Page) -> None:
    page.insert_text((40, HEIGHT - 15), JOINED, fontsize=0.8)


def stamped(page: pymupdf.Page) -> None:
    scan(page)
    page.insert_text((40, 20), "From the archive of the harbour office", fontsize=9)


def strips(page: pymupdf.Page) -> None:
    """A scan as some scanners write it."""
    for top in range(0, HEIGHT, 50):
        scan(page, (0, top, WIDTH, top + 50))
    page.insert_text((40, 20), "7")


def short_cipher(page: pymupdf.Page) -> None:
    write(page, (caesar(PROSE[0], 7),))


def some_outlined(page: pymupdf.Page) -> None:
    outlined(page, 4)
    for place, line in enumerate(PROSE * 4):
        page.insert_text((40, 200 + 14 * place), line, fontsize=10)


def over_another(page: pymupdf.Page) -> None:
    prose(page)
    write(page, tuple(reversed(20 * PROSE)))


def many_drawings(page: pymupdf.Page) -> None:
    few_lines(page)
    lines = b"\n".join(b"%d %d 2 2 re f" % (i % 400, i % 590) for i in range(21_000))
    document = page.parent
    xref = document.get_new_xref()
    document.update_object(xref, "<<>>")
    document.update_stream(xref, lines)
    contents = " ".join(f"{number} 0 R" for number in (*page.get_contents(), xref))
    document.xref_set_key(page.xref, "Contents", f"[{contents}]")


@pytest.mark.parametrize(
    ("why", "draw"),
    [
        ("hidden", [white_on_white]),
        ("hidden", [prose, white_on_white]),
        ("hidden", [prose, black_box]),
        ("tiny", [few_lines, very_small]),
        ("images", [prose, scan]),
        ("images", [stamped]),
        ("images", [strips]),
        ("images", [few_lines, lambda page: scan(page, (40, 250, 300, 520))]),
        ("garbled", [ciphered]),
        ("garbled", [short_cipher]),
        ("incomplete", [some_outlined]),
        ("overlapping", [over_another]),
        ("too_much", [many_drawings]),
    ],
)
@pytest.mark.parametrize("use", ["prefer", "fallback"])
def test_a_layer_that_does_not_say_what_the_page_shows_is_not_taken(tmp_path, why, draw, use):
    page = only_page(tmp_path, pdf(tmp_path / "a.pdf", *draw), text_layer=use, skip_blank=False)
    assert page.image is not None and page.status is None and page.layer is None
    assert page.flags == ("text_layer_untrusted", f"text_layer_{why}")


def test_a_font_without_a_unicode_map_is_not_trusted(tmp_path):
    path = without_unicode_maps(tmp_path / "a.pdf")
    assert "\ufffd" in pymupdf.open(path)[0].get_text(flags=0)
    assert preferred(tmp_path, path).flags == ("text_layer_untrusted", "text_layer_garbled")


def test_private_characters_are_not_trusted_but_bullets_are(tmp_path, monkeypatch):
    from actors.render import text_layer

    path = pdf(tmp_path / "a.pdf", few_lines)
    clean = text_layer.clean
    monkeypatch.setattr(text_layer, "clean", lambda text: clean(text).replace("h", "\ue068"))
    assert preferred(tmp_path, path).flags == ("text_layer_untrusted", "text_layer_garbled")
    monkeypatch.setattr(text_layer, "clean", lambda text: "\uf0b7" if text == "a" else clean(text))
    assert "\u2022 letter for" in assert_taken(preferred(tmp_path, path))


@pytest.mark.parametrize("use", ["prefer", "fallback"])
def test_the_hidden_reading_of_a_scan_is_only_a_fallback(tmp_path, use):
    path = pdf(tmp_path / "a.pdf", scan, lambda page: few_lines(page, render_mode=3))
    page = only_page(tmp_path, path, text_layer=use)
    assert page.status is None and page.image is not None
    assert page.flags == ("text_layer_untrusted", "text_layer_invisible")
    assert page.layer is not None and not page.layer.trusted and flat(page.layer.text) == JOINED


def test_a_trusted_layer_travels_as_a_fallback(tmp_path):
    page = only_page(tmp_path, pdf(tmp_path / "a.pdf", few_lines), text_layer="fallback")
    assert page.status is None and page.image is not None and page.flags == ()
    assert page.layer is not None and page.layer.trusted and flat(page.layer.text) == JOINED


def test_pages_without_a_layer_are_as_ever(tmp_path):
    assert preferred(tmp_path, pdf(tmp_path / "a.pdf")).status is Status.BLANK
    for path in (pdf(tmp_path / "b.pdf", scan), pdf(tmp_path / "c.pdf", outlined)):
        page = preferred(tmp_path, path)
        assert page.image is not None and page.status is None and page.flags == ()
    image = preferred(
        tmp_path, encoded(Image.new("L", (90, 60), 0).resize((90, 60)), "PNG"), skip_blank=False
    )
    assert image.image is not None


def test_an_empty_looking_page_with_hidden_text_is_still_blank(tmp_path):
    page = preferred(tmp_path, pdf(tmp_path / "a.pdf", lambda page: prose(page, color=(1, 1, 1))))
    assert page.status is Status.BLANK and page.layer is None


def test_page_images_are_rendered_although_the_layer_is_taken(tmp_path):
    cache = SourceCache(str(tmp_path / "cache"), 2**30, {})
    config = RenderConfig.model_validate({"text_layer": "prefer"})
    working = Renderer(config, cache, hard_limits=False, keep_images=True)
    report, chunk = working.render(call(item(pdf(tmp_path / "a.pdf", few_lines))))
    working.close()
    (page,) = chunk.pages
    assert page.status is Status.OK and page.image is not None and page.flags == ("text_layer",)
    assert page.layer is not None and flat(page.layer.text) == JOINED
    assert report.to_read == 0 and report.image_bytes == page.image.nbytes


def test_text_drawn_twice_is_read_once_and_text_off_the_page_never(tmp_path):
    def shadow(page: pymupdf.Page) -> None:
        for place, line in enumerate(PROSE):
            page.insert_text((40.4, 60.4 + place * 14), line, fontsize=10)

    def outside(page: pymupdf.Page) -> None:
        page.insert_text((WIDTH + 50, 100), "beyond the edge")
        page.insert_text((40, 520), "below the crop")
        page.set_cropbox((0, 0, WIDTH, 480))

    page = preferred(tmp_path, pdf(tmp_path / "a.pdf", few_lines, shadow, outside))
    assert flat(assert_taken(page)) == JOINED


def test_two_columns_are_read_one_after_the_other(tmp_path):
    def columns(page: pymupdf.Page) -> None:
        for place in range(12):
            y = 60 + 14 * place
            page.insert_text((40, y), f"left column line {place} and more", fontsize=9)
            page.insert_text((230, y), f"right column line {place} and more", fontsize=9)

    text = assert_taken(preferred(tmp_path, pdf(tmp_path / "a.pdf", columns)))
    assert text.rindex("left column line 11") < text.index("right column line 0")


def test_a_ruled_table_becomes_a_table(tmp_path):
    def table(page: pymupdf.Page) -> None:
        few_lines(page)
        for row, (name, count) in enumerate([("Boat", "Crates"), ("Marie", "41"), ("Anna Sophia", "7")]):
            page.insert_text((50, 250 + 20 * row), name, fontsize=10)
            page.insert_text((200, 250 + 20 * row), count, fontsize=10)
        for y in (235, 255, 275, 295):
            page.draw_line((45, y), (300, y))
        for x in (45, 195, 300):
            page.draw_line((x, 235), (x, 295))

    text = assert_taken(preferred(tmp_path, pdf(tmp_path / "a.pdf", table)))
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    assert ["Marie", "41"] in cells and ["Anna Sophia", "7"] in cells


def test_text_in_the_margin_on_its_side_comes_after_the_rest(tmp_path):
    def margin(page: pymupdf.Page) -> None:
        page.insert_text((20, 400), "arXiv:2101.00001 in the margin", fontsize=9, rotate=90)

    page = preferred(tmp_path, pdf(tmp_path / "a.pdf", few_lines, margin))
    assert flat(assert_taken(page)) == f"{JOINED} arXiv:2101.00001 in the margin"
    _, y1, x2, y2 = page.layer.regions[-1].box
    assert x2 < 999 * 30 / WIDTH and y1 < y2 <= 999 * 405 / HEIGHT


def test_a_page_written_on_its_side_is_read_in_its_own_order(tmp_path):
    def sideways(page: pymupdf.Page) -> None:
        for place, line in enumerate(PROSE):
            page.insert_text((60 + 14 * place, 500), line, fontsize=10, rotate=90)

    assert flat(assert_taken(preferred(tmp_path, pdf(tmp_path / "a.pdf", sideways)))) == JOINED


def test_content_that_breaks_off_is_left_to_the_renderer(tmp_path):
    def broken(page: pymupdf.Page) -> None:
        few_lines(page)
        document = page.parent
        xref = page.get_contents()[-1]
        document.update_stream(xref, document.xref_stream(xref) + b" BT /Nowhere 12 Tf (gone) Tj ET /X Do")

    page = preferred(tmp_path, pdf(tmp_path / "a.pdf", broken))
    assert page.image is not None and "text_layer_broken" in page.flags and "damaged" in page.flags


def test_more_lines_than_can_be_put_in_order_are_not_taken(tmp_path):
    def numbers(page: pymupdf.Page) -> None:
        page.set_mediabox((0, 0, 1600, 1600))
        writer = pymupdf.TextWriter(page.rect)
        for place in range(4_400):
            writer.append((20 + 24 * (place % 64), 20 + 20 * (place // 64)), str(place % 97), fontsize=8)
        writer.write_text(page)

    started = time.perf_counter()
    page = preferred(tmp_path, pdf(tmp_path / "a.pdf", numbers))
    assert page.flags == ("text_layer_untrusted", "text_layer_too_much")
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("drawing", "times"),
    [(b"%d %d 2 2 re f", 500_000), (b"%d %d m 9 9 l S", 500_000), (b"%d %d 2 2 re", 50_000)],
)
def test_half_a_million_drawings_take_seconds(tmp_path, drawing, times):
    def drawings(page: pymupdf.Page) -> None:
        few_lines(page)
        body = b"\n".join(drawing % (i * 7 % 420, i * 11 % 590) for i in range(times))
        document = page.parent
        xref = document.get_new_xref()
        document.update_object(xref, "<<>>")
        document.update_stream(xref, body + b"\nS")
        contents = " ".join(f"{number} 0 R" for number in (*page.get_contents(), xref))
        document.xref_set_key(page.xref, "Contents", f"[{contents}]")

    path = pdf(tmp_path / "a.pdf", drawings)
    pages = PdfPages(path, RenderConfig())
    started = time.perf_counter()
    found = pages.find_layer(1)
    took = time.perf_counter() - started
    pages.close()
    assert found is not None and found.layer is None and took < 10, took
