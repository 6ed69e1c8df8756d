"""PDF pages as RGB arrays, by MuPDF."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.render.blank import is_blank
from actors.render.image_sizes import ImageSizes
from actors.render.mupdf import mupdf, pymupdf
from actors.render.page_boxes import mend_boxes
from actors.render.page_tree import PageTree, read_page_tree
from actors.render.raster import (
    FoundLayer,
    Raster,
    as_rgb_array,
    beyond_last_page,
    fit_scale,
    refuse_many_pixels,
)
from actors.render.settings import RenderConfig
from actors.render.text_layer import find_layer
from manifests.errors import DocumentError, PageError

POINTS_PER_INCH = 72
CACHED_PIXELS = 16_000_000
"""MuPDF keeps decoded images, fonts too, in a store that outlives the document. It is emptied after
about so many image pixels, not after every page: parsing fonts again costs a text page 30 %."""
KEPT_STORE_PERCENT = 3
SMALL_PAGE, SMALL_AS = 24.0, 480.0
"""Points. A page whose longer side is shorter counts in another unit (inches, perhaps): it is drawn as if
it were so long."""
READ_ERROR = "system error: read error: "
CUT_SHORT = 0.5
"""A page that ``max_pixels`` lets have less of the pixels per point it should have may lose its ink."""


class PdfPages:
    """An open PDF.

    Raises DocumentError when it is damaged beyond repair, has no pages or needs a password.
    """

    def __init__(self, path: Path, config: RenderConfig) -> None:
        self._config = config
        self._cached_pixels = 0
        self._images = ImageSizes()
        self._messages: dict[int, str] = {}
        self._mended: set[int] = set()
        pymupdf.TOOLS.reset_mupdf_warnings()
        self._document = _open(path)
        try:
            _unlock(self._document, config.password.get_secret_value())
            self._tree = self._read_tree()
            self._has_warned = bool(_messages())
        except BaseException:
            self._document.close()
            raise

    @property
    def page_count(self) -> int:
        return self._tree.page_count

    def _read_tree(self) -> PageTree:
        try:
            self._pdf = mupdf.pdf_document_from_fz_document(self._document.this)
            return read_page_tree(self._pdf)
        except DocumentError:
            _messages()
            raise
        except Exception as error:
            _messages()
            raise DocumentError(f"damaged PDF: {error}") from error

    def render(self, page: int) -> Raster:
        """Render one page without copying its pixels out of MuPDF. ``/Rotate`` is honoured."""
        with self._loaded(page) as (loaded, scale):
            pixmap = loaded.get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False)
        return Raster(as_rgb_array(_Pixels(pixmap)), 0, self._flags(page), self._messages.get(page, ""))

    def find_layer(self, page: int) -> FoundLayer | None:
        """The page's own text, with the size that rendering would give the page."""
        with self._loaded(page) as (loaded, scale):
            return find_layer(loaded, scale, self._flags(page))

    def doubt_of_blank(self, page: int) -> str:
        """A page that had to be drawn small may show nothing although there is something on it."""
        with self._loaded(page) as (loaded, scale):
            wanted = self._wanted_scale(loaded.rect)
            if scale > CUT_SHORT * wanted:
                return ""
            box = _inked_box(loaded)
            if box.is_empty:
                return ""
            closer = fit_scale(box.width, box.height, wanted, self._config.max_pixels)
            pixmap = loaded.get_pixmap(matrix=pymupdf.Matrix(closer, closer), clip=box, alpha=False)
            if is_blank(as_rgb_array(_Pixels(pixmap))):
                return ""
            size = f"{loaded.rect.width:g} x {loaded.rect.height:g} points"
        return f"the page is {size}: what it shows vanishes at the size allowed (render.max_pixels)"

    def _flags(self, page: int) -> tuple[str, ...]:
        repaired = self._document.is_repaired or self._tree.mended or page in self._mended
        return ("repaired",) if repaired else ()

    @contextmanager
    def _loaded(self, page: int) -> Iterator[tuple[Any, float]]:
        """A page and its pixels per point. The images it decodes are counted, and what MuPDF says is kept:
        it says some things only once, to whoever touches an object first."""
        if not 1 <= page <= self.page_count:
            raise beyond_last_page(page, self.page_count)
        if page in self._tree.missing:
            raise PageError(self._tree.missing[page])
        if self._has_warned and page not in self._messages:
            self._drop_parsed()
        pymupdf.TOOLS.reset_mupdf_warnings()
        total = 0
        try:
            if mend_boxes(mupdf.ll_pdf_lookup_page_obj(self._pdf.m_internal, page - 1)):
                self._mended.add(page)
            loaded = self._document.load_page(page - 1)
            largest, total = self._images.on_page(loaded)
            refuse_many_pixels(*largest, self._config.max_source_pixels, "an image in the page")
            yield loaded, self._scale(loaded.rect)
        finally:
            self._keep_warning(page)
            self._cached_pixels += total
            if self._cached_pixels > CACHED_PIXELS:
                self.release_memory()

    def _keep_warning(self, page: int) -> None:
        """Keep the first thing that MuPDF said since it was last asked."""
        if messages := _messages():
            self._messages.setdefault(page, messages[0])
            self._has_warned = True

    def _drop_parsed(self) -> None:
        """Drop what MuPDF parsed and decoded, so that it says of a broken object again that it is."""
        self._has_warned = False
        if not self._tree.mended:  # of which the new tree lives in memory alone
            mupdf.ll_pdf_clear_xref(self._pdf.m_internal)
        pymupdf.TOOLS.store_shrink(100)

    def _scale(self, rect: Any) -> float:
        """Pixels per point for a page of this size. Raises PageError when it makes no sense."""
        width, height = rect.width, rect.height
        sane = math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0
        scale = self._wanted_scale(rect) if sane else 0.0
        scale = fit_scale(width, height, scale, self._config.max_pixels) if sane else 0.0
        if min(width, height) * scale < 1:
            raise PageError(f"the page's size makes no sense: {width:g} x {height:g} points")
        return scale

    def _wanted_scale(self, rect: Any) -> float:
        """Pixels per point as configured, whatever ``max_pixels`` says."""
        longest = max(rect.width, rect.height)
        if self._config.longest_side is not None:
            return float(self._config.longest_side / longest)
        scale = self._config.dpi / POINTS_PER_INCH
        return float(scale * SMALL_AS / longest if longest < SMALL_PAGE else scale)

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


def _messages() -> list[str]:
    """What MuPDF said since it was last asked. Raises OSError where it could not read its file: then it goes
    on with half of it, and what it shows is worth nothing."""
    messages: list[str] = pymupdf.TOOLS.mupdf_warnings().splitlines()
    for message in messages:
        if message.startswith(READ_ERROR):
            raise OSError(errno.EIO, message.removeprefix(READ_ERROR))
    return messages


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
        _messages()
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


def _inked_box(page: Any) -> Any:
    """The box around all that a page draws on itself."""
    box = pymupdf.Rect()
    for kind, found in page.get_bboxlog():
        if not kind.startswith(("clip", "ignore")):
            box |= pymupdf.Rect(found)
    return box & page.rect
