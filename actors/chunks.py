"""Rendered pages on their way from a renderer to a replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manifests.documents import Document
from manifests.work import OpenedDocument
from results.rows import Region, Status


@dataclass(frozen=True, slots=True)
class TextLayer:
    """A PDF page's own text, composed as read text is.

    ``trusted`` says that it is what the page shows; else it is somebody's OCR, hidden behind a scan.
    """

    text: str
    regions: tuple[Region, ...]
    trusted: bool


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """One page as it leaves the renderer.

    ``images`` are RGB ``uint8`` arrays (height, width, 3) or JPEG bytes: one, or those of all sources of a
    document that has several, in order; width, height and rotation are those of the first. ``status`` is
    None when it is to be read. Decided are ``blank``, which needs no reading, ``failed``, which could not
    be rendered, and ``ok``, whose text is its ``layer``: then an image is there only to be kept. The layer
    of a page to be read stands in for an engine that fails.
    """

    doc_index: int
    page: int
    images: tuple[Any, ...] = ()
    width: int = 0
    height: int = 0
    rotation: int = 0
    render_s: float = 0.0
    flags: tuple[str, ...] = ()
    status: Status | None = None
    reason: str = ""
    layer: TextLayer | None = None

    @property
    def image(self) -> Any:
        """The first image, None where there is none."""
        return self.images[0] if self.images else None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rendered pages of one unit, with what a replica needs to make rows of them."""

    unit_id: str
    generation: int
    documents: dict[int, Document]
    opened: dict[int, OpenedDocument]
    pages: tuple[RenderedPage, ...]
