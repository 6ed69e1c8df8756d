"""Image files in, upright RGB arrays out, by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from actors.render.flatten import flatten, to_levels
from actors.render.raster import (
    Raster,
    RgbArray,
    as_rgb_array,
    beyond_last_page,
    fit_scale,
    refuse_many_pixels,
)
from actors.render.settings import RenderConfig
from actors.render.tiff import page_frames
from manifests.errors import DocumentError, PageError

EXIF_FLAG = "damaged_exif"
_ORIENTATION = 0x0112
_ROTATIONS = {2: 0, 3: 180, 4: 180, 5: 270, 6: 90, 7: 90, 8: 270}
"""Degrees clockwise that bring an image with this EXIF orientation upright (EXIF 2.32, 4.6.4);
2, 4, 5 and 7 are mirrored first."""
_MIRRORED = (2, 4, 5, 7)
_PAGED = "TIFF"
_ANIMATED = ("PNG", "GIF", "WEBP")
_DARK = 64
"""Levels that an image of 16-bit samples stays below where these do not fill 14 bits: Pillow drops the
lower half of each sample of an image with colours."""


class ImagePages:
    """An open image file: one page, or the frames of a TIFF that are pages.

    Raises DocumentError when the header cannot be read.
    """

    def __init__(self, path: Path, kind: str, config: RenderConfig) -> None:
        self._config = config
        self._kind = kind
        self._file = path.open("rb")
        try:
            self._image: ImageFile.ImageFile | None = self._open()
            with _no_pillow_cap():
                self._frames, self._stopped = page_frames(self._image) if kind == _PAGED else ([0], "")
                animated = kind in _ANIMATED and getattr(self._image, "is_animated", False)
        except Exception as error:
            self._file.close()
            if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
                raise
            reason = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else error
            raise DocumentError(f"damaged {kind} image: {reason}") from error
        self.page_count = len(self._frames) + bool(self._stopped)
        self._flags = ("first_frame_only",) if animated else ()

    def _open(self) -> ImageFile.ImageFile:
        self._file.seek(0)
        with _no_pillow_cap():
            return Image.open(self._file, formats=(self._kind,))

    def render(self, page: int) -> Raster:
        """Decode one frame: upright, all its ink visible, never enlarged."""
        if not 1 <= page <= self.page_count:
            raise beyond_last_page(page, self.page_count)
        if page > len(self._frames):
            raise PageError(self._stopped)
        image = self._image or self._open()
        self._image = None
        with _no_pillow_cap():
            if self._kind == _PAGED:
                image.seek(self._frames[page - 1])
            raster = self._decode(image)
        if self.page_count > 1:
            self._image = image
        return raster

    def _decode(self, image: ImageFile.ImageFile) -> Raster:
        refuse_many_pixels(*image.size, self._config.max_source_pixels, "the image")
        deep = ";16" in str(image.tile) and image.mode.startswith("RGB")
        if self._kind == "PNG":  # whose EXIF may stand behind its pixels
            image.load()
        orientation, damaged = _orientation(image)
        size = self._target_size(*image.size)
        drafted = self._kind == "JPEG" and image.draft(image.mode, size) is not None
        image.load()
        upright = _orientation(image)[0] == 1  # Pillow turns a TIFF while it loads
        flat = flatten(self._all_of(image) if deep else image)
        if not drafted:
            size = self._target_size(*flat.size)
        if flat.size != size:
            flat = flat.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        if not upright:
            flat = _turn(flat, orientation)
        flags = self._flags + (("mirrored",) if orientation in _MIRRORED else ()) + damaged
        return Raster(as_rgb_array(flat.convert("RGB")), _ROTATIONS.get(orientation, 0), flags)

    def _all_of(self, image: ImageFile.ImageFile) -> Image.Image:
        """A dark image of 16-bit colours, read again with all their bits: most may be in those dropped."""
        if np.asarray(image.convert("RGB")).max() >= _DARK:
            return image
        import cv2  # a renderer needs it for nothing else

        self._file.seek(0)
        buffer = np.frombuffer(self._file.read(), np.uint8)
        frame = image.tell()
        if self._kind == _PAGED:
            found: Any = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED, range=(frame, frame + 1))[1]
            samples = found[0] if found else None
        else:
            samples = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
        if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
            return image
        colours = Image.fromarray(np.ascontiguousarray(to_levels(samples[:, :, 2::-1])))
        if image.mode == "RGBA":
            colours.putalpha(image.getchannel("A"))
        return colours

    def _target_size(self, width: int, height: int) -> tuple[int, int]:
        """Native size, or less for longest_side and max_pixels."""
        longest = self._config.longest_side or max(width, height)
        scale = fit_scale(width, height, min(1.0, longest / max(width, height)), self._config.max_pixels)
        if scale == 1.0:
            return width, height
        return max(1, round(width * scale)), max(1, round(height * scale))

    def find_layer(self, page: int) -> None:
        """Images hold no text."""

    def doubt_of_blank(self, page: int) -> str:
        """An image shows what it holds."""
        return ""

    def release_memory(self) -> None:
        """Pillow caches nothing."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def _no_pillow_cap() -> Iterator[None]:
    """Our own cap rules, with its own message: switch Pillow's off."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _orientation(image: ImageFile.ImageFile) -> tuple[int, tuple[str, ...]]:
    """The EXIF orientation, 1 where there is none, and a flag where it cannot be read: the picture can."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  Pillow raises whatever its parsers of untrusted data stumble over
        return 1, (EXIF_FLAG,)
    return (orientation if isinstance(orientation, int) else 1), ()


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an EXIF orientation upright; Pillow's ROTATE_* count counter-clockwise."""


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def encode_jpeg(image: RgbArray, quality: int = 95) -> bytes:
    """JPEG with full colour resolution, for pages that cross to another node."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def decode_image(image: Any) -> RgbArray:
    """The RGB array of ``RenderedPage.image``, whichever form it travelled in.

    Raises TypeError for a page that carries none.
    """
    if isinstance(image, np.ndarray):
        return image
    if not isinstance(image, bytes):
        raise TypeError(f"expected an RGB array or JPEG bytes, got {type(image).__name__}")
    with _no_pillow_cap(), Image.open(io.BytesIO(image), formats=("JPEG",)) as opened:
        return as_rgb_array(opened.convert("RGB"))
