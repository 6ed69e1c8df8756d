"""The fleet: whatever carries out rendering, reading and writing. Ray, or one process.

The scheduler tells a fleet what to do and learns from its events what came of it. Keys: a unit's
generation is ``(unit_id, generation)``; calls and reads have numbers the scheduler gives out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cluster.roles import Chunk
from manifests.units import UnitPlan
from manifests.work import RenderCall, RenderReport
from results.open_unit import DocumentState
from results.read_report import ReadReport
from results.rows import ResultRow
from results.writer import SealReport

UnitKey = tuple[str, int]
"""``(unit_id, generation)``."""


class Cause(StrEnum):
    """Why a worker is gone. Only a crash speaks against the pages it held."""

    CRASH = "crash"
    START = "did not start"
    NODE = "node lost"
    MEMORY = "killed for memory"


@dataclass(frozen=True, slots=True)
class RendererUp:
    renderer: str
    node: str


@dataclass(frozen=True, slots=True)
class RendererLost:
    """``calls`` are what it had been given, oldest first: only the first was being worked on."""

    renderer: str
    cause: Cause
    calls: tuple[int, ...]
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class RenderDone:
    """``chunk`` goes to ``read`` as it is: pages, or where they are."""

    call: int
    report: RenderReport
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class ReplicaUp:
    """A replica has loaded its engine and read its warm-up page; ``window`` pages keep it busy.

    ``store_bytes`` is what its node can hold of rendered pages and all else that is passed on, 0 where
    there is no such limit.
    """

    replica: str
    node: str
    engine: str
    window: int
    load_s: float = 0.0
    store_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaLost:
    """``reads`` are what it held; ``log_tail`` the end of its log; ``loading`` others that are being started
    where no start has failed."""

    replica: str
    cause: Cause
    reads: tuple[int, ...]
    log_tail: str = ""
    loading: int = 0


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """Pages of a read that finished while others of it go on; none at times: each read is told of every
    half second, with what its engine waits for (``report.waiting``)."""

    read: int
    report: ReadReport


@dataclass(frozen=True, slots=True)
class ReadDone:
    """A read has ended; ``report`` is of its pages that no ``ReadProgress`` told of."""

    read: int
    report: ReadReport


@dataclass(frozen=True, slots=True)
class ChunkLost:
    """The images of this read are gone with their node: render them again."""

    read: int


@dataclass(frozen=True, slots=True)
class UnitOpened:
    """``states`` tells what is stored of each document already (see the writer)."""

    unit: UnitKey
    states: dict[int, DocumentState]


@dataclass(frozen=True, slots=True)
class UnitSealed:
    """``report``: sealed, or what is missing."""

    unit: UnitKey
    report: SealReport


@dataclass(frozen=True, slots=True)
class RowsWritten:
    unit: UnitKey
    rows: int


Event = (
    RendererUp
    | RendererLost
    | RenderDone
    | ReplicaUp
    | ReplicaLost
    | ReadProgress
    | ReadDone
    | ChunkLost
    | UnitOpened
    | UnitSealed
    | RowsWritten
)


class Fleet(Protocol):
    """Workers of three kinds. Calls return at once; what comes of them are events.

    Dead workers are replaced by the fleet itself, which tells with a new ``…Up``. Every method may
    raise StoreError when the writer cannot write, and JobError when the cluster is gone.
    """

    def start(self) -> None:
        """Ask for the workers."""

    def poll(self, timeout_s: float) -> list[Event]:
        """What has happened; waits up to ``timeout_s`` for a first event."""

    def render(self, renderer: str, call: int, request: RenderCall) -> None: ...

    def read(self, replica: str, read: int, chunk: Chunk, only: tuple[int, ...] | None) -> None:
        """Read a chunk's pages, or only those at these indexes."""

    def open_unit(self, plan: UnitPlan) -> None: ...

    def seal_unit(self, unit: UnitKey, page_counts: dict[int, int]) -> None: ...

    def write_rows(self, unit: UnitKey, rows: Sequence[ResultRow]) -> None: ...

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        """Which ``(document index, page)`` have a row. Answers at once (waits for the writer)."""

    def restart_document(self, unit: UnitKey, doc_index: int, version: str) -> None:
        """Forget a document's rows because its source changed (waits for the writer)."""

    def abandon_unit(self, unit: UnitKey) -> None: ...

    def drain(self) -> None:
        """Have no more pages begun, and store those that are finished. Raises StoreError when it cannot
        be done."""

    def flush(self) -> None:
        """Store every row the writer has. Raises StoreError when it cannot be done."""

    def dump_stacks(self) -> str:
        """All stacks of all workers that still answer, for the report of a stall."""

    def stop(self) -> None:
        """End every worker this fleet started. Raises nothing; may be called at any time, also twice, and
        when ``start`` failed half-way."""
