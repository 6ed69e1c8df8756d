"""Boxes and units of a page that make no sense, put right in memory before MuPDF loads it.

MuPDF shows an empty sheet of its own size where a crop box leaves nothing of the page.
"""

from __future__ import annotations

import math
from typing import Any

from actors.layout.lines import Box
from actors.render.mupdf import mupdf

LEAST_POINTS = 1.0
"""A box that leaves less of a page, in either direction, was not meant."""
USUAL = (0.0, 0.0, 612.0, 792.0)
"""What MuPDF takes for a page without a media box."""
UNITS = (1e-3, 1e5)
"""User units that may be meant; others count as 1."""


def mend_boxes(page: Any) -> bool:
    """Mend the dictionary of a page (a lent ``pdf_obj *``); whether anything was wrong."""
    return bool(_mend_unit(page) | _mend_crop(page))


def _mend_unit(page: Any) -> bool:
    unit = mupdf.ll_pdf_dict_gets(page, "UserUnit")
    if unit is None or UNITS[0] <= mupdf.ll_pdf_to_real(unit) <= UNITS[1]:
        return False
    mupdf.ll_pdf_dict_dels(page, "UserUnit")
    return True


def _mend_crop(page: Any) -> bool:
    """Let a box that leaves nothing of the page say what the other one says."""
    media_array = mupdf.ll_pdf_dict_gets_inheritable(page, "MediaBox")
    crop_array = mupdf.ll_pdf_dict_gets_inheritable(page, "CropBox")
    media = _rect(media_array)
    if crop_array is None and (media or media_array is None):
        return False
    crop = _rect(crop_array)
    if media is None:
        media = crop or USUAL
        _put(page, "MediaBox", media)
    elif crop is not None and _leaves_something(crop, media):
        return False
    if crop_array is not None:
        _put(page, "CropBox", media)
    return True


def _rect(array: Any) -> Box | None:
    """The box of an array of four numbers, its corners sorted; None where it holds next to nothing."""
    if array is None:
        return None
    x1, y1, x2, y2 = (mupdf.ll_pdf_to_real(mupdf.ll_pdf_array_get(array, index)) for index in range(4))
    box = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    sound = all(map(math.isfinite, box)) and min(box[2] - box[0], box[3] - box[1]) >= LEAST_POINTS
    return box if sound else None


def _leaves_something(crop: Box, media: Box) -> bool:
    width = min(crop[2], media[2]) - max(crop[0], media[0])
    height = min(crop[3], media[3]) - max(crop[1], media[1])
    return width >= LEAST_POINTS and height >= LEAST_POINTS


def _put(page: Any, key: str, box: Box) -> None:
    mine = mupdf.PdfObj(mupdf.ll_pdf_keep_obj(page))
    mupdf.pdf_dict_put_rect(mine, mupdf.pdf_new_name(key), mupdf.FzRect(*box))
