"""The text layer of a PDF page: its words, whether they can be trusted, and the page composed of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from actors.chunks import TextLayer
from actors.layout.lines import Box
from actors.render.ink import Gray
from actors.render.layer_trust import Doubt, PageContent, find_doubt, is_garbled
from actors.render.layer_words import THICKEST_RULE, Word, clean, compose_words, once, text_lines, turn_of
from actors.render.mupdf import mupdf, pymupdf
from actors.render.raster import FoundLayer
from actors.render.shown import Picture, seen_in_scan
from results.rows import LAYER_FLAG

UNTRUSTED_FLAG = f"{LAYER_FLAG}_untrusted"
MAX_CHARACTERS = 60_000
MAX_PATHS = 3_000
"""Drawn shapes. A page with more is a map or an attack: pixels cost less, and MuPDF compares each
rectangle with every other when it collects them."""
MAX_BLOCKS = 20_000
MAX_LINES = 4_000
"""Putting lines in order takes time that grows with their square: seconds for so many."""
MAX_SMALL_PIXELS = 1_000_000
MAX_SMALL_SCALE = 1.0
"""72 dpi: enough to tell where there is ink."""
_TEXT = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_CLIP
_IMAGES = pymupdf.TEXT_PRESERVE_IMAGES
_VECTORS = pymupdf.TEXT_COLLECT_VECTORS | pymupdf.TEXT_LAZY_VECTORS
_INKED = mupdf.FZ_STEXT_FILLED | mupdf.FZ_STEXT_STROKED
_SOFT_HYPHEN = "\u00ad"
_BULLET = "\u2022"
_UNPACKED_BYTES = mupdf.ll_fz_packed_path_size(mupdf.FzPath().m_internal)
"""What MuPDF says of a path that is too long to be packed, whatever its length; seldom of a short one."""
_NO_LETTERS = (
    "fill_path", "stroke_path", "fill_shade", "fill_image", "fill_image_mask", "clip_path",
    "clip_stroke_path", "clip_text", "clip_stroke_text", "clip_image_mask", "pop_clip", "begin_mask",
    "end_mask", "begin_group", "end_group", "begin_tile", "end_tile",
)  # fmt: skip
"""Calls of a device that draw something else than letters: it does without those that are not there."""
_DRAWN_BOX = 1.5
"""Points: MuPDF widens the box of a stroke by its line width, at least by one point."""


def find_layer(page: Any, scale: float, flags: tuple[str, ...] = ()) -> FoundLayer | None:
    """The text layer of a page; None where it has no text at all. ``scale`` is pixels per point.

    A layer that cannot be seen is given although it is not trusted: it is somebody's OCR of a scan.
    Every other doubt is about the text itself, and then its layer is not given.
    """
    text = None
    try:
        text = _page_text(page)
        if not text.words and not text.too_much:
            return None
        doubt = find_doubt(text, lambda: _draw_small(page))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong with the content, its rendering will tell
        doubt = Doubt.BROKEN
    if doubt in (None, Doubt.HIDDEN) and pymupdf.TOOLS.mupdf_warnings(reset=False):
        doubt = Doubt.BROKEN
    if text and doubt in (None, Doubt.INVISIBLE) and sum(1 for _ in text_lines(text.words)) > MAX_LINES:
        doubt = Doubt.TOO_MUCH
    if doubt:
        flags = (*flags, UNTRUSTED_FLAG, f"{LAYER_FLAG}_{doubt}")
    layer = _composed(text, doubt, page) if text else None
    return FoundLayer(layer, *_rendered_size(page.rect, scale), flags)


def _composed(text: PageContent, doubt: Doubt | None, page: Any) -> TextLayer | None:
    """The layer, if it is of any use."""
    words = [word for word in text.words if word.visible != (doubt is Doubt.INVISIBLE)]
    if doubt not in (None, Doubt.INVISIBLE) or (doubt and is_garbled(words)):
        return None
    if doubt:
        words = seen_in_scan(words, text.size, _gray(page), [*text.shapes, *_patches(text.images)])
    composed = compose_words(words, text.rules, text.size)
    return TextLayer(composed.text, composed.regions, trusted=doubt is None) if composed.text else None


def _patches(images: Sequence[Box]) -> list[Box]:
    """Images that lie on larger ones: a scan has been mended, or something in it covered."""
    return [
        image
        for image in images
        if any(
            other[0] <= image[0] and other[1] <= image[1] and other[2] >= image[2] and other[3] >= image[3]
            for other in images
            if other != image
        )
    ]


def _rendered_size(rect: Any, scale: float) -> tuple[int, int]:
    pixels = mupdf.fz_round_rect(mupdf.FzRect(0, 0, rect.width * scale, rect.height * scale))
    return pixels.x1 - pixels.x0, pixels.y1 - pixels.y0


def _page_text(page: Any) -> PageContent:
    """What MuPDF's text device collects, in points of the page as it is shown."""
    size = (page.rect.width, page.rect.height)
    textpage = _textpage(page, _TEXT | _IMAGES)
    blocks = list(islice(_blocks(textpage), MAX_BLOCKS + 1))
    if not any(block.type == mupdf.FZ_STEXT_BLOCK_TEXT for block in blocks) and len(blocks) <= MAX_BLOCKS:
        return PageContent((), (), (), (), size)
    if len(blocks) > MAX_BLOCKS or len(textpage.extractText()) > MAX_CHARACTERS:
        return PageContent((), (), (), (), size, too_much=True)
    paths = _Paths.of(page)
    if paths.count > MAX_PATHS:
        return PageContent((), (), (), (), size, too_much=True)
    images = tuple(_box(block.bbox) for block in blocks if block.type == mupdf.FZ_STEXT_BLOCK_IMAGE)
    vectors = _VECTORS if paths.count and not paths.any_long else 0
    if images or vectors:  # images not again: as dictionaries they would be encoded, which takes long
        textpage = _textpage(page, _TEXT | vectors)
    rules: list[Box] = []
    words: list[Word] = []
    for block in textpage.extractRAWDICT()["blocks"]:
        if block["type"] == mupdf.FZ_STEXT_BLOCK_TEXT:
            words += _words(block["lines"])
        elif block["type"] == mupdf.FZ_STEXT_BLOCK_VECTOR and block["isrect"]:
            rules += _rules(block["bbox"], block["stroked"])
    on_page = tuple(once(word for word in words if word.text and _is_on_page(word.box, size)))
    return PageContent(on_page, images, tuple(rules), tuple(paths.filled), size)


