"""Paper and cameras: a typeset page as a scanner or a telephone sees it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pymupdf
from PIL import Image, ImageFilter

Grey = npt.NDArray[np.float64]
ORIENTATION_TAG = 0x0112
TURNS_STORED = {1: 0, 3: 180, 6: 90, 8: 270}
"""Degrees anticlockwise that pixels are stored turned by, for an EXIF orientation that undoes it."""


@dataclass(frozen=True, slots=True)
class Wear:
    """How badly a scan went. ``blur`` in pixels; grain, paper and ink in grey levels of 255."""

    skew_deg: float = 0.0
    blur: float = 0.4
    grain: float = 2.0
    paper: float = 245.0
    ink: float = 30.0
    uneven: float = 0.0
    specks: int = 0


def pixels(page: pymupdf.Page, dpi: int) -> Image.Image:
    """A typeset page as grey pixels, perfectly clean."""
    pixmap = page.get_pixmap(dpi=dpi, colorspace=pymupdf.csGRAY)
    return Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)


def scan(image: Image.Image, wear: Wear, rng: np.random.Generator) -> Image.Image:
    """The page on a scanner's glass. A positive skew turns it anticlockwise."""
    turned = image.rotate(wear.skew_deg, Image.Resampling.BICUBIC, fillcolor=255)
    soft = turned.filter(ImageFilter.GaussianBlur(wear.blur))
    white = np.asarray(soft, dtype=np.float64) / 255
    grey = wear.ink + (wear.paper - wear.ink) * white
    grey *= 1 - wear.uneven * _slope(grey.shape, rng)
    grey += rng.normal(0, wear.grain, grey.shape)
    _speckle(grey, wear.specks, rng)
    return _image(grey)


def shine_through(other_side: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """An empty page with the mirrored other side showing faintly through the paper."""
    mirrored = other_side.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    soft = mirrored.filter(ImageFilter.GaussianBlur(1.4))
    darkness = 1 - np.asarray(soft, dtype=np.float64) / 255
    grey = rng.uniform(236, 246) * (1 - share * darkness)
    return _image(grey + rng.normal(0, 1.5, grey.shape))


def photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The page lying on a dark desk, a little turned, light falling off to one side, in colour."""
    margin = int(min(image.size) * rng.uniform(0.04, 0.08))
    desk_size = (image.width + 2 * margin, image.height + 2 * margin)
    page = Image.new("L", desk_size, 255)
    page.paste(image, (margin, margin))
    cover = Image.new("L", desk_size, 0)
    cover.paste(255, (margin, margin, margin + image.width, margin + image.height))
    angle = rng.uniform(-1.5, 1.5)
    page, cover = (each.rotate(angle, Image.Resampling.BICUBIC) for each in (page, cover))
    soft = np.asarray(page.filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float64) / 255
    share = np.asarray(cover, dtype=np.float64) / 255
    grain = np.asarray(
        _image(rng.normal(70, 30, soft.shape)).filter(ImageFilter.GaussianBlur(3)), dtype=np.float64
    )
    grey = share * (40 + 195 * soft) + (1 - share) * grain
    grey *= 1 - rng.uniform(0.2, 0.4) * _slope(grey.shape, rng)
    grey += rng.normal(0, 3, grey.shape)
    channels = [_image(grey * tint) for tint in (1.0, 0.97, rng.uniform(0.84, 0.92))]
    return Image.merge("RGB", channels)


def jpeg(image: Image.Image, dpi: int, quality: int, orientation: int = 1) -> bytes:
    """A JPEG; with an EXIF orientation its pixels are stored turned, and the viewer turns them back."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION_TAG] = orientation
        image = image.rotate(TURNS_STORED[orientation], expand=True)
    image.save(buffer, "JPEG", quality=quality, optimize=True, dpi=(dpi, dpi), exif=exif)
    return buffer.getvalue()


def png(image: Image.Image, dpi: int) -> bytes:
    """A PNG of 16 greys, which is what a scan of print needs."""
    buffer = io.BytesIO()
    levels = Image.fromarray(np.asarray(image, dtype=np.uint8) // 16)
    levels.putpalette([17 * level for level in range(16) for _ in "rgb"])
    levels.save(buffer, "PNG", bits=4, dpi=(dpi, dpi))
    return buffer.getvalue()


def bilevel_tiff(frames: list[Image.Image], dpi: int) -> bytes:
    """A TIFF of black and white frames, as fax and archive scanners store them."""
    buffer = io.BytesIO()
    first, *others = (frame.point(lambda level: 255 * (level > 150), mode="1") for frame in frames)
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="group4", dpi=(dpi, dpi))
    return buffer.getvalue()


def image_pdf(images: list[Image.Image], dpi: int, quality: int) -> bytes:
    """A PDF of one JPEG per page, nothing else, as scanners write it."""
    document = pymupdf.open()
    for image in images:
        page = document.new_page(width=image.width * 72 / dpi, height=image.height * 72 / dpi)
        page.insert_image(page.rect, stream=jpeg(image, dpi, quality))
    return pdf_bytes(document)


def pdf_bytes(document: pymupdf.Document) -> bytes:
    """A document's bytes, the same every time."""
    document.set_metadata({"title": "", "producer": "pagefleet samples"})
    return bytes(document.tobytes(garbage=3, deflate=True, no_new_id=True))


def _slope(shape: tuple[int, ...], rng: np.random.Generator) -> Grey:
    """0 in the best-lit corner of the page to 1 in the darkest, smoothly."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
    slope: Grey = np.cos(angle) * x + np.sin(angle) * y
    low, high = slope.min(), slope.max()
    shares: Grey = (slope - low) / (high - low)
    return shares**1.5


def _speckle(grey: Grey, count: int, rng: np.random.Generator) -> None:
    """Dust: dots of one or two pixels."""
    for _ in range(count):
        y, x = rng.integers(0, grey.shape[0] - 2), rng.integers(0, grey.shape[1] - 2)
        high, wide = rng.integers(1, 3, 2)
        grey[y : y + high, x : x + wide] = rng.uniform(40, 120)


def _image(grey: Grey) -> Image.Image:
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
