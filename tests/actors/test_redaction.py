"""What a page does not show is not in its text: words covered, cut away, or without a colour of their own."""

from __future__ import annotations

import numpy as np
import pymupdf
import pytest

from results.rows import Status
from tests.actors.layer_samples import HEIGHT, PROSE, WIDTH, few_lines, pdf, pixels_of, prose, scan
from tests.actors.render_samples import only_page

SECRET = "Hawthorne"
AT = (60.0, 300.0)
BOX = pymupdf.Rect(58, 286, 120, 306)
"""Around the secret, font size 12."""
TIGHT = pymupdf.Rect(60, 291, 116, 300)
"""From its baseline to its capitals' height, as redactors draw it."""


def named(page: pymupdf.Page, text: str = SECRET, at=AT, **how: object) -> None:
    few_lines(page)
    page.insert_text(at, text, fontsize=12, **how)


def raw(page: pymupdf.Page, content: bytes) -> None:
    """More content, in the page's own coordinates (y upwards)."""
    document = page.parent
    xref = document.get_new_xref()
    document.update_object(xref, "<<>>")
    document.update_stream(xref, content)
    contents = " ".join(f"{number} 0 R" for number in (*page.get_contents(), xref))
    document.xref_set_key(page.xref, "Contents", f"[{contents}]")


def noise(width: int, height: int, low: int = 0) -> pymupdf.Pixmap:
    levels = np.random.default_rng(3).integers(low, 256, width * height, dtype=np.uint8)
    return pymupdf.Pixmap(pymupdf.csGRAY, width, height, levels.tobytes(), False)


def rectangle(box=BOX, **how):
    return lambda page: page.draw_rect(box, **{"fill": (0, 0, 0), "color": None, **how})


def labelled(page: pymupdf.Page) -> None:
    page.draw_rect(BOX, fill=(0, 0, 0))
    page.insert_text((62, 300), "REDACTED", fontsize=9, color=(1, 1, 1))


def whited_out_and_replaced(page: pymupdf.Page) -> None:
    page.draw_rect(BOX, fill=(1, 1, 1), color=None)
    page.insert_text(AT, "Somebody", fontsize=12)


def picture(page: pymupdf.Page) -> None:
    page.insert_image(BOX, pixmap=noise(62, 20))


def hatched(page: pymupdf.Page) -> None:
    page.draw_rect(BOX, fill=(1, 1, 1), color=None)
    for x in range(50, 130, 3):
        page.draw_line((x, 306), (x + 10, 286), width=1)


def thick_line(page: pymupdf.Page) -> None:
    page.draw_line((58, 296), (120, 296), width=12)


def many_strips(page: pymupdf.Page) -> None:
    for y in range(286, 306):
        page.draw_line((58, y + 0.5), (120, y + 0.5), width=1.2, color=(0.2, 0.2, 0.2))


def shaded(page: pymupdf.Page) -> None:
    raw(
        page,
        b"q 58 289 62 20 re W n 62 0 0 20 58 289 cm BI /W 2 /H 1 /CS /G /BPC 8 /I true ID \x10\xe0 EI Q",
    )


def square(page: pymupdf.Page) -> None:
    note = page.add_rect_annot(BOX)
    note.set_colors(stroke=(0, 0, 0), fill=(0, 0, 0))
    note.update()


def note_with_text(page: pymupdf.Page) -> None:
    page.add_freetext_annot(BOX, "withheld", fontsize=9, fill_color=(1, 1, 1))


def stamp(page: pymupdf.Page) -> None:
    page.add_stamp_annot(BOX, stamp=pymupdf.STAMP_Confidential)
    page.draw_rect(BOX, fill=(0.9, 0.9, 0.9), color=None)


def opaque_highlight(page: pymupdf.Page) -> None:
    note = page.add_highlight_annot(BOX)
    note.set_colors(stroke=(1, 1, 0))
    note.set_blendmode(pymupdf.PDF_BM_Normal)
    note.update(blend_mode="Normal", opacity=1)


def blocks(page: pymupdf.Page) -> None:
    page.insert_text((57, 301), "M" * 9, fontsize=14, color=(0, 0, 0), border_width=0.6, render_mode=2)


def half(page: pymupdf.Page) -> None:
    page.draw_rect((60, 286, 90, 306), fill=(0, 0, 0), color=None)


def nearly_opaque(page: pymupdf.Page) -> None:
    page.draw_rect(BOX, fill=(0, 0, 0), color=None, fill_opacity=0.99)


