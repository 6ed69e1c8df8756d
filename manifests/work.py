"""What passes between the driver and the renderers: calls and reports.

A render call names page spans of documents of one unit; its answer is a small report for the driver
and a chunk of rendered pages that travels on to a replica without passing through the driver.
"""

from __future__ import annotations

from dataclasses import dataclass

from manifests.documents import Document
from manifests.pages import PageSpan

PROBE_UNIT = "probe"
"""The unit of calls that only show whether rendering and reading work at all: its rows are nobody's."""


@dataclass(frozen=True, slots=True)
class RenderItem:
    """Pages wanted of one document. ``spans`` is empty while its page count is unknown: then the
    renderer opens it and starts at the first page of the document's own selection."""

    doc_index: int
    document: Document
    spans: tuple[PageSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class RenderCall:
    """Render items in order until one of the limits is reached; what is left out is asked again.

    At least one page is rendered whatever the limits say, except that ``max_pages`` 0 only opens.
    ``encode`` asks for JPEG instead of raw arrays, for a chunk that will cross to another node.
    """

    unit_id: str
    generation: int
    items: tuple[RenderItem, ...]
    max_pages: int
    max_bytes: int
    max_s: float
    encode: bool = False


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """What opening told. ``error`` is the reason when it failed; ``version`` is the source's version
    at that moment, ``""`` if it could not even be found."""

    doc_index: int
    page_count: int
    version: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class UnavailableSource:
    """A document whose source does not answer at present (``SourceUnavailable``)."""

    doc_index: int
    message: str


@dataclass(frozen=True, slots=True)
class RenderReport:
    """The driver's share of a render call's answer: no pixels, no texts.

    ``opened`` lists every document the call opened, in order; ``covered`` the spans that are in the
    chunk, in its order (``PageSpan(0, 0)`` for a document that could not be opened); ``to_read``
    counts pages an engine is to read; ``image_bytes`` is the size of all images. ``unavailable`` names
    documents that could not be looked at for no fault of theirs: the call ended before the first of them,
    and what it did not cover is asked again.
    """

    opened: tuple[OpenedDocument, ...] = ()
    covered: tuple[tuple[int, PageSpan], ...] = ()
    to_read: int = 0
    image_bytes: int = 0
    unavailable: tuple[UnavailableSource, ...] = ()
