"""The fleet without Ray: the engine and the writer in this process, one child that renders.

For debugging, as a baseline, and where Ray is not wanted.
"""

from __future__ import annotations

import asyncio
import faulthandler
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from cluster import signals
from cluster.fleet import (
    Event,
    ReadDone,
    ReadProgress,
    ReplicaUp,
    RowsWritten,
    UnitKey,
    UnitOpened,
    UnitSealed,
)
from cluster.local_renderer import NODE, Events, LocalRenderer
from cluster.roles import Chunk, Reader
from cluster.settings import FleetSpec
from manifests.units import UnitPlan
from manifests.work import RenderCall
from results.read_report import ReadReport
from results.rows import ResultRow, rows_to_batch

REPLICA = "replica-1"
REPORT_S = 0.5
"""How often each read is told of when none of its pages finishes."""
STOP_WITHIN_S = 3.0
WIND_UP_S = 1.0
DRAIN_PATIENCE_S = 1.0

T = TypeVar("T")


class LocalFleet:
    """Implements ``cluster.fleet.Fleet`` in one process and a rendering child."""

    _reader: Reader

    def __init__(self, spec: FleetSpec) -> None:
        self._spec = spec
        self._events: Events = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reader", daemon=True)
        self._sealer = ThreadPoolExecutor(2, thread_name_prefix="store")
        self._loaded = False
        self._reads: set[int] = set()
        self._writer = spec.make_writer()
        self._renderer = LocalRenderer(spec.make_renderer, self._events)

    def start(self) -> None:
        with signals.held_back():  # also from the programs an engine runs for a page
            self._renderer.start()
            self._thread.start()
        started = time.monotonic()
        self._reader = reader = self._spec.make_reader(self._sink, REPLICA)
        self._loaded = True
        asyncio.run_coroutine_threadsafe(reader.warm_up(), self._loop).result()
        asyncio.run_coroutine_threadsafe(self._report(), self._loop)
        info = reader.info
        self._events.put(ReplicaUp(REPLICA, NODE, info.name, info.window, time.monotonic() - started))

    def poll(self, timeout_s: float) -> list[Event]:
        self._writer.check()
        events: list[Event] = []
        try:
            item = self._events.get(timeout=timeout_s)
            while True:
                if isinstance(item, BaseException):
                    raise item
                events.append(item)
                item = self._events.get_nowait()
        except queue.Empty:
            return events

    def render(self, renderer: str, call: int, request: RenderCall) -> None:
        self._renderer.send(renderer, call, request)

    def read(self, replica: str, read: int, chunk: Chunk, only: tuple[int, ...] | None) -> None:
        reading = self._read(read, chunk, only)
        self._when_done(asyncio.run_coroutine_threadsafe(reading, self._loop), lambda event: event)

    def open_unit(self, plan: UnitPlan) -> None:
        key = (plan.unit_id, plan.generation)
        self._events.put(UnitOpened(key, self._writer.open(plan)))

    def seal_unit(self, unit: UnitKey, page_counts: dict[int, int]) -> None:
        future = self._sealer.submit(self._writer.seal, *unit, page_counts)
        self._when_done(future, lambda report: UnitSealed(unit, report))

    def write_rows(self, unit: UnitKey, rows: Sequence[ResultRow]) -> None:
        self._writer.add_rows(*unit, rows)
        self._events.put(RowsWritten(unit, len(rows)))

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        return self._writer.stored(*unit, pages)

    def restart_document(self, unit: UnitKey, doc_index: int, version: str) -> None:
        self._writer.restart_document(*unit, doc_index, version)

    def abandon_unit(self, unit: UnitKey) -> None:
        self._writer.abandon(*unit)

    def drain(self) -> None:
        if self._loaded:
            draining = asyncio.run_coroutine_threadsafe(self._reader.drain(), self._loop)
            wait([draining], DRAIN_PATIENCE_S)
        self.flush()

    def flush(self) -> None:
        self._writer.flush()

    def dump_stacks(self) -> str:
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            return file.read()

    def stop(self) -> None:
        self._renderer.stop()
        self._sealer.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
            self._thread.join(STOP_WITHIN_S)
        self._writer.stop()

    async def _read(self, read: int, chunk: Chunk, only: tuple[int, ...] | None) -> ReadDone:
        self._reads.add(read)
        try:
            await self._reader.read(chunk, only, lambda report: self._events.put(ReadProgress(read, report)))
        finally:
            self._reads.discard(read)
        return ReadDone(read, ReadReport(waiting=self._reader.waiting))

    async def _report(self) -> None:
        """Say of every read what the engine waits for, also when no page finishes."""
        while True:
            await asyncio.sleep(REPORT_S)
            for read in self._reads:
                self._events.put(ReadProgress(read, ReadReport(waiting=self._reader.waiting)))

    async def _wind_up(self) -> None:
        """Cancel what is still being read, so that nothing outlives the loop it runs on."""
        reading = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in reading:
            task.cancel()
        if reading:
            await asyncio.wait(reading, timeout=WIND_UP_S)
        if self._loaded:
            with suppress(Exception):  # what it cannot give back goes with this process
                await self._reader.close()
        self._loop.stop()

    def _when_done(self, future: Future[T], to_event: Callable[[T], Event]) -> None:
        def put(done: Future[T]) -> None:
            if done.cancelled():  # when the run ends early: nobody waits for it any more
                return
            error = done.exception()
            self._events.put(error if error is not None else to_event(done.result()))

        future.add_done_callback(put)

    async def _sink(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        if rows:
            self._writer.add(unit_id, generation, rows_to_batch(rows))
