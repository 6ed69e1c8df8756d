"""The Markdown of documents whose rows come by in order, written without holding a document in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.documents import Document
from manifests.pages import DOCUMENT_PAGE
from results.assembly import BETWEEN_PAGES, IMAGE_FLAG, PageText, markdown_file, markdown_parts
from results.spool import Spool
from results.store import Store

THREADS = 8


@dataclass(slots=True)
class _Unended:
    """The document whose rows came last: more of them may come."""

    index: int
    spool: Spool
    has_parts: bool = False

    def append(self, parts: Iterable[str]) -> None:
        for part in parts:
            self.spool.append((BETWEEN_PAGES if self.has_parts else "").encode() + part.encode())
            self.has_parts = True


class MarkdownWriter:
    """Writes a file per document as its rows come by, table after table.

    Rows come sorted by document; those of documents it was not given, and of other variants than the one
    to show, are passed over. ``count`` is how many files are written.
    """

    def __init__(self, store: Store, documents: Mapping[int, Document], variant: str = "") -> None:
        self.count = 0
        self._store = store
        self._documents = documents
        self._variant = variant
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="markdown")
        self._stack = ExitStack()
        self._last: _Unended | None = None

    def __enter__(self) -> MarkdownWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish_last()
        finally:
            self._threads.shutdown()
            self._stack.close()

    def add(self, table: pa.Table, indexes: np.ndarray) -> None:
        """Take rows in order; ``indexes`` names each one's document."""
        pieces = list(self._pieces(table, indexes))
        if pieces and self._last is not None and pieces[0][0] == self._last.index:
            self._last.append(self._parts(*pieces.pop(0)))
        if not pieces:
            return
        self._finish_last()
        *whole, (index, piece) = pieces
        list(self._threads.map(self._write, whole))
        self.count += len(whole)
        self._last = _Unended(index, self._stack.enter_context(Spool(self._store)))
        self._last.append(self._parts(index, piece))

    def _pieces(self, table: pa.Table, indexes: np.ndarray) -> Iterator[tuple[int, pa.Table]]:
        variant = pc.equal(table.column("variant"), self._variant)
        shown = np.asarray(pc.or_(variant, pc.equal(table.column("page"), DOCUMENT_PAGE)))
        if not shown.all():
            table, indexes = table.filter(pa.array(shown)), indexes[shown]
        bounds = [*np.flatnonzero(np.diff(indexes, prepend=-1)).tolist(), len(indexes)]
        for start, end in pairwise(bounds):
            if (index := int(indexes[start])) in self._documents:
                yield index, table.slice(start, end - start)

    def _parts(self, index: int, piece: pa.Table) -> Iterator[str]:
        return markdown_parts(self._documents[index].markdown, page_texts(piece))

    def _write(self, piece: tuple[int, pa.Table]) -> None:
        index, table = piece
        text = BETWEEN_PAGES.join(self._parts(index, table)) + "\n"
        self._store.replace(markdown_file(self._documents[index].markdown), text.encode())

    def _finish_last(self) -> None:
        if self._last is None:
            return
        self._last.spool.append(b"\n")
        self._last.spool.put(markdown_file(self._documents[self._last.index].markdown))
        self.count += 1
        self._stack.close()
        self._last = None


def page_texts(table: pa.Table) -> Iterator[PageText]:
    """What assembly needs of each row."""
    columns = (table.column(name).to_pylist() for name in ("page", "status", "reason", "text", "flags"))
    for page, status, reason, text, flags in zip(*columns, strict=True):
        yield PageText(page, status, reason, text, IMAGE_FLAG in (flags or ()))
