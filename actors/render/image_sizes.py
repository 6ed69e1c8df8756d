"""How large the images are that a PDF page would decode, told from its dictionaries alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.render.mupdf import mupdf

MAX_FORM_DEPTH = 6
Sizes = tuple[tuple[int, int], int]
"""Width and height of the largest image, and the pixels of all images."""
_NONE: Sizes = (0, 0), 0


class ImageSizes:
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