class _Paths(mupdf.FzDevice2):  # type: ignore[misc]
    """Counts what a page draws besides text and images, and stops it when that is too much."""

    def __init__(self, cookie: Any) -> None:
        super().__init__()
        self.use_virtual_fill_path()
        self.use_virtual_stroke_path()
        self._cookie = cookie
        self.count = 0
        self.any_long = False
        self.filled: list[Box] = []

    @classmethod
    def of(cls, page: Any) -> _Paths:
        cookie = mupdf.FzCookie()
        paths = cls(cookie)
        mupdf.fz_run_page(page.this, paths, mupdf.FzMatrix(), cookie)
        mupdf.fz_close_device(paths)
        return paths

    def _see(self, path: Any) -> None:
        self.count += 1
        self.any_long |= mupdf.ll_fz_packed_path_size(path) == _UNPACKED_BYTES
        if self.count > MAX_PATHS:
            self._cookie.m_internal.abort = 1

    def fill_path(self, context: Any, path: Any, even_odd: Any, ctm: Any, *paint: Any) -> None:
        self._see(path)
        self.filled.append(_box(mupdf.ll_fz_bound_path(path, None, ctm)))

    def stroke_path(self, context: Any, path: Any, *paint: Any) -> None:
        self._see(path)


def _textpage(page: Any, flags: int) -> Any:
    """Not ``Page.get_textpage``, which turns a page back and changes its dictionary for that."""
    return pymupdf.TextPage(page._get_textpage(None, flags=flags, matrix=pymupdf.Matrix(1, 1)))


