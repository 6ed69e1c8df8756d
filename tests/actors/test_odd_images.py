"""Images of odd kinds: where there is ink, it is seen; what is no page is none."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from actors.render.blank import is_blank
from actors.render.flatten import to_levels
from results.rows import Status
from tests.actors.image_samples import bmp32, png, tiff, written
from tests.actors.render_samples import corners, encoded, only_page, render

GRAY = written()
INK = GRAY < 128
DEEP = GRAY.astype(np.uint16)
CLEAR, SOLID = np.zeros_like(GRAY), np.full_like(GRAY, 255)


def rgba(colour: int, alpha: np.ndarray | None = None) -> Image.Image:
    """Letters of one colour, and nothing around them."""
    alpha = np.where(INK, 255, 0) if alpha is None else alpha
    level = np.full_like(GRAY, colour)
    return Image.fromarray(np.dstack([level, level, level, alpha.astype(np.uint8)]), "RGBA")


def la(colour: int) -> Image.Image:
    alpha = np.where(INK, 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([np.full_like(GRAY, colour), alpha]), "LA")


def palette(ink: tuple[int, int, int], kind: str = "PNG") -> bytes:
    image = Image.fromarray(INK.astype(np.uint8), "P")
    image.putpalette([9, 200, 9, *ink])
    return encoded(image, kind, transparency=0)


def rgb16(levels: np.ndarray) -> np.ndarray:
    return np.dstack([levels.astype(np.uint16)] * 3)


def soft_edged() -> Image.Image:
    """White letters that fade out, as drawing programs write them."""
    alpha = np.asarray(Image.fromarray(255 - GRAY).resize((150, 60)).resize((300, 120)))
    return rgba(255, alpha)


def mixed() -> Image.Image:
    """Black letters on the left half, white ones on the right."""
    colour = np.where(np.arange(GRAY.shape[1]) < 150, 0, 255)
    level = np.broadcast_to(colour, GRAY.shape).astype(np.uint8)
    return Image.fromarray(np.dstack([level, level, level, np.where(INK, 255, 0).astype(np.uint8)]), "RGBA")


def adobe_cmyk() -> bytes:
    return encoded(Image.fromarray(GRAY).convert("RGB").convert("CMYK"), "JPEG", quality=95)


def plain_cmyk() -> bytes:
    """The same without Adobe's marker, whose readers then do not invert it."""
    data = encoded(
        Image.merge("CMYK", [Image.fromarray(CLEAR)] * 3 + [Image.fromarray(GRAY)]), "JPEG", quality=95
    )
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def hot(levels: np.ndarray) -> np.ndarray:
    levels = levels.copy()
    levels[0, 0] = 65_535
    return levels


