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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from manifests.errors import EngineDead
from manifests.work import RenderCall, RenderReport
from results.read_report import ReadReport
from results.rows import ResultRow, rows_to_batch

LOG_TAIL_LINES = 40
TAIL_BYTES = 16_384
STACKS_WITHIN_S = 1.0
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


def _describe(**more: Any) -> WorkerInfo:
    faulthandler.enable()  # a crash in native code leaves its stacks in the log
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    stderr = Path("/proc/self/fd/2")
    log = str(stderr.readlink()) if stderr.is_symlink() else ""
    return WorkerInfo(ray.get_runtime_context().get_node_id(), os.getpid(), log, **more)


class Renderer:
    """Renders one call at a time. A page over its time limit ends the process by design."""

    def __init__(self, make_renderer: Callable[[], Any]) -> None:
        self._renderer = make_renderer()

    def start(self) -> WorkerInfo:
        return _describe()

    def render(self, call: RenderCall) -> tuple[RenderReport, Any]:
        report, chunk = self._renderer.render(call)
        return report, chunk


@dataclass(frozen=True, slots=True)
class _Read:
    """A read in progress, and what its pages came to since it was last asked for."""

    task: asyncio.Task[Any]
    told: list[ReadReport]


class Replica:
    """One engine. Any number of reads may be in progress; their rows go straight to the writer."""

    def __init__(self, make_reader: Callable[[Any, str], Any], writer: Any, name: str) -> None:
        self._make_reader = make_reader
        self._writer = writer
        self._name = name
        self._reader: Any = None
        self._reads: dict[int, _Read] = {}

    async def describe(self) -> WorkerInfo:
        """Where this is, before the engine loads (which may end the process)."""
        return _describe()

    async def start(self) -> WorkerInfo:
        """Load the engine and read a warm-up page."""
        started = time.monotonic()
        try:
            self._reader = await asyncio.to_thread(self._make_reader, self._sink, self._name)
            await self._reader.warm_up()
        except Exception:
            traceback.print_exc()
            raise
        info = self._reader.info
        return _describe(engine=info.name, window=info.window, load_s=time.monotonic() - started)

    async def read(self, number: int, chunk: Any, only: tuple[int, ...] | None) -> tuple[ReadReport, bool]:
        """Start to read; what is finished before long, and whether that is all. If not: ``go_on``."""
        told: list[ReadReport] = []
        task = asyncio.ensure_future(self._reader.read(chunk, only, told.append))
        self._reads[number] = _Read(task, told)
        return await self.go_on(number)

    async def go_on(self, number: int) -> tuple[ReadReport, bool]:
        """What was finished of a read since it was last asked for, and whether it has ended."""
        read = self._reads[number]
        await asyncio.wait({read.task}, timeout=REPORT_S)
        if read.task.done():
            del self._reads[number]
            await self._result(read.task)
        report = sum(read.told, ReadReport())
        read.told.clear()
        return report, read.task.done()

    async def drain(self) -> None:
        """Begin no more pages, and see that the writer has those that are finished."""
        await self._reader.drain()

    async def _result(self, task: asyncio.Task[Any]) -> None:
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


class Writer:
    """The one writer. Ray restarts it when it dies and sends the calls it had not answered again."""

    def __init__(self, make_writer: Callable[[], Any]) -> None:
        self._writer = make_writer()

    def call(self, method: str, *args: Any) -> Any:
        return getattr(self._writer, method)(*args)

    def add(self, unit_id: str, generation: int, batch: Any) -> None:
        self._writer.add(unit_id, generation, batch)

    def pid(self) -> int:
        return os.getpid()


@ray.remote(num_cpus=0, max_retries=0)
def read_log_tail(log: str) -> str:
    """The end of a worker's log, read on its own node."""
    return tail(log)


@ray.remote(num_cpus=0, max_retries=0)
def read_stacks(pid: int, log: str) -> str:
    """Have a worker print all its stacks, even one stuck in native code, and read them."""
    before = Path(log).stat().st_size if Path(log).is_file() else 0
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + STACKS_WITHIN_S
    while time.monotonic() < deadline and Path(log).stat().st_size == before:
        time.sleep(0.05)
    return tail(log)


def tail(log: str) -> str:
    """The last lines of a file, empty when there is none."""
    path = Path(log)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])
