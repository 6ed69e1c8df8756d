"""One page that shows several images: each rendered by itself, then put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from actors.chunks import RenderedPage
from manifests.documents import Document
from manifests.pages import PageSpan
from results.rows import Status

FIRST_PAGE = (PageSpan(1, 1),)
"""Of each source: that of a PDF or TIFF stands for the file, as the only one of an image does."""


def shown_together(document: Document, parts: Sequence[RenderedPage]) -> RenderedPage:
    """The page of a document with several sources, of the first page of each.

    An image that cannot be shown fails the page, which is nothing without it; only if all are blank it is.
    """
    first = parts[0]
    render_s = sum(part.render_s for part in parts)
    for number, part in enumerate(parts, 1):
        if part.status is Status.FAILED:
            reason = _reason(document, number, part.reason)
            return RenderedPage(first.doc_index, 1, render_s=render_s, status=part.status, reason=reason)
    blank = all(part.status is Status.BLANK for part in parts)
    return RenderedPage(
        first.doc_index,
        1,
        () if blank else tuple(image for part in parts for image in part.images),
        first.width,
        first.height,
        first.rotation,
        render_s,
        tuple(dict.fromkeys(flag for part in parts for flag in part.flags)),
        first.status if blank else None,
        first.reason if blank else "",
    )


def _reason(document: Document, number: int, reason: str) -> str:
    uri = document.sources[number - 1].uri
    named = reason if uri in reason else f"{uri}: {reason}"
    return f"image {number} of {len(document.sources)}: {named}"
