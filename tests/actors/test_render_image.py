"""Image files: kinds, modes, turns, frames and caps."""

import io

import numpy as np
import psutil
import pytest
from PIL import Image

from actors.render.image import decode_image
from manifests.pages import PageSpan
from results.rows import Status
from tests.actors.render_samples import call, corners, encoded, huge_png, item, only_page, render, renderer


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_every_image_kind_reads_whatever_its_name(tmp_path, kind):
    save = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    path = tmp_path / "lying.pdf"
    path.write_bytes(encoded(corners(), kind, **save))
    page = only_page(tmp_path, path)
    assert page.image.shape == (20, 40, 3)
    assert np.allclose(page.image[2, 2], (255, 0, 0), atol=40)
    assert (page.rotation, page.flags) == (0, ())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "undo", "rotation", "flags"),
    [
        (1, None, 0, ()),
        (2, Image.Transpose.FLIP_LEFT_RIGHT, 0, ("mirrored",)),
        (3, Image.Transpose.ROTATE_180, 180, ()),
        (4, Image.Transpose.FLIP_TOP_BOTTOM, 180, ("mirrored",)),
        (5, Image.Transpose.TRANSPOSE, 270, ("mirrored",)),
        (6, Image.Transpose.ROTATE_90, 90, ()),
        (7, Image.Transpose.TRANSVERSE, 90, ("mirrored",)),
        (8, Image.Transpose.ROTATE_270, 270, ()),
    ],
)
@pytest.mark.parametrize("longest_side", [None, 64])
def test_exif_orientation_is_undone(tmp_path, kind, orientation, undo, rotation, flags, longest_side):
    upright = corners(80, 40)
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    save = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = encoded(stored, kind, exif=exif, **save)
    page = only_page(tmp_path, data, longest_side=longest_side)
    assert (page.width, page.height) == ((64, 32) if longest_side else (80, 40))
    assert np.allclose(page.image[4, 4], (255, 0, 0), atol=40)
    assert np.allclose(page.image[4, -4], (0, 255, 0), atol=40)
    assert np.allclose(page.image[-4, 4], (0, 0, 255), atol=40)
    assert (page.rotation, page.flags) == (rotation, flags)


def test_orientation_6_means_turned_clockwise_by_90_degrees(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    page = only_page(tmp_path, encoded(corners(), "JPEG", exif=exif, quality=95))
    clockwise = np.rot90(np.asarray(corners()), -1)
    assert page.image.shape == clockwise.shape
    assert np.allclose(page.image[3, 3], clockwise[3, 3], atol=60)
    assert page.rotation == 90


def test_every_frame_of_a_tiff_is_a_page(tmp_path):
    frames = [Image.new("L", (30 + 10 * n, 20), 250).resize((30 + 10 * n, 20)) for n in range(4)]
    for number, frame in enumerate(frames):
        frame.putpixel((5, 5), 50 + number)
    path = tmp_path / "a.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    working = renderer(tmp_path)
    _, chunk = working.render(call(item(path)))
    assert [page.width for page in chunk.pages] == [30, 40, 50, 60]
    assert [int(page.image[5, 5, 0]) for page in chunk.pages] == [50, 51, 52, 53]
    _, again = working.render(call(item(path, PageSpan(2, 2), PageSpan(4, 4))))
    assert [int(page.image[5, 5, 0]) for page in again.pages] == [51, 53]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, kind):
    other = corners().transpose(Image.Transpose.ROTATE_180)
    page = only_page(tmp_path, encoded(corners(), kind, save_all=True, append_images=[other]))
    assert page.flags == ("first_frame_only",)
    assert np.allclose(page.image[2, 2], (255, 0, 0), atol=40)


