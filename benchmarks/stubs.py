"""Workers with empty bodies: what is left is the scheduler, Ray and the writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from actors.chunks import Chunk, RenderedPage
from actors.engines.base import EngineInfo
from cluster.roles import RowSink
from manifests.pages import PageSpan
from manifests.work import OpenedDocument, RenderCall, RenderReport
from results.local_store import LocalStore
from results.read_report import ReadReport
from results.rows import ResultRow, Status
from results.writer import UnitWriter, WriterConfig

IMAGE = np.zeros((8, 8, 3), dtype=np.uint8)
WINDOW = 256


class StubRenderer:
    """Hands out one tiny image per page. A document's length is the last part of its uri."""

    def render(self, call: RenderCall) -> tuple[RenderReport, Chunk]:
        pages: list[RenderedPage] = []
        opened: dict[int, OpenedDocument] = {}
        covered: list[tuple[int, PageSpan]] = []
        for item in call.items:
            count = int(item.document.uri.rpartition("/")[2])
            opened[item.doc_index] = OpenedDocument(item.doc_index, count, "1")
            for span in item.spans or (PageSpan(1, count),):
                last = min(span.last, span.first + call.max_pages - len(pages) - 1)
                covered.append((item.doc_index, PageSpan(span.first, last)))
                pages += [
                    RenderedPage(item.doc_index, page, (IMAGE,), 8, 8) for page in PageSpan(span.first, last)
                ]
                if len(pages) >= call.max_pages:
                    break
            if len(pages) >= call.max_pages:
                break
        report = RenderReport(tuple(opened.values()), tuple(covered), len(pages), IMAGE.nbytes * len(pages))
        documents = {item.doc_index: item.document for item in call.items}
        return report, Chunk(call.unit_id, call.generation, documents, opened, tuple(pages))


class StubReader:
    """Makes a row of every page and hands a chunk's rows to the sink at once."""

    info = EngineInfo("stub", "stub", concurrency=WINDOW, window=WINDOW)
    waiting = ""

    def __init__(self, sink: RowSink, replica: str) -> None:
        self._sink = sink
        self._replica = replica

    async def warm_up(self) -> None:
        return None

    async def read(
        self,
        chunk: Chunk,
        only: Sequence[int] | None = None,
        tell: Callable[[ReadReport], None] | None = None,
    ) -> ReadReport:
        pages = chunk.pages if only is None else [chunk.pages[i] for i in only]
        rows = [self._row(chunk, page) for page in pages]
        await self._sink(chunk.unit_id, chunk.generation, rows)
        report = ReadReport({Status.OK: len(rows)}, len(rows), len(rows))
        if tell:
            tell(report)
        return report

    def _row(self, chunk: Chunk, page: RenderedPage) -> ResultRow:
        document = chunk.documents[page.doc_index]
        return ResultRow(
            doc_id=document.doc_id,
            uri=document.uri,
            page=page.page,
            status=Status.OK,
            page_count=chunk.opened[page.doc_index].page_count,
            text=f"{document.doc_id} page {page.page}",
            completion_tokens=1,
            replica=self._replica,
            generation=chunk.generation,
            source_version="1",
            finished_at=datetime.now(UTC),
        )


@dataclass(frozen=True, slots=True)
class StubWorkers:
    """Makers of the stubs, and of the real writer."""

    output: str

    def make_renderer(self) -> StubRenderer:
        return StubRenderer()

    def make_reader(self, sink: RowSink, replica: str) -> StubReader:
        return StubReader(sink, replica)

    def make_writer(self) -> UnitWriter:
        return UnitWriter(LocalStore(self.output), WriterConfig("benchmark", "benchmark"))