def _blocks(textpage: Any) -> Iterator[Any]:
    block = textpage.this.m_internal.first_block
    while block is not None:
        yield block
        block = block.next


def _box(rect: Any) -> Box:
    return rect.x0, rect.y0, rect.x1, rect.y1


def _is_on_page(box: Box, size: tuple[float, float]) -> bool:
    return 0 <= box[0] + box[2] <= 2 * size[0] and 0 <= box[1] + box[3] <= 2 * size[1]


def _rules(box: Box, stroked: bool) -> Iterator[Box]:
    """A thin rectangle is a line; one drawn by its outline is four."""
    x1, y1, x2, y2 = box
    if not stroked or min(x2 - x1, y2 - y1) <= THICKEST_RULE:
        yield box
        return
    yield from ((x1, y1, x2, y1 + _DRAWN_BOX), (x1, y2 - _DRAWN_BOX, x2, y2))
    yield from ((x1, y1, x1 + _DRAWN_BOX, y2), (x2 - _DRAWN_BOX, y1, x2, y2))


def _words(lines: Sequence[Any]) -> Iterator[Word]:
    for line in lines:
        turn = turn_of(line["dir"])
        letters: list[str] = []
        boxes: list[Box] = []
        size, inked = 0.0, False
        for span in line["spans"]:
            span_inked = bool(span["char_flags"] & _INKED) and span["alpha"] > 0
            if letters and span_inked != inked:
                yield _word(letters, boxes, size, turn, inked)
                letters, boxes, size = [], [], 0.0
            inked = span_inked
            for character in span["chars"]:
                letter = character["c"]
                if letter.isspace() or character["synthetic"]:
                    if letters:
                        yield _word(letters, boxes, size, turn, inked)
                        letters, boxes, size = [], [], 0.0
                    continue
                box = character["bbox"]
                if letter == _SOFT_HYPHEN and max(box[2] - box[0], box[3] - box[1]) > 0:
                    letter = "-"
                letters.append(letter)
                boxes.append(box)
                size = max(size, span["size"])
        if letters:
            yield _word(letters, boxes, size, turn, inked)


def _word(letters: Sequence[str], boxes: Sequence[Box], size: float, turn: int, visible: bool) -> Word:
    text = clean("".join(letters))
    if len(text) == 1 and "\uf020" <= text <= "\uf0ff":
        text = _BULLET  # of a symbol font, by its code
    left, top, right, bottom = zip(*boxes, strict=True)
    return Word(text, (min(left), min(top), max(right), max(bottom)), size, turn, visible)


def _small_scale(page: Any) -> float:
    return float(min(MAX_SMALL_SCALE, (MAX_SMALL_PIXELS / (page.rect.width * page.rect.height)) ** 0.5))


def _gray(page: Any) -> Gray:
    """The page as a small gray picture."""
    scale = _small_scale(page)
    return _plane(
        page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csGRAY, alpha=False)
    )


def _plane(pixmap: Any) -> Gray:
    """A pixmap's last component."""
    samples = np.frombuffer(pixmap.samples, np.uint8)
    rows = samples.reshape(pixmap.height, pixmap.stride)[:, : pixmap.width * pixmap.n]
    plane: Gray = rows[:, pixmap.n - 1 :: pixmap.n]
    return plane


def _draw_small(page: Any) -> Picture:
    """The page small; and its letters alone, as they would be if nothing covered or cut them."""
    gray = _gray(page)
    scale = _small_scale(page)
    pixmap = mupdf.fz_new_pixmap(
        mupdf.fz_device_gray(), gray.shape[1], gray.shape[0], mupdf.FzSeparations(), 1
    )
    mupdf.fz_clear_pixmap(pixmap)
    device = mupdf.fz_new_draw_device(mupdf.FzMatrix(scale, 0, 0, scale, 0, 0), pixmap)
    for call in _NO_LETTERS:
        setattr(device.m_internal, call, None)
    mupdf.fz_run_page(page.this, device, mupdf.FzMatrix(), mupdf.FzCookie())
    mupdf.fz_close_device(device)
    return Picture(gray, _plane(pymupdf.Pixmap("raw", pixmap)))