def gradient(mode: str) -> Image.Image:
    """Left dark, right light, with a level of 51 and 204 of 255."""
    level = np.full((20, 40), 51, np.uint8)
    level[:, 20:] = 204
    if mode == "I;16":
        return Image.fromarray(level.astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(level.astype(np.float32) / 255)
    if mode == "I":
        return Image.fromarray(level.astype(np.int32) * 257)
    return Image.fromarray(level).convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("RGB", "PNG"),
        ("P", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("I;16", "PNG"),
        ("I;16", "TIFF"),
        ("I", "TIFF"),
        ("F", "TIFF"),
        ("CMYK", "TIFF"),
        ("CMYK", "JPEG"),
        ("RGBA", "WEBP"),
    ],
)
def test_every_pixel_format_keeps_its_levels(tmp_path, mode, kind):
    image = only_page(tmp_path, encoded(gradient(mode), kind)).image
    assert image.dtype == np.uint8
    assert np.allclose(image[10, 5], 51, atol=3)
    assert np.allclose(image[10, 35], 204, atol=3)


def test_bilevel_images_are_black_and_white(tmp_path):
    image = only_page(
        tmp_path, encoded(gradient("L").point(lambda v: v > 99 and 255).convert("1"), "PNG")
    ).image
    assert image[10, 5].tolist() == [0, 0, 0] and image[10, 35].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(tmp_path, mode):
    image = Image.new(mode, (40, 20), 0)
    image.paste(Image.new(mode, (10, 10), (9, 255) if mode == "LA" else (9, 9, 9, 255)), (0, 0))
    page = only_page(tmp_path, encoded(image, "PNG"))
    assert page.image[15, 30].tolist() == [255, 255, 255]
    assert page.image[5, 5].tolist() == [9, 9, 9]


def test_a_transparent_palette_entry_becomes_white(tmp_path):
    image = Image.new("P", (40, 20), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.paste(0, (0, 0, 10, 10))
    page = only_page(tmp_path, encoded(image, "PNG", transparency=1))
    assert page.image[15, 30].tolist() == [255, 255, 255]


def test_images_are_shrunk_and_never_enlarged(tmp_path):
    picture = Image.linear_gradient("L").resize((1000, 500))  # noise may shrink to an even grey
    assert only_page(tmp_path, encoded(picture, "PNG")).width == 1000
    for kind in ("PNG", "JPEG"):
        page = only_page(tmp_path, encoded(picture, kind), longest_side=100)
        assert page.image.shape == (50, 100, 3)
    page = only_page(tmp_path, encoded(picture, "JPEG"), max_pixels=20_000)
    assert 19_000 < page.width * page.height <= 20_000
    assert only_page(tmp_path, encoded(picture, "PNG"), longest_side=5000).width == 1000


def test_an_enormous_png_is_refused_from_its_header(tmp_path):
    before = psutil.Process().memory_info().rss
    page = only_page(tmp_path, huge_png(30_000))
    assert page.status is Status.FAILED
    assert "30000 x 30000 = 900,000,000 pixels, more than the 300,000,000 allowed" in page.reason
    assert psutil.Process().memory_info().rss - before < 50e6


def test_our_cap_rules_and_not_pillows(tmp_path, recwarn):
    page = only_page(tmp_path, huge_png(14_000), longest_side=500)
    assert page.status is Status.BLANK
    assert not [warning for warning in recwarn.list if "bomb" in str(warning.message)]


def test_a_truncated_image_fails_its_page_and_a_broken_header_its_document(tmp_path):
    data = encoded(Image.effect_noise((300, 300), 90), "PNG")
    page = only_page(tmp_path, data[: len(data) // 2])
    assert (page.page, page.status) == (1, Status.FAILED)
    assert "truncated" in page.reason
    report, _ = render(tmp_path, data[:20])
    assert report.opened[0].error.startswith("damaged PNG image")
    report, _ = render(tmp_path, b"II*\0" + bytes(40))
    assert report.opened[0].error == "damaged TIFF image: its header cannot be read"


def test_encoded_pages_travel_as_jpeg_and_decode_to_the_same_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(corners(400, 200), "PNG"))
    report, chunk = renderer(tmp_path).render(call(item(path), encode=True))
    page = chunk.pages[0]
    assert isinstance(page.image, bytes) and report.image_bytes == len(page.image)
    assert Image.open(io.BytesIO(page.image)).size == (page.width, page.height) == (400, 200)
    assert np.allclose(decode_image(page.image)[50, 50], (255, 0, 0), atol=5)
    with pytest.raises(TypeError):
        decode_image(None)
