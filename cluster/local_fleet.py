"""The fleet without Ray: the engine and the writer in this process, one child that renders.

For debugging, as a baseline, and where Ray is not wanted. The renderer has a process of its own
because a page that hangs or crashes MuPDF must still cost only itself.
"""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from cluster.config import FleetSpec
from cluster.fleet import (
    Cause,
    Event,
    ReadDone,
    ReadProgress,
    RenderDone,
    RendererLost,
    RendererUp,
    ReplicaUp,
    RowsWritten,
    UnitKey,
    UnitOpened,
    UnitSealed,
)
from manifests.errors import JobError
from manifests.units import UnitPlan
from manifests.work import RenderCall
from results.read_report import ReadReport
from results.rows import ResultRow, rows_to_batch
from results.writer import UnitWriter

NODE = "local"
REPLICA = "replica-1"
STOP_WITHIN_S = 3.0
DRAIN_PATIENCE_S = 1.0


class LocalFleet:
    """Implements ``cluster.fleet.Fleet`` in one process and a rendering child."""

    def __init__(self, spec: FleetSpec) -> None:
        self._spec = spec
        self._events: queue.Queue[Event | BaseException] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reader", daemon=True)
        self._sealer = ThreadPoolExecutor(2, thread_name_prefix="store")
        self._reader: Any = None
        self._writer: UnitWriter = spec.make_writer()
        self._renderer = _RendererProcess(spec, self._events)

    def start(self) -> None:
        self._renderer.start()
        self._thread.start()
        started = time.monotonic()
        self._reader = self._spec.make_reader(self._sink, REPLICA)
        asyncio.run_coroutine_threadsafe(self._reader.warm_up(), self._loop).result()
        info = self._reader.info
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

    def read(self, replica: str, read: int, chunk: Any, only: tuple[int, ...] | None) -> None:
        def tell(report: ReadReport) -> None:
            self._events.put(ReadProgress(read, report))

        future = asyncio.run_coroutine_threadsafe(self._reader.read(chunk, only, tell), self._loop)
        self._when_done(future, lambda _: ReadDone(read, ReadReport()))

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
        if self._reader is not None:
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
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
            self._thread.join(STOP_WITHIN_S)

    async def _wind_up(self) -> None:
        """Cancel what is still being read, so that nothing outlives the loop it runs on."""
        reading = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in reading:
            task.cancel()
        if reading:
            await asyncio.wait(reading, timeout=1.0)
        if self._reader is not None:
            with suppress(Exception):  # what it cannot give back goes with this process
                await self._reader.close()
        self._loop.stop()

    def _when_done(self, future: Any, to_event: Callable[[Any], Event]) -> None:
        def put(done: Any) -> None:
            if done.cancelled():  # when the run ends early: nobody waits for it any more
                return
            error = done.exception()
            self._events.put(error if error is not None else to_event(done.result()))

        future.add_done_callback(put)

    async def _sink(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        if rows:
            self._writer.add(unit_id, generation, rows_to_batch(rows))


class _RendererProcess:
    """A child that renders; started again when it dies."""

    def __init__(self, spec: FleetSpec, events: queue.Queue[Event | BaseException]) -> None:
        self._spec = spec
        self._events = events
        self._calls: list[int] = []
        self._lock = threading.Lock()
        self._count = 0
        self._process: Any = None
        self._pipe: Connection | None = None
        self._stopped = False

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._count += 1
        self._process = context.Process(target=serve, args=(theirs, self._spec), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        threading.Thread(target=self._receive, args=(ours, f"renderer-{self._count}"), daemon=True).start()

    def send(self, renderer: str, call: int, request: RenderCall) -> None:
        """Hand over a call. One that comes too late for its renderer is lost with it."""
        with self._lock:
            pipe = self._pipe
            if pipe is None or renderer != f"renderer-{self._count}":
                return
            self._calls.append(call)
        with suppress(OSError):  # it died: the receiving thread tells
            pipe.send(request)

    def stop(self) -> None:
        self._stopped = True
        self._process.kill()
        self._process.join()

    def _receive(self, pipe: Connection, name: str) -> None:
        try:
            self._take_answers(pipe, name)
        except (EOFError, OSError):
            self._replace(name)
        except Exception as error:  # noqa: BLE001 - this thread must not end in silence
            self._events.put(error)

    def _take_answers(self, pipe: Connection, name: str) -> None:
        while True:
            answer = pipe.recv()
            if answer is None:
                self._events.put(RendererUp(name, NODE))
            elif isinstance(answer, str):
                self._events.put(JobError(f"the renderer failed: {answer}"))
            else:
                with self._lock:
                    call = self._calls.pop(0)
                self._events.put(RenderDone(call, *answer))

    def _replace(self, name: str) -> None:
        self._process.join()
        if self._stopped:
            return
        with self._lock:
            calls, self._calls = tuple(self._calls), []
            self._pipe = None  # until its successor is there, no call may be taken for it
        self._events.put(RendererLost(name, Cause.CRASH, calls, _how_it_ended(self._process.exitcode)))
        try:
            self.start()
        except Exception as error:  # noqa: BLE001 - the job must hear of it
            self._events.put(error)


def _how_it_ended(status: int | None) -> str:
    if status is not None and status < 0:
        return f"the rendering process was ended by {signal.Signals(-status).name}"
    return f"the rendering process ended with status {status}"


def serve(pipe: Connection, spec: FleetSpec) -> None:
    """The child's loop: calls in, answers out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    warnings.simplefilter("ignore")  # a decoder's, about a document: its row tells what matters
    renderer = spec.make_renderer()
    pipe.send(None)
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(renderer.render(call))
        except Exception:  # noqa: BLE001 - a bug must end the job with its traceback, not hang it
            traceback.print_exc(file=sys.stderr)
            pipe.send(traceback.format_exc())
