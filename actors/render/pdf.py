"""PDF pages as RGB arrays, by MuPDF."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.render.config import RenderConfig
from actors.render.mupdf import mupdf, pymupdf
from actors.render.raster import (
    FoundLayer,
    Raster,
    as_rgb_array,
    beyond_last_page,
    fit_scale,
    refuse_many_pixels,
)
from actors.render.text_layer import find_layer
from manifests.errors import DocumentError, PageError

POINTS_PER_INCH = 72
CACHED_PIXELS = 16_000_000
"""MuPDF keeps decoded images, fonts too, in a store that outlives the document. It is emptied after
about so many image pixels, not after every page: parsing fonts again costs a text page 30 %."""
KEPT_STORE_PERCENT = 3
MAX_FORM_DEPTH = 6


class PdfPages:
    """An open PDF.

    Raises DocumentError when it is damaged beyond repair, has no pages or needs a password.
    """

    def __init__(self, path: Path, config: RenderConfig) -> None:
        self._config = config
        self._cached_pixels = 0
        self._images = _ImageSizes()
        self._document = _open(path)
        try:
            _unlock(self._document, config.password.get_secret_value())
            self.page_count = _count_pages(self._document)
        except BaseException:
            self._document.close()
            raise

    def render(self, page: int) -> Raster:
        """Render one page without copying its pixels out of MuPDF. ``/Rotate`` is honoured."""
        pymupdf.TOOLS.reset_mupdf_warnings()
        with self._loaded(page) as (loaded, scale):
            pixmap = loaded.get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False)
        warnings = pymupdf.TOOLS.mupdf_warnings()
        return Raster(as_rgb_array(_Pixels(pixmap)), 0, self._flags(), warnings.partition("\n")[0])

    def find_layer(self, page: int) -> FoundLayer | None:
        """The page's own text, with the size that rendering would give the page."""
        with self._loaded(page) as (loaded, scale):
            return find_layer(loaded, scale, self._flags())

    def _flags(self) -> tuple[str, ...]:
        return ("repaired",) if self._document.is_repaired else ()

    @contextmanager
    def _loaded(self, page: int) -> Iterator[tuple[Any, float]]:
        """A page and its pixels per point; the images it decodes are counted."""
        if not 1 <= page <= self.page_count:
            raise beyond_last_page(page, self.page_count)
        loaded = self._document.load_page(page - 1)
        largest, total = self._images.on_page(loaded)
        refuse_many_pixels(*largest, self._config.max_source_pixels, "an image in the page")
        scale = self._scale(loaded.rect)
        try:
            yield loaded, scale
        finally:
            self._cached_pixels += total
            if self._cached_pixels > CACHED_PIXELS:
                self.release_memory()

    def _scale(self, rect: Any) -> float:
        """Pixels per point for a page of this size. Raises PageError when it makes no sense."""
        width, height = rect.width, rect.height
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            raise PageError(f"the page's size makes no sense: {width} x {height} points")
        if self._config.longest_side is not None:
            scale = self._config.longest_side / max(width, height)
        else:
            scale = self._config.dpi / POINTS_PER_INCH
        return fit_scale(width, height, scale, self._config.max_pixels)

    def release_memory(self) -> None:
        """Empty MuPDF's store if images were decoded; fonts alone are small and worth keeping."""
        if self._cached_pixels:
            self._empty_store()

    def _empty_store(self) -> None:
        """Leave the little that was used last: fonts, and colour conversions that take 11 ms to set up."""
        self._cached_pixels = 0
        pymupdf.TOOLS.store_shrink(100 - KEPT_STORE_PERCENT)

    def close(self) -> None:
        """Close the document and empty MuPDF's store."""
        self._document.close()
        self.release_memory()


