"""Opening a document whatever it is, and keeping the last one open for the next call."""

from __future__ import annotations

from pathlib import Path

from actors.render.image import ImagePages
from actors.render.kinds import HEAD_BYTES, PDF, document_kind
from actors.render.limits import HardLimits, is_out_of_memory
from actors.render.raster import OpenPages
from actors.render.settings import RenderConfig
from actors.sources.cache import LocatedSource, SourceCache
from actors.sources.local import unreadable
from manifests.documents import Document, sources_version
from manifests.errors import DocumentError, SourceUnavailable

MAX_OPEN = 4
MAX_OPENINGS = 3
"""A cached file may be evicted between locating and opening it; then it is located again."""


def open_pages(path: Path, name: str, config: RenderConfig) -> OpenPages:
    """Open a local file as what its content says it is.

    Raises DocumentError, FileNotFoundError when the file is gone, or SourceUnavailable.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        kind = document_kind(head, name)
        if kind != PDF:
            return ImagePages(path, kind, config)
        from actors.render.pdf import PdfPages  # a second of import, only where PDFs are read

        return PdfPages(path, config)
    except (DocumentError, FileNotFoundError):
        raise
    except OSError as error:
        raise unreadable(path, name, error) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise DocumentError(out_of_memory(config)) from error
        raise DocumentError(f"cannot be opened: {error}") from error


def out_of_memory(config: RenderConfig) -> str:
    """The reason of what needed more memory than one renderer may take."""
    return f"needs more memory than the {config.memory_bytes:,} bytes allowed (render.memory_bytes)"


class OpenFailure(DocumentError):
    """A document that was found, in the version of the second argument, but cannot be opened."""

    def __init__(self, message: str, version: str) -> None:
        super().__init__(message, version)
        self.version = version

    def __str__(self) -> str:
        return str(self.args[0])


class OpenDocuments:
    """Opens documents, one at a time, and keeps the last one open."""

    def __init__(self, config: RenderConfig, sources: SourceCache, limits: HardLimits) -> None:
        self._config = config
        self._sources = sources
        self._limits = limits
        self._kept: dict[LocatedSource, OpenPages] = {}

    def get(self, document: Document) -> tuple[OpenPages, str]:
        """The document's pages and its source's version, opened anew only if the source changed.

        Raises DocumentError when it cannot be found, OpenFailure when it cannot be opened, and
        SourceUnavailable when neither can be told at present.
        """
        for opening in range(1, MAX_OPENINGS + 1):
            try:
                source = self._sources.locate(document, self._config.max_source_bytes)
            except SourceUnavailable:
                self.close()  # evicted files that are held open still fill the cache's disk
                raise
            version = source.stat.version
            if (kept := self._kept.pop(source, None)) is not None:
                self._kept[source] = kept
                return kept, version
            while len(self._kept) >= MAX_OPEN:
                self._kept.pop(next(iter(self._kept))).close()
            try:
                with self._limits.seconds(self._config.open_timeout_s):
                    pages = open_pages(source.path, document.uri, self._config)
            except FileNotFoundError as error:
                if opening == MAX_OPENINGS:
                    raise DocumentError(f"{document.uri} was removed while it was being opened") from error
                continue
            except DocumentError as error:
                raise OpenFailure(str(error), version) from error
            self._kept[source] = pages
            return pages, version
        raise AssertionError("unreachable")

    def version(self, document: Document) -> str:
        """The version that the document's source has now, or its sources together. Raises like ``get``."""
        if document.sources:
            every = range(len(document.sources))
            return sources_version([self.version(document.of_source(i)) for i in every])
        return self._sources.locate(document, self._config.max_source_bytes).stat.version

    def unreadable(self, document: Document, error: OSError) -> DocumentError | SourceUnavailable:
        """What to raise for a source that was found and opened, but cannot be read. Raises like ``get``."""
        path = self._sources.locate(document, self._config.max_source_bytes).path
        return unreadable(path, document.uri, error)

    def drop(self, pages: OpenPages) -> None:
        """Close an open document that is spoilt: ``get`` opens it anew."""
        for source, kept in list(self._kept.items()):
            if kept is pages:
                self._kept.pop(source).close()

    def release_memory(self) -> None:
        """Give back what decoders cached; the documents stay open."""
        for pages in self._kept.values():
            pages.release_memory()

    def close(self) -> None:
        """Close the documents that are open."""
        while self._kept:
            self._kept.popitem()[1].close()
