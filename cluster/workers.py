"""The actors: thin shells that put a renderer, a page reader and a writer on Ray."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from cluster import roles, signals
from manifests.errors import EngineDead
from manifests.units import UnitPlan
from manifests.work import RenderCall, RenderReport
from results.open_unit import DocumentState
from results.read_report import ReadReport
from results.rows import ResultRow, rows_to_batch
from results.writer import SealReport, UnitWriter

REPORT_S = 0.5
"""How long a replica keeps to itself what pages came to: one slow page of a chunk must not hide that
the others are done and there is room for more."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Where a worker is, and where its log is."""

    node: str
    pid: int
    log: str
    engine: str = ""
    window: int = 0
    load_s: float = 0.0


def _describe() -> WorkerInfo:
    faulthandler.enable()  # a crash in native code leaves its stacks in the log
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    stderr = Path("/proc/self/fd/2")
    log = str(stderr.readlink()) if stderr.is_symlink() else ""
    return WorkerInfo(ray.get_runtime_context().get_node_id(), os.getpid(), log)


class RendererActor:
    """Renders one call at a time. A page over its time limit ends the process by design."""

    def __init__(self, make_renderer: Callable[[], roles.Renderer]) -> None:
        self._renderer = make_renderer()

    def start(self) -> WorkerInfo:
        return _describe()

    def render(self, call: RenderCall) -> tuple[RenderReport, roles.Chunk]:
        report, chunk = self._renderer.render(call)
        return report, chunk


@dataclass(frozen=True, slots=True)
class _Read:
    """A read in progress, and what its pages came to since it was last asked for."""

    task: asyncio.Task[ReadReport]
    reports: list[ReadReport]


class ReplicaActor:
    """One engine. Any number of reads may be in progress; their rows go straight to the writer."""

    _reader: roles.Reader

    def __init__(
        self, make_reader: Callable[[roles.RowSink, str], roles.Reader], writer: Any, name: str
    ) -> None:
        self._make_reader = make_reader
        self._writer = writer
        self._name = name
        self._reads: dict[int, _Read] = {}

    async def describe(self) -> WorkerInfo:
        """Where this is, before the engine loads (which may end the process)."""
        return _describe()

    async def start(self) -> WorkerInfo:
        """Load the engine and read a warm-up page."""
        started = time.monotonic()
        try:
            self._reader = await asyncio.to_thread(self._load)
            await self._reader.warm_up()
        except Exception:
            traceback.print_exc()
            raise
        info = self._reader.info
        load_s = time.monotonic() - started
        return replace(_describe(), engine=info.name, window=info.window, load_s=load_s)

    async def read(
        self, number: int, chunk: roles.Chunk, only: tuple[int, ...] | None
    ) -> tuple[ReadReport, bool]:
        """Start to read; what is finished before long, and whether that is all. If not: ``go_on``."""
        reports: list[ReadReport] = []
        task = asyncio.ensure_future(self._reader.read(chunk, only, reports.append))
        self._reads[number] = _Read(task, reports)
        return await self.go_on(number)

    async def go_on(self, number: int) -> tuple[ReadReport, bool]:
        """What was finished of a read since it was last asked for, and whether it has ended.

        Answers within ``REPORT_S`` also when nothing was: the driver hears what the engine waits for.
        """
        read = self._reads[number]
        await asyncio.wait({read.task}, timeout=REPORT_S)
        if read.task.done():
            del self._reads[number]
            await self._result(read.task)
        report = replace(sum(read.reports, ReadReport()), waiting=self._reader.waiting)
        read.reports.clear()
        return report, read.task.done()

    async def drain(self) -> None:
        """Begin no more pages, and see that the writer has those that are finished."""
        await self._reader.drain()

    def _load(self) -> roles.Reader:
        with signals.let_through():
            return self._make_reader(self._sink, self._name)

    async def _result(self, task: asyncio.Task[ReadReport]) -> None:
        try:
            await task
        except EngineDead as error:
            # An actor that stays alive around a dead engine would fail every later call.
            sys.stderr.write(f"engine dead: {error}\n")
            sys.stderr.flush()
            os._exit(1)

    async def _sink(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        if rows:
            await self._writer.add.remote(unit_id, generation, rows_to_batch(rows))


class WriterActor:
    """The one writer. Ray restarts it when it dies and sends the calls it had not answered again."""

    def __init__(self, make_writer: Callable[[], UnitWriter]) -> None:
        self._writer = make_writer()

    def open(self, plan: UnitPlan) -> dict[int, DocumentState]:
        return self._writer.open(plan)

    def add(self, unit_id: str, generation: int, batch: pa.RecordBatch) -> None:
        self._writer.add(unit_id, generation, batch)

    def add_rows(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> int:
        self._writer.add_rows(unit_id, generation, rows)
        return len(rows)

    @ray.method(concurrency_group="seal")
    def seal(self, unit_id: str, generation: int, page_counts: dict[int, int]) -> SealReport:
        return self._writer.seal(unit_id, generation, page_counts)

    def stored(self, unit_id: str, generation: int, pages: Sequence[tuple[int, int]]) -> list[bool]:
        return self._writer.stored(unit_id, generation, pages)

    def restart_document(self, unit_id: str, generation: int, doc_index: int, version: str) -> None:
        self._writer.restart_document(unit_id, generation, doc_index, version)

    def abandon(self, unit_id: str, generation: int) -> None:
        self._writer.abandon(unit_id, generation)

    def flush(self) -> None:
        self._writer.flush()

    def check(self) -> None:
        self._writer.check()