class _Pixels:
    """Lends a pixmap's samples to numpy and keeps them alive as long as the array lives."""

    def __init__(self, pixmap: Any) -> None:
        self._pixmap = pixmap
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (pixmap.height, pixmap.width, 3),
            "strides": None if pixmap.stride == 3 * pixmap.width else (pixmap.stride, 3, 1),
            "data": (pixmap.samples_ptr, False),
        }


def _open(path: Path) -> Any:
    """Open as a PDF and nothing else. A name that is no UTF-8 is opened through its descriptor."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return _open_name(f"/dev/fd/{descriptor}")
        finally:
            os.close(descriptor)
    return _open_name(str(path))


def _open_name(name: str) -> Any:
    if not Path(name).exists():
        raise FileNotFoundError(name)
    try:
        document = pymupdf.open(name, filetype="pdf")
    except Exception as error:
        raise DocumentError(f"damaged PDF: {error.__cause__ or error}") from error
    if not document.is_pdf:
        raise DocumentError("not a PDF, although it says so within its first 1024 bytes")
    return document


def _unlock(document: Any, password: str) -> None:
    """Decrypt with the empty password, then with the given one."""
    if not document.needs_pass or document.authenticate(""):
        return
    if not password:
        raise DocumentError("encrypted: needs a password (give --password)")
    if not document.authenticate(password):
        raise DocumentError("encrypted: the password given (--password) does not open it")


def _count_pages(document: Any) -> int:
    try:
        count = int(document.page_count)
    except Exception as error:
        raise DocumentError(f"damaged PDF: {error}") from error
    if count < 1:
        raise DocumentError("the PDF has no pages")
    return count


Sizes = tuple[tuple[int, int], int]
"""Width and height of the largest image, and the pixels of all images."""
_NONE: Sizes = (0, 0), 0


class _ImageSizes:
    """How large the images are that a page's resources name, forms included; decodes nothing.

    Every dictionary and form is looked at once per document. ``Page.get_images`` takes three times
    as long on a text page, and looks anew on each page at a dictionary that all pages share.
    """

    def __init__(self) -> None:
        self._known: dict[int, Sizes] = {}

    def on_page(self, page: Any) -> Sizes:
        """The sizes of one page's images."""
        resources = mupdf.pdf_page_resources(mupdf.pdf_page_from_fz_page(page.this))
        return self._in_resources(resources, 0)

    def _in_resources(self, resources: Any, depth: int) -> Sizes:
        objects = mupdf.pdf_dict_gets(resources, "XObject")
        if not objects.m_internal or depth > MAX_FORM_DEPTH:
            return _NONE
        return self._once(objects, depth, self._in_dictionary)

    def _in_dictionary(self, objects: Any, depth: int) -> Sizes:
        found = [
            self._once(mupdf.pdf_dict_get_val(objects, index), depth, self._in_object)
            for index in range(mupdf.pdf_dict_len(objects))
        ]
        largest = max((size for size, _ in found), key=lambda size: size[0] * size[1], default=(0, 0))
        return largest, sum(total for _, total in found)

    def _in_object(self, stream: Any, depth: int) -> Sizes:
        kind = mupdf.pdf_to_name(mupdf.pdf_dict_gets(stream, "Subtype"))
        if kind == "Image":
            width = mupdf.pdf_to_int(mupdf.pdf_dict_gets(stream, "Width"))
            height = mupdf.pdf_to_int(mupdf.pdf_dict_gets(stream, "Height"))
            return (width, height), width * height
        if kind == "Form":
            return self._in_resources(mupdf.pdf_dict_gets(stream, "Resources"), depth + 1)
        return _NONE

    def _once(self, target: Any, depth: int, look: Callable[[Any, int], Sizes]) -> Sizes:
        """Look at an indirect object once; one that contains itself adds nothing the second time."""
        number = mupdf.pdf_to_num(target)
        if not number:
            return look(target, depth)
        if number not in self._known:
            self._known[number] = _NONE
            self._known[number] = look(target, depth)
        return self._known[number]