ODD = {
    "white on transparency": encoded(rgba(255), "PNG"),
    "white on transparency, gray": encoded(la(255), "PNG"),
    "white on transparency, webp": encoded(rgba(255), "WEBP", lossless=True),
    "white on transparency, lossy webp": encoded(rgba(255), "WEBP", quality=80),
    "white on transparency, tiff": encoded(rgba(255), "TIFF"),
    "white on transparency, palette": palette((255, 255, 255)),
    "white on transparency, gif": palette((255, 255, 255), "GIF"),
    "white on transparency, soft": encoded(soft_edged(), "PNG"),
    "nearly white on transparency": encoded(rgba(250), "PNG"),
    "faint white on transparency": encoded(rgba(255, np.where(INK, 90, 0)), "PNG"),
    "black on transparency": encoded(rgba(0), "PNG"),
    "black on transparency, gray": encoded(la(0), "PNG"),
    "grey on transparency": encoded(rgba(128), "PNG"),
    "black on transparency, palette": palette((0, 0, 0)),
    "a transparent colour": png(rgb16(GRAY // 255 * 255).astype(np.uint8), 8, 2, (b"tRNS", b"\0\xff" * 3)),
    "a transparent gray": png(GRAY, 8, 0, (b"tRNS", b"\0\xff")),
    "a transparent white of one bit": png((GRAY > 128).astype(np.uint8), 1, 0, (b"tRNS", b"\0\1")),
    "a transparent black of one bit": png((GRAY > 128).astype(np.uint8), 1, 0, (b"tRNS", b"\0\0")),
    "no alpha at all, bmp": bmp32(np.dstack([GRAY, GRAY, GRAY, CLEAR])),
    "no alpha at all, older bmp": bmp32(np.dstack([GRAY, GRAY, GRAY, CLEAR]), 108),
    "alpha, bmp": bmp32(np.dstack([GRAY, GRAY, GRAY, SOLID])),
    "no alpha at all, png": encoded(Image.fromarray(np.dstack([GRAY, GRAY, GRAY, CLEAR]), "RGBA"), "PNG"),
    "no alpha to speak of": encoded(Image.fromarray(np.dstack([GRAY, GRAY, GRAY, CLEAR + 1]), "RGBA"), "PNG"),
    "8 of 16 bits": png(DEEP, 16, 0),
    "9 of 16 bits": png(DEEP * 2, 16, 0),
    "10 of 16 bits": png(DEEP * 4, 16, 0),
    "12 of 16 bits": png(DEEP * 16, 16, 0),
    "4 of 16 bits": png(DEEP // 16, 16, 0),
    "1 of 16 bits": png(DEEP // 255, 16, 0),
    "16 bits": png(DEEP * 257, 16, 0),
    "8 of 16 bits, with a hot pixel": png(hot(DEEP), 16, 0),
    "a narrow band of 16 bits": png(30_000 + DEEP * 4, 16, 0),
    "8 of 16 bits, white on black": png(255 - DEEP, 16, 0),
    "8 of 16 bits, colours": png(rgb16(DEEP), 16, 2),
    "10 of 16 bits, colours": png(rgb16(DEEP * 4), 16, 2),
    "10 of 16 bits, colours and alpha": png(np.dstack([rgb16(DEEP * 4), SOLID * np.uint16(257)]), 16, 6),
    "10 of 16 bits, gray and alpha": png(np.dstack([DEEP * 4, SOLID * np.uint16(257)]), 16, 4),
    "16 bits, colours": png(rgb16(DEEP * 257), 16, 2),
    "10 of 16 bits, tiff": tiff((DEEP * 4, {})),
    "10 of 16 bits, tiff with colours": tiff((rgb16(DEEP * 4), {})),
    "10 of 16 signed bits, tiff": tiff(((DEEP * 4).astype(np.int16), {})),
    "signed bits around 0, tiff": tiff((GRAY.astype(np.int16) - 128, {})),
    "10 of 32 bits, tiff": tiff(((DEEP * 4).astype(np.uint32), {})),
    "floats to 1, tiff": tiff((GRAY.astype(np.float32) / 255, {})),
    "floats to 255, tiff": tiff((GRAY.astype(np.float32), {})),
    "floats to a million, tiff": tiff((GRAY.astype(np.float32) * 4e3, {})),
    "floats below 0, tiff": tiff((GRAY.astype(np.float32) / 255 - 1, {})),
    "floats with infinite white, tiff": tiff((np.where(INK, 0.2, np.inf).astype(np.float32), {})),
    "floats without a number for paper, tiff": tiff((np.where(INK, 0.2, np.nan).astype(np.float32), {})),
    "floats without a number for ink, tiff": tiff((np.where(INK, np.nan, 1.0).astype(np.float32), {})),
    "white is zero": tiff((255 - GRAY, {262: 0})),
    "white is zero, 16 bits": tiff(((255 - DEEP) * 257, {262: 0})),
    "cmyk, as Adobe writes it": adobe_cmyk(),
    "cmyk, plain": plain_cmyk(),
    "cmyk, tiff": tiff((np.dstack([255 - GRAY] * 4), {262: 5})),
    "associated alpha, tiff": tiff((np.dstack([CLEAR, CLEAR, CLEAR, 255 - GRAY]), {338: 1})),
    "associated alpha, white, tiff": tiff((np.dstack([255 - GRAY] * 4), {338: 1})),
    "very wide": encoded(Image.fromarray(np.tile(GRAY, (1, 40))), "PNG"),
    "very high": encoded(Image.fromarray(np.tile(GRAY, (60, 1))), "PNG"),
}


@pytest.mark.parametrize("kind", ODD)
def test_ink_is_seen_whatever_it_is_stored_as(tmp_path, kind):
    page = only_page(tmp_path, ODD[kind])
    assert page.status is None, page.reason
    gray = np.asarray(Image.fromarray(page.image).convert("L")).astype(np.int16)[:120, :300]
    ink, paper = np.median(gray[INK & (np.roll(INK, 1, 1))]), np.median(gray[~INK])
    assert abs(ink - paper) >= 60, (ink, paper)


def test_black_and_white_letters_on_transparency_are_both_seen(tmp_path):
    gray = only_page(tmp_path, encoded(mixed(), "PNG")).image[:, :, 0]
    assert len({int(np.median(gray[:, half][INK[:, half]])) for half in (slice(150), slice(150, 300))}) == 2
    paper = int(np.median(gray[~INK]))
    assert 60 < paper < 195


def test_a_white_page_with_a_clear_margin_stays_on_white(tmp_path):
    alpha = np.zeros_like(GRAY)
    alpha[6:-6, 6:-6] = 255
    image = Image.fromarray(np.dstack([GRAY, GRAY, GRAY, alpha]), "RGBA")
    assert only_page(tmp_path, encoded(image, "PNG")).image[0, 0].tolist() == [255, 255, 255]


BLANKS = {
    "white": encoded(Image.new("RGBA", (300, 120), (255, 255, 255, 255)), "PNG"),
    "transparent": encoded(Image.new("RGBA", (300, 120), (255, 255, 255, 0)), "PNG"),
    "transparent black": encoded(Image.new("RGBA", (300, 120), (0, 0, 0, 0)), "PNG"),
    "transparent palette": encoded(Image.new("P", (300, 120), 0), "PNG", transparency=0),
    "16 bits of white": png(np.full((120, 300), 65_535, np.uint16), 16, 0),
    "16 bits of black": png(np.zeros((120, 300), np.uint16), 16, 0),
    "16 bits that are dithered": png(
        (65_535 - np.random.default_rng(1).integers(0, 2, (120, 300))).astype(np.uint16), 16, 0
    ),
    "floats": tiff((np.ones((120, 300), np.float32), {})),
    "no numbers": tiff((np.full((120, 300), np.nan, np.float32), {})),
}


@pytest.mark.parametrize("kind", BLANKS)
def test_empty_sheets_of_odd_kinds_are_blank(tmp_path, kind):
    assert only_page(tmp_path, BLANKS[kind]).status is Status.BLANK


def test_deep_samples_keep_their_order():
    levels = to_levels(np.arange(0, 1024, dtype=np.uint16).reshape(32, 32))
    assert levels[0, 0] == 0 and levels[-1, -1] == 255 and np.all(np.diff(levels.astype(int).ravel()) >= 0)
    assert not is_blank(np.dstack([levels] * 3))


def frame(level: int, kind: int | None = None, tag: int = 254, size: tuple[int, int] = (20, 30)):
    samples = np.full(size, 250, np.uint8)
    samples[5, 5] = level
    return samples, {} if kind is None else {tag: kind}


@pytest.mark.parametrize(
    ("frames", "pages"),
    [
        ([frame(1), frame(2)], [1, 2]),
        ([frame(1, 2), frame(2, 2)], [1, 2]),
        ([frame(1, 0), frame(2, 1, size=(10, 15))], [1]),
        ([frame(1, 0), frame(2, 1), frame(3, 1), frame(4, 5)], [1]),
        ([frame(1, 2), frame(2, 4), frame(3, 2), frame(4, 6)], [1, 3]),
        ([frame(1, 1), frame(2, 0)], [2]),
        ([frame(1, 3), frame(2, 2)], [2]),
        ([frame(1, 1), frame(2, 1)], [1, 2]),
        ([frame(1, 1), frame(2, 4)], [1]),
        ([frame(1, 4)], [1]),
        ([frame(1, 1, 255), frame(2, 2, 255)], [1]),
        ([frame(1, 3, 255), frame(2, 3, 255)], [1, 2]),
    ],
)
def test_thumbnails_levels_and_masks_of_a_tiff_are_no_pages(tmp_path, frames, pages):
    report, chunk = render(tmp_path, tiff(*frames), skip_blank=False)
    assert report.opened[0].page_count == len(pages)
    assert [int(page.image[5, 5, 0]) for page in chunk.pages] == pages


def test_levels_in_directories_of_their_own_are_no_pages(tmp_path):
    data = bytearray(tiff(frame(1), frame(2, 1)))
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    link = first + 2 + 12 * count
    second = data[link : link + 4]
    data[link : link + 4] = bytes(4)
    sub_ifds = bytearray(data)
    entry = first + 2 + 12 * (count - 1)
    sub_ifds[entry : entry + 8] = struct.pack("<HHI", 330, 4, 1)  # in place of StripByteCounts
    sub_ifds[entry + 8 : entry + 12] = second
    assert render(tmp_path, bytes(sub_ifds))[0].opened[0].page_count == 1


def test_a_tiff_that_breaks_off_reads_its_first_pages_and_tells(tmp_path):
    data = bytearray(tiff(frame(1), frame(2), frame(3)))
    first = int.from_bytes(data[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[link : link + 4] = struct.pack("<I", len(data) - 3)
    _, chunk = render(tmp_path, bytes(data), skip_blank=False)
    assert chunk.pages[0].status is None and chunk.pages[0].image[5, 5, 0] == 1
    assert chunk.pages[-1].status is Status.FAILED and len(chunk.pages) == 2


BAD_EXIF = {
    "no header": b"Exif\0\0garbage",
    "cut short": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
    "offset beyond": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "nothing": b"Exif\0\0",
    "wrong type": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x05\0\0\0\x1a\0\0\0\0\0\0\0abcd\0",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("exif", BAD_EXIF)
def test_damaged_exif_fails_no_picture(tmp_path, kind, exif):
    save = {"quality": 95, "dpi": (72, 72)} if kind == "JPEG" else {}
    data = encoded(corners(300, 200), kind, **({} if kind == "TIFF" else {"exif": BAD_EXIF[exif]}), **save)
    page = only_page(tmp_path, data)
    assert page.status is None, page.reason
    assert np.allclose(page.image[2, 2], (255, 0, 0), atol=40) and page.rotation == 0
    assert set(page.flags) <= {"damaged_exif"}


@pytest.mark.parametrize(
    "profile", ["not hex at all", "\nexif\n  12\nzz", "\nexif\n      99\n4578696600", ""]
)
def test_a_damaged_raw_profile_fails_no_picture(tmp_path, profile):
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", profile)
    page = only_page(tmp_path, encoded(corners(300, 200), "PNG", pnginfo=info))
    assert page.status is None, page.reason
    assert np.allclose(page.image[2, 2], (255, 0, 0), atol=1)


def test_exif_behind_the_pixels_of_a_png_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(corners(80, 40), "PNG", exif=exif)
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    end = data.index(b"IEND") - 4
    moved = data[:at] + data[at + length : end] + data[at : at + length] + data[end:]
    assert Image.open(io.BytesIO(moved)).size == (80, 40)
    page = only_page(tmp_path, moved)
    assert (page.width, page.height, page.rotation) == (40, 80, 90)


@pytest.mark.parametrize("orientation", [0, 9, 99, -1])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = max(orientation, 0)
    page = only_page(tmp_path, encoded(corners(80, 40), "PNG", exif=exif))
    assert (page.width, page.rotation) == (80, 0)
