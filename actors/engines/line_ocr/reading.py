"""From the lines an OCR engine read to its completion: order, confidence, coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.engines.base import NO_TEXT_FLAG, Completion, Image
from actors.engines.line_ocr.unread import UNREAD_FLAG, unread_print
from actors.engines.line_ocr.upright import Upright
from actors.layout.compose import BOX_SCALE, compose, scaled_box
from actors.layout.lines import Rules, TextLine

DESKEWED_FLAG = "deskewed"


def completion_of(page: Upright, lines: Sequence[TextLine], rules: Rules) -> Completion:
    """Compose the page. Boxes of regions refer to the page turned upright, but not straightened."""
    height, width = page.image.shape[:2]
    composed = compose(lines, width, height, rules)
    regions = composed.regions
    if page.skew:
        regions = tuple(replace(region, box=_rescaled(page, region.box, width, height)) for region in regions)
    characters = sum(len(line.text) for line in lines)
    if not characters:
        return nothing_read(page.image)
    unread = unread_print(page.image, [line.box for line in lines])
    return Completion(
        composed.text,
        regions=regions,
        rotation=page.rotation,
        mean_confidence=sum(line.score * len(line.text) for line in lines) / characters if lines else None,
        worst_confidence=min(line.score for line in lines) if lines else None,
        flags=((DESKEWED_FLAG,) if page.skew else ()) + ((UNREAD_FLAG,) if unread else ()),
        unread=unread,
    )


def nothing_read(image: Image) -> Completion:
    """The answer about a page on which no text was found: right where it shows no print."""
    unread = unread_print(image, ())
    if unread:
        return Completion("", flags=(UNREAD_FLAG,), unread=unread)
    return Completion("", flags=(NO_TEXT_FLAG,))


def _rescaled(
    page: Upright, box: tuple[int, int, int, int], width: int, height: int
) -> tuple[int, int, int, int]:
    """From the 0-999 scale of the straightened image to that of the page before."""
    x1, x2 = (value * width / BOX_SCALE for value in (box[0], box[2]))
    y1, y2 = (value * height / BOX_SCALE for value in (box[1], box[3]))
    return scaled_box(page.box_before_straightening((x1, y1, x2, y2)), page.width, page.height)
