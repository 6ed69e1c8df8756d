"""Which of a TIFF's images are its pages: not thumbnails, levels of a pyramid, or masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
REDUCED, MASK = 1, 4
"""Bits of NewSubfileType (TIFF 6.0, page 36); bit 1 says that it is a page of several."""
OLD_REDUCED = 2
MAX_FRAMES = 100_000


def page_frames(image: Any) -> tuple[list[int], str]:
    """The frames (from 0) that are pages, and what stopped the search for more, ``""`` if nothing did.

    Where all are reduced or masks, those that are no masks are pages, and then all: an image is shown.
    """
    kinds: list[int] = []
    stopped = ""
    try:
        while len(kinds) < MAX_FRAMES:
            image.seek(len(kinds))
            kinds.append(_kind(image))
    except EOFError:
        pass
    except Exception as error:
        if not kinds or isinstance(error, MemoryError):
            raise
        stopped = f"the file's list of images breaks off after {len(kinds)}: {error}"
    return list(_pages(kinds)), stopped


def _pages(kinds: Sequence[int]) -> Sequence[int]:
    for unwanted in (REDUCED | MASK, MASK):
        if pages := [frame for frame, kind in enumerate(kinds) if not kind & unwanted]:
            return pages
    return range(len(kinds))


def _kind(image: Any) -> int:
    """NewSubfileType of the frame, or what the older tag says."""
    kind = image.tag_v2.get(NEW_SUBFILE_TYPE)
    if isinstance(kind, int):
        return kind
    return REDUCED if image.tag_v2.get(SUBFILE_TYPE) == OLD_REDUCED else 0