COVERS = {
    "a black box": rectangle(),
    "a tight black box": rectangle(TIGHT),
    "a white box": rectangle(fill=(1, 1, 1)),
    "a tight white box": rectangle(TIGHT, fill=(1, 1, 1)),
    "a grey box with a frame": rectangle(fill=(0.8, 0.8, 0.8), color=(0, 0, 0)),
    "a box with a label": labelled,
    "another name over it": whited_out_and_replaced,
    "a picture": picture,
    "hatching": hatched,
    "a thick line": thick_line,
    "many lines": many_strips,
    "a shading": shaded,
    "a square note": square,
    "a note with text": note_with_text,
    "an opaque highlight": opaque_highlight,
    "letters over letters": blocks,
    "half of it": half,
    "a box that is not quite opaque": nearly_opaque,
}


def layer_text(tmp_path, path, use):
    page = only_page(tmp_path, path, text_layer=use, skip_blank=False)
    return page, page.layer.text if page.layer else ""


@pytest.mark.parametrize("use", ["prefer", "fallback"])
@pytest.mark.parametrize("cover", COVERS)
def test_a_word_that_is_covered_is_not_in_the_text(tmp_path, cover, use):
    page, text = layer_text(tmp_path, pdf(tmp_path / "a.pdf", named, COVERS[cover]), use)
    assert SECRET not in text
    assert page.image is not None and page.status is None


@pytest.mark.parametrize("cover", ["a tight black box", "a white box", "a picture"])
@pytest.mark.parametrize("text", ["7", "No", "1848-11-03", "x"])
def test_short_words_and_numbers_are_no_exception(tmp_path, text, cover):
    def short(page):
        named(page, text)

    page, found = layer_text(tmp_path, pdf(tmp_path / "a.pdf", short, COVERS[cover]), "prefer")
    assert found == "" and page.image is not None


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_word_that_runs_up_or_down_the_page_is_no_exception(tmp_path, turn):
    def sideways(page):
        named(page, at=(200, 400), rotate=turn)

    path = pdf(tmp_path / "a.pdf", sideways)
    page, text = layer_text(tmp_path, path, "prefer")
    assert SECRET in text and page.status is Status.OK
    boxes = {90: (191, 342, 200, 400), 180: (142, 400, 200, 409), 270: (200, 400, 209, 458)}
    path = pdf(tmp_path / "b.pdf", sideways, rectangle(boxes[turn]))
    assert SECRET not in layer_text(tmp_path, path, "prefer")[1]


def clipped(page: pymupdf.Page) -> None:
    few_lines(page)
    outline = b"".join(b"%d %d l " % (300 + i % 2 * 40, 300 + i) for i in range(30))
    raw(
        page,
        b"q 300 300 m " + outline + b"h W n BT /helv 12 Tf 300 305 Td (" + SECRET.encode() + b") Tj ET Q",
    )


def behind_a_form(page: pymupdf.Page) -> None:
    named(page)
    cover = pymupdf.open()
    cover.new_page(width=62, height=20).draw_rect((0, 0, 62, 20), fill=(0, 0, 0))
    page.show_pdf_page(BOX, cover, 0)


def hidden_layer(page: pymupdf.Page) -> None:
    few_lines(page)
    group = page.parent.add_ocg("off", on=False)
    source = pymupdf.open()
    source.new_page(width=200, height=50).insert_text((10, 30), SECRET)
    page.show_pdf_page(pymupdf.Rect(60, 280, 260, 330), source, 0, oc=group)


def beside_the_page(page: pymupdf.Page) -> None:
    few_lines(page)
    page.insert_text((WIDTH + 20, 300), SECRET)


def half_off_the_page(page: pymupdf.Page) -> None:
    few_lines(page)
    page.insert_text((WIDTH - 34, 300), SECRET, fontsize=12)


def cropped_away(page: pymupdf.Page) -> None:
    named(page, at=(60, 500))
    page.set_cropbox((0, 0, WIDTH, 480))


GONE = {
    "clipped by an odd path": clipped,
    "behind a form": behind_a_form,
    "in a layer that is off": hidden_layer,
    "beside the page": beside_the_page,
    "half off the page": half_off_the_page,
    "cropped away": cropped_away,
    "white on white": lambda page: named(page, color=(1, 1, 1)),
    "nearly white on white": lambda page: named(page, color=(0.985, 0.985, 0.985)),
    "without ink": lambda page: named(page, render_mode=3),
    "without opacity": lambda page: named(page, fill_opacity=0, stroke_opacity=0),
}


@pytest.mark.parametrize("use", ["prefer", "fallback"])
@pytest.mark.parametrize("how", GONE)
def test_a_word_that_is_not_shown_is_not_in_the_text(tmp_path, how, use):
    _, text = layer_text(tmp_path, pdf(tmp_path / "a.pdf", GONE[how]), use)
    assert SECRET not in text


