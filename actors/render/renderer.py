"""Answers render calls: pages of documents in, a chunk of images and a report out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from actors.chunks import Chunk, RenderedPage
from actors.render.blank import is_blank
from actors.render.heap import keep_freed_memory
from actors.render.image import encode_jpeg
from actors.render.limits import HardLimits, is_out_of_memory
from actors.render.opening import OpenDocuments, OpenFailure, out_of_memory
from actors.render.raster import FoundLayer, OpenPages, Raster, RgbArray
from actors.render.settings import RenderConfig, TextLayerUse
from actors.render.together import FIRST_PAGE, shown_together
from actors.sources.cache import SourceCache
from manifests.documents import Document, sources_version
from manifests.errors import DocumentError, PageError, SourceUnavailable
from manifests.pages import DOCUMENT_PAGE, PageSpan, plan_pages
from manifests.work import OpenedDocument, RenderCall, RenderItem, RenderReport, UnavailableSource
from results.rows import LAYER_FLAG, Status

MAX_CHUNK_BYTES = 2**36
MAX_CHANGES = 2
"""Versions of a source that one call begins to render; one that changes faster is the driver's to judge."""
MAX_REASON = 500
"""Characters of a decoder's message that are kept."""


class Renderer:
    """Renders pages; keeps the last document open between calls. One call at a time.

    With ``hard_limits`` it must live in the main thread of a process of its own: a page that
    hangs ends that process by SIGALRM, and memory is capped for all of it while a call runs.
    With ``keep_images`` a page whose text layer is taken is rendered all the same. With ``encode``
    every page leaves as JPEG, for engines that pass images on; else those that a call wants so.
    """

    def __init__(
        self,
        config: RenderConfig,
        sources: SourceCache,
        hard_limits: bool = True,
        keep_images: bool = False,
        encode: bool = False,
    ) -> None:
        self._config = config
        self._encode_all = self._encode = encode
        self._keep_images = keep_images
        self._limits = HardLimits(hard_limits)
        if hard_limits:
            keep_freed_memory()
        self._documents = OpenDocuments(config, sources, self._limits)

    def render(self, call: RenderCall) -> tuple[RenderReport, Chunk]:
        """Render items in order until one of the call's limits is reached, at least one page.

        A call with ``max_pages`` 0 only opens its documents.

        What is wrong with a document or a page is in the answer; it raises only what concerns
        neither, such as JobError for a source cache that cannot be written.
        """
        answer = _Answer(call)
        self._encode = self._encode_all or call.encode
        chunk_bytes = min(call.max_bytes, MAX_CHUNK_BYTES)  # finished pages must not starve later ones
        with self._limits.memory(self._config.memory_bytes + chunk_bytes):
            for item in call.items:
                try:
                    self._render_item(item, answer)
                except SourceUnavailable as error:
                    answer.unavailable = UnavailableSource(item.doc_index, _reason(error))
                if answer.is_full() or answer.unavailable:
                    break
        self._documents.release_memory()
        return answer.report(), answer.chunk()

    def close(self) -> None:
        """Close the document that is still open."""
        self._documents.close()

    def _render_item(self, item: RenderItem, answer: _Answer) -> None:
        """Render one document's pages; all of one version of its source, or none.

        A source that changes meanwhile is begun anew, and left for a later call if it changes again.
        Raises SourceUnavailable when its source does not answer; pages rendered until then are kept.
        """
        for _ in range(MAX_CHANGES):
            before = len(answer.pages)
            version = self._render_version(item, answer)
            if not version or self._version_now(item, version) == version:
                return
            answer.take_back(before)

    def _render_version(self, item: RenderItem, answer: _Answer) -> str:
        """Render one document's pages as they are now. Returns the version of its source."""
        if item.document.sources:
            return self._render_together(item, answer)
        started = time.perf_counter()
        try:
            pages, version = self._documents.get(item.document)
            spans = item.spans or _own_selection(item.document, pages.page_count)
        except DocumentError as error:
            return answer.add_unopened(item, error, time.perf_counter() - started)
        answer.add_opened(item, OpenedDocument(item.doc_index, pages.page_count, version))
        if not answer.call.max_pages:
            return version
        for page in _numbers(spans):
            try:
                pages, rendered = self._render_readable(pages, item, version, page)
            except _Changed:
                break
            answer.add_page(rendered)
            if answer.is_full():
                break
        return version

    def _render_together(self, item: RenderItem, answer: _Answer) -> str:
        """Render the one page of a document with several sources, all its images. Returns their version."""
        document, call = item.document, answer.call
        parts: list[RenderedPage] = []
        versions: list[str] = []
        for i in range(len(document.sources)):
            part = _Answer(call)
            versions.append(
                self._render_version(_Part(item.doc_index, document.of_source(i), FIRST_PAGE), part)
            )
            parts += part.pages
        version = sources_version(versions)
        try:
            spans = item.spans or _own_selection(document, page_count=1)
        except DocumentError as error:
            return answer.add_unopened(item, error, 0.0)
        answer.add_opened(item, OpenedDocument(item.doc_index, 1, version))
        if call.max_pages and any(spans) and len(parts) == len(versions):
            answer.add_page(shown_together(document, parts))
        return version

    def _render_readable(
        self, pages: OpenPages, item: RenderItem, version: str, page: int
    ) -> tuple[OpenPages, RenderedPage]:
        """One page. Where its file cannot be read, the source is asked again and the page tried once more.

        Raises SourceUnavailable where the source does not answer, _Changed where it has another version.
        """
        started = time.perf_counter()
        rendered = self._render_page(pages, item, page)
        if isinstance(rendered, RenderedPage):
            return pages, rendered
        self._documents.drop(pages)
        try:
            pages, now = self._documents.get(item.document)
            if now != version:
                raise _Changed
            rendered = self._render_page(pages, item, page)
            if isinstance(rendered, OSError):
                raise self._documents.unreadable(item.document, rendered)
        except DocumentError as error:
            rendered = _failed(item.doc_index, page, _reason(error), time.perf_counter() - started)
        return pages, rendered

    def _version_now(self, item: RenderItem, version: str) -> str:
        """The version of a source whose pages were rendered; a file that was removed since was whole."""
        try:
            return self._documents.version(item.document)
        except (DocumentError, SourceUnavailable):
            return version

    def _render_page(self, pages: OpenPages, item: RenderItem, page: int) -> RenderedPage | OSError:
        """One page; an OSError where its file could not be read, which says nothing about the page."""
        started = time.perf_counter()
        try:
            with self._limits.seconds(self._config.page_timeout_s):
                return self._shown(pages, item, page, started)
        except Exception as error:  # noqa: BLE001  the boundary of a page: it fails, others go on
            if isinstance(error, OSError) and error.errno is not None:
                return error
            reason = out_of_memory(self._config) if is_out_of_memory(error) else _reason(error)
            return _failed(item.doc_index, page, reason, time.perf_counter() - started)

    def _shown(self, pages: OpenPages, item: RenderItem, page: int, started: float) -> RenderedPage:
        """What the page shows, or its text where that is known to be the same."""
        doc_index, is_part = item.doc_index, isinstance(item, _Part)
        found = None
        if self._config.text_layer is not TextLayerUse.NEVER and not is_part:
            found = pages.find_layer(page)
        if found and self._is_enough(found) and not self._keep_images:
            return _of_layer(found, doc_index, page, started)
        raster = pages.render(page)
        blank = self._config.skip_blank and is_blank(raster.image)
        if blank and raster.warning:  # an image that could not be decoded leaves an empty page behind
            raise PageError(f"nothing visible was rendered, and MuPDF says: {raster.warning}")
        if blank and (doubt := pages.doubt_of_blank(page)):
            raise PageError(doubt)
        rendered = self._finish(raster, doc_index, page, blank, started)
        if blank and not is_part:  # nothing of it travels, but beside others
            rendered = replace(rendered, images=())
        return self._with_layer(rendered, found) if found else rendered

    def _is_enough(self, found: FoundLayer) -> bool:
        prefer = self._config.text_layer is TextLayerUse.PREFER
        return prefer and found.layer is not None and found.layer.trusted

    def _with_layer(self, page: RenderedPage, found: FoundLayer) -> RenderedPage:
        """A rendered page with its text layer, which decides it or travels with it."""
        if page.status is not None:
            return page
        added = tuple(flag for flag in found.flags if flag not in page.flags)
        if self._is_enough(found):
            flags, status = (*page.flags, *added, LAYER_FLAG), Status.OK
            return replace(page, flags=flags, status=status, layer=found.layer)
        return replace(page, flags=page.flags + added, layer=found.layer)

    def _finish(self, raster: Raster, doc_index: int, page: int, blank: bool, started: float) -> RenderedPage:
        """A rendered page, encoded where it travels so."""
        height, width = raster.image.shape[:2]
        flags = (*raster.flags, "damaged") if raster.warning else raster.flags
        status, reason = (Status.BLANK, "near-uniform colour") if blank else (None, "")
        image: RgbArray | bytes = raster.image
        if self._encode:
            image = encode_jpeg(raster.image, self._config.jpeg_quality)
        render_s = time.perf_counter() - started
        return RenderedPage(
            doc_index, page, (image,), width, height, raster.rotation, render_s, flags, status, reason
        )


