"""Workers that do as they are told, for tests of a fleet without a driver.

A chunk is one order for the reader; a document's uri is one for the renderer.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from actors.engines.base import EngineInfo
from cluster.roles import RowSink
from cluster.settings import FleetSpec
from manifests.documents import Document
from manifests.errors import ConfigError, EngineDead, EngineUnavailable, JobError, StoreError
from manifests.units import UnitPlan, cut_units, first_generation
from manifests.work import RenderCall, RenderItem, RenderReport
from results.local_store import LocalStore
from results.read_report import ReadReport, report_on
from results.rows import ResultRow, Status
from results.writer import SealReport, UnitWriter, WriterConfig

PAGES = 8
SERVERS_DOWN = "no server answered for 600 s: http://127.0.0.1:1/v1"
WAITING = "the servers do not answer"
MEBIBYTE = 2**20
MOST_BYTES = 6 * 2**30
ERRORS = {
    "unavailable": EngineUnavailable(SERVERS_DOWN),
    "job": JobError("the cache cannot be written"),
    "store": StoreError("no space left on the output"),
    "dead": EngineDead("the engine died"),
    "silent": ConfigError("no server answers"),
    "config": ConfigError("engine.lang: no such language"),
    "bug": KeyError("a bug"),
}


def eat() -> None:
    """Take memory until somebody ends this process."""
    eaten = []
    while len(eaten) * 64 * MEBIBYTE < MOST_BYTES:
        eaten.append(bytearray(b"x") * (64 * MEBIBYTE))
        time.sleep(0.02)
    raise JobError("nobody cared for the memory this took")


def plan() -> UnitPlan:
    """One unit of one document."""
    document = Document("d.pdf", "/d.pdf", size=1, version="1", markdown="d")
    return first_generation(next(iter(cut_units([document]))))


def call(order: str) -> RenderCall:
    """A render call that carries out an order."""
    item = RenderItem(0, Document("d.pdf", order))
    return RenderCall("u", 1, (item,), max_pages=1, max_bytes=1, max_s=1.0)


class FakeRenderer:
    def render(self, call: RenderCall) -> tuple[RenderReport, str]:
        order = call.items[0].document.uri
        if order == "eat":
            eat()
        if order == "exit":
            os._exit(3)
        if order in ERRORS:
            raise ERRORS[order]
        return RenderReport(), order


class FakeReader:
    """``page N``: a row for that page. ``wait``: never answers, and says so. An error's name: raises it."""

    info = EngineInfo("fake", "fake", concurrency=8, window=8)

    def __init__(self, sink: RowSink, replica: str) -> None:
        self._sink = sink
        self._replica = replica
        self.waiting = ""

    async def warm_up(self) -> None:
        return None

    async def read(
        self,
        chunk: str,
        only: Sequence[int] | None = None,
        tell: Callable[[ReadReport], None] | None = None,
    ) -> ReadReport:
        if chunk == "eat":
            await asyncio.to_thread(eat)
        if chunk == "wait":
            self.waiting = WAITING
            await asyncio.Event().wait()
        if chunk in ERRORS:
            raise ERRORS[chunk]
        row = self._row(int(chunk.removeprefix("page ")))
        await self._sink(plan().unit_id, 1, [row])
        report = report_on([row])
        if tell:
            tell(report)
        return report

    async def drain(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _row(self, page: int) -> ResultRow:
        return ResultRow(
            doc_id="d.pdf",
            uri="/d.pdf",
            page=page,
            status=Status.OK,
            page_count=PAGES,
            replica=self._replica,
            fingerprint="f",
            source_version="1",
            finished_at=datetime.now(UTC),
        )


class SlowSealer(UnitWriter):
    """Seals nothing before it has taken rows."""

    def __init__(self, store: LocalStore, config: WriterConfig) -> None:
        super().__init__(store, config)
        self._took_rows = threading.Event()

    def add_rows(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        self._took_rows.set()

    def seal(self, unit_id: str, generation: int, page_counts: dict[int, int]) -> SealReport:
        self._took_rows.wait()
        return SealReport(True)


@dataclass(frozen=True, slots=True)
class FakeWorkers:
    """Makers of the fakes, and of a real writer that flushes only when it is told to."""

    output: str
    renderer: str = ""
    """What making a renderer comes to: an error's name, ``exit``, or nothing special."""
    reader: str = ""
    """The same of a reader."""
    writer: type[UnitWriter] = UnitWriter

    @property
    def servers_down(self) -> Path:
        """While this file is there, no reader can be made."""
        return Path(f"{self.output}.down")

    def spec(self) -> FleetSpec:
        return FleetSpec(self.make_renderer, self.make_reader, self.make_writer, num_cpus=0.1)

    def make_renderer(self) -> FakeRenderer:
        _made(self.renderer)
        return FakeRenderer()

    def make_reader(self, sink: RowSink, replica: str) -> FakeReader:
        _made(self.reader or ("silent" if self.servers_down.exists() else ""))
        return FakeReader(sink, replica)

    def make_writer(self) -> UnitWriter:
        return self.writer(LocalStore(self.output), WriterConfig("run", "f", flush_s=3600))


def _made(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how:
        raise ERRORS[how]