def underlined(page: pymupdf.Page) -> None:
    named(page)
    page.draw_line((60, 302), (116, 302))
    page.draw_rect((58, 286, 120, 306), color=(1, 0, 0))


def highlighted(page: pymupdf.Page) -> None:
    named(page)
    page.add_highlight_annot(BOX)


def struck_out(page: pymupdf.Page) -> None:
    named(page)
    page.draw_line((60, 296), (116, 296), width=0.7)


def on_colour(page: pymupdf.Page) -> None:
    few_lines(page)
    page.draw_rect(BOX, fill=(0.1, 0.2, 0.6), color=None)
    page.insert_text(AT, SECRET, fontsize=12, color=(1, 1, 1))


def on_shade(page: pymupdf.Page) -> None:
    few_lines(page)
    for x in range(58, 120):
        page.draw_rect((x, 286, x + 1.05, 306), fill=((x - 58) / 150,) * 3, color=None)
    page.insert_text(AT, SECRET, fontsize=12, color=(1, 1, 1))


def in_a_table(page: pymupdf.Page) -> None:
    named(page)
    for y in (284, 308):
        page.draw_rect((50, y, 200, y + 0.5), fill=(0, 0, 0), color=None)
    for x in (50, 125, 200):
        page.draw_rect((x, 284, x + 0.5, 308), fill=(0, 0, 0), color=None)


def bold_by_two(page: pymupdf.Page) -> None:
    named(page)
    page.insert_text((60.3, 300), SECRET, fontsize=12)


def light(page: pymupdf.Page) -> None:
    named(page, color=(0.8, 0.8, 0.8))


def behind_glass(page: pymupdf.Page) -> None:
    named(page)
    page.draw_rect(BOX, fill=(0, 0.3, 0), color=None, fill_opacity=0.3)


def small(page: pymupdf.Page) -> None:
    few_lines(page)
    page.insert_text(AT, SECRET, fontsize=5)


def outlined_letters(page: pymupdf.Page) -> None:
    named(page, render_mode=2, color=(0, 0, 1), fill=(0, 0, 0))


SHOWN = {
    "underlined and framed": underlined,
    "highlighted": highlighted,
    "struck out": struck_out,
    "white on blue": on_colour,
    "on a shade": on_shade,
    "in a table": in_a_table,
    "bold, by drawing it twice": bold_by_two,
    "light grey": light,
    "behind coloured glass": behind_glass,
    "small": small,
    "outlined": outlined_letters,
}


@pytest.mark.parametrize("how", SHOWN)
def test_a_word_that_is_shown_stays(tmp_path, how):
    page, text = layer_text(tmp_path, pdf(tmp_path / "a.pdf", SHOWN[how]), "prefer")
    assert SECRET in text and page.status is Status.OK and page.image is None, page.flags


def scanned(page: pymupdf.Page) -> None:
    """A scan with somebody's reading of it behind it."""
    scan(page)
    prose(page, render_mode=3)


@pytest.mark.parametrize(
    "cover", ["box", "tight box", "patch of the scan", "labelled box", "picture", "note"]
)
@pytest.mark.parametrize("use", ["prefer", "fallback"])
def test_a_reading_behind_a_scan_loses_what_was_covered(tmp_path, cover, use):
    box = pymupdf.Rect(36, 50, 90, 64)  # over "The harbour" in the first line

    def covered(page):
        if cover == "box":
            page.draw_rect(box, fill=(0, 0, 0), color=None)
        elif cover == "tight box":
            page.draw_rect((40, 52, 90, 60.5), fill=(0, 0, 0), color=None)
        elif cover == "labelled box":
            page.draw_rect(box, fill=(1, 1, 1), color=None)
            page.insert_text((40, 60), "withheld", fontsize=9)
        elif cover == "picture":
            page.insert_image(box, pixmap=noise(54, 14))
        elif cover == "note":
            note = page.add_rect_annot(box)
            note.set_colors(fill=(0, 0, 0))
            note.update()

    def blacked_out(page):
        pixels = pixels_of(lambda clean: (prose(clean), clean.draw_rect(box, fill=(0, 0, 0))))
        page.insert_image(page.rect, pixmap=pixels)
        prose(page, render_mode=3)

    steps = [blacked_out] if cover == "patch of the scan" else [scanned, covered]
    page, text = layer_text(tmp_path, pdf(tmp_path / "a.pdf", *steps), use)
    assert page.status is None and page.image is not None
    assert " ".join(text.split()).count("The harbour") == whole_count() - 1
    assert PROSE[4][:30] in text


def whole_count() -> int:
    """How often the words that are covered stand on a page of prose."""
    document = pymupdf.open()
    page = document.new_page(width=WIDTH, height=HEIGHT)
    prose(page)
    return page.get_text().count("The harbour")