@dataclass(frozen=True, slots=True)
class _Part(RenderItem):
    """One of several images of a page: wanted even if it is blank, and as it looks, whatever text it has."""


class _Changed(Exception):
    """The source has another version than the pages rendered so far."""


def _failed(doc_index: int, page: int, reason: str, render_s: float) -> RenderedPage:
    return RenderedPage(doc_index, page, render_s=render_s, status=Status.FAILED, reason=reason)


def _of_layer(found: FoundLayer, doc_index: int, page: int, started: float) -> RenderedPage:
    """A page that need not be rendered."""
    return RenderedPage(
        doc_index,
        page,
        width=found.width,
        height=found.height,
        render_s=time.perf_counter() - started,
        flags=(*found.flags, LAYER_FLAG),
        status=Status.OK,
        layer=found.layer,
    )


def _own_selection(document: Document, page_count: int) -> tuple[PageSpan, ...]:
    """The pages a document is to be read from, as its manifest row says."""
    try:
        return plan_pages(document.pages, document.max_pages, page_count).read
    except ValueError as error:
        raise DocumentError(f"pages: {error}") from error


def _numbers(spans: Iterable[PageSpan]) -> Iterator[int]:
    return (page for span in spans for page in span)


def _reason(error: Exception) -> str:
    """A decoder's message as one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:MAX_REASON]


@dataclass
class _Answer:
    """What a call has come to so far."""

    call: RenderCall
    started: float = field(default_factory=time.monotonic)
    pages: list[RenderedPage] = field(default_factory=list)
    documents: dict[int, Document] = field(default_factory=dict)
    opened: dict[int, OpenedDocument] = field(default_factory=dict)
    image_bytes: int = 0
    unavailable: UnavailableSource | None = None

    def add_opened(self, item: RenderItem, opened: OpenedDocument) -> None:
        self.documents[item.doc_index] = item.document
        self.opened[item.doc_index] = opened

    def add_unopened(self, item: RenderItem, error: DocumentError, render_s: float) -> str:
        """Add what stands for its pages. Returns the version that was found, ``""`` where none was."""
        version = error.version if isinstance(error, OpenFailure) else ""
        reason = _reason(error)
        self.add_opened(item, OpenedDocument(item.doc_index, 0, version, reason))
        # Pages are named once the document was open before: then each fails by itself, since some of
        # its pages may have rows already and the one row of an unopened document must stand alone.
        for page in _numbers(item.spans) if item.spans else (DOCUMENT_PAGE,):
            self.add_page(_failed(item.doc_index, page, reason, render_s))
        return version

    def add_page(self, page: RenderedPage) -> None:
        self.pages.append(page)
        self.image_bytes += _image_bytes(page)

    def take_back(self, pages: int) -> None:
        """Forget all pages but the first so many."""
        self.image_bytes -= sum(map(_image_bytes, self.pages[pages:]))
        del self.pages[pages:]

    def is_full(self) -> bool:
        """Whether a limit is reached; never before there is a page."""
        return bool(self.pages) and (
            len(self.pages) >= self.call.max_pages
            or self.image_bytes >= self.call.max_bytes
            or time.monotonic() - self.started >= self.call.max_s
        )

    def report(self) -> RenderReport:
        covered = tuple(_runs((page.doc_index, page.page) for page in self.pages))
        to_read = sum(page.status is None for page in self.pages)
        unavailable = (self.unavailable,) if self.unavailable else ()
        return RenderReport(tuple(self.opened.values()), covered, to_read, self.image_bytes, unavailable)

    def chunk(self) -> Chunk:
        return Chunk(self.call.unit_id, self.call.generation, self.documents, self.opened, tuple(self.pages))


def _runs(pages: Iterable[tuple[int, int]]) -> Iterator[tuple[int, PageSpan]]:
    """Pages in the order of the chunk, as spans: the driver counts its way to a page by them."""
    run: tuple[int, PageSpan] | None = None
    for doc_index, page in pages:
        if run is not None and run[0] == doc_index and run[1].last + 1 == page:
            run = (doc_index, PageSpan(run[1].first, page))
            continue
        if run is not None:
            yield run
        run = (doc_index, PageSpan(page, page))
    if run is not None:
        yield run


def _image_bytes(page: RenderedPage) -> int:
    """Bytes of raw arrays or of JPEGs; 0 of a page without an image."""
    return sum(len(image) if isinstance(image, bytes) else int(image.nbytes) for image in page.images)
