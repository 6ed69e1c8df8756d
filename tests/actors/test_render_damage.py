"""Pages that show nothing because something is broken: told on every page, whoever looked first."""

import zlib

import pymupdf
import pytest
from PIL import Image

from results.rows import Status
from tests.actors.pdf_samples import FONT, HELLO, pdf_of
from tests.actors.render_samples import call, encoded, item, only_page, render, renderer, stream

DRAW = b"q 500 0 0 500 0 0 cm /X Do Q"
IMAGE = "/Type/XObject/Subtype/Image/Width 100/Height 100/BitsPerComponent 8/ColorSpace/DeviceGray"
WHITE = zlib.compress(b"\xff" * 10_000)
CUT = zlib.compress(bytes(10_000))[:-9]


def sharing(shared, content=DRAW, pages=2):
    """Pages that all show the same object."""
    first = 3 + pages
    page = (
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 500 500]/Contents {first} 0 R"
        f"/Resources<</XObject<</X {first + 1} 0 R>>{FONT[2:-2]}>>>>"
    ).encode()
    kids = " ".join(f"{3 + n} 0 R" for n in range(pages))
    top = f"<</Type/Pages/Count {pages}/Kids[{kids}]>>".encode()
    return pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", top, *[page] * pages, stream("", content), shared])


def inverted(fields):
    """Where its decoder gives up it leaves zeros, which this one shows as white."""
    return f"{fields}/Decode[1 0]"


BROKEN = {
    "a jpeg": stream(inverted(IMAGE) + "/Filter/DCTDecode", b"no jpeg" * 99),
    "a jpeg 2000": stream(IMAGE + "/Filter/JPXDecode", b"no jpeg" * 99),
    "deflated data cut short": stream(inverted(IMAGE) + "/Filter/FlateDecode", CUT),
    "an unknown colour space": stream(IMAGE.replace("DeviceGray", "Foo"), b"\0" * 10_000),
    "a dictionary cut short": b"<</Type/XObject/Subtype/Form /BBox[0 0",
    "null": b"null",
    "a form of nonsense": stream("/Type/XObject/Subtype/Form/BBox[0 0 500 500]/Filter/FlateDecode", b"xx"),
}


@pytest.mark.parametrize("use", ["never", "fallback", "prefer"])
@pytest.mark.parametrize("shared", BROKEN)
def test_what_is_broken_is_told_on_every_page_that_shows_it(tmp_path, use, shared):
    pages = render(tmp_path, sharing(BROKEN[shared], pages=3), text_layer=use)[1].pages
    assert [page.status for page in pages] == [Status.FAILED] * 3
    assert {page.reason for page in pages} == {pages[0].reason}
    assert pages[0].reason.startswith("nothing visible was rendered, and MuPDF says: ")


@pytest.mark.parametrize("use", ["never", "fallback", "prefer"])
def test_what_is_broken_beside_text_flags_every_page(tmp_path, use):
    data = sharing(BROKEN["a jpeg"], DRAW + b" " + HELLO, pages=3)
    pages = render(tmp_path, data, text_layer=use)[1].pages
    assert all("damaged" in page.flags and page.status is None for page in pages)


@pytest.mark.parametrize("use", ["never", "prefer"])
def test_a_page_read_a_second_time_is_as_broken_as_the_first(tmp_path, use):
    path = tmp_path / "a.pdf"
    path.write_bytes(sharing(BROKEN["deflated data cut short"]))
    working = renderer(tmp_path, text_layer=use)
    for _ in range(2):
        _, chunk = working.render(call(item(path)))
        assert [page.status for page in chunk.pages] == [Status.FAILED] * 2


def test_pages_after_a_broken_one_that_are_truly_blank_stay_blank(tmp_path):
    document = pymupdf.open(stream=sharing(BROKEN["a jpeg"], pages=1), filetype="pdf")
    document.new_page()
    document.new_page().insert_text((60, 60), "and some text")
    pages = render(tmp_path, document.tobytes(), text_layer="prefer")[1].pages
    assert [page.status for page in pages] == [Status.FAILED, Status.BLANK, Status.OK]
    assert all("damaged" not in page.flags for page in pages[1:])


def test_a_white_image_that_is_whole_is_blank(tmp_path):
    shared = stream(IMAGE + "/Filter/FlateDecode", WHITE)
    assert {page.status for page in render(tmp_path, sharing(shared), text_layer="prefer")[1].pages} == {
        Status.BLANK
    }


@pytest.mark.parametrize("use", ["never", "fallback", "prefer"])
@pytest.mark.parametrize("keep", range(1_200, 3_600, 400))
def test_a_document_cut_short_loses_no_page_without_a_word(tmp_path, use, keep):
    document = pymupdf.open()
    for number in range(6):
        document.new_page().insert_text((60, 60), f"page {number + 1}")
    data = document.tobytes(deflate=False)
    page = render(tmp_path, data[: min(keep, len(data) - 1)], text_layer=use)[1].pages
    assert not any(found.status is Status.BLANK for found in page)


def test_a_page_of_an_image_in_a_document_is_as_ever(tmp_path):
    jpeg = encoded(Image.effect_noise((100, 100), 90), "JPEG")
    shared = stream(IMAGE + "/Filter/DCTDecode", jpeg)
    assert only_page(tmp_path, sharing(shared, pages=1), text_layer="prefer").flags == ()
