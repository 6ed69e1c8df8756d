"""What the driver tells while it runs: events worth a line of their own, and a snapshot at each turn.

Nothing is formatted here: ``jobs/progress.py`` makes lines and records of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jobs.driver.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ReplicaReady:
    """A replica has loaded its engine."""

    replica: str
    engine: str
    load_s: float


@dataclass(frozen=True, slots=True)
class ReplicaReplaced:
    """A replica is gone and is replaced; ``pages`` is what it held."""

    replica: str
    cause: str
    pages: int
    log_tail: str


@dataclass(frozen=True, slots=True)
class RendererReplaced:
    """A renderer is gone and is replaced; ``suspected``: what it was working on is tried alone."""

    renderer: str
    cause: str
    suspected: bool
    log_tail: str


@dataclass(frozen=True, slots=True)
class PageCondemned:
    """A page (0: a document) is recorded as failed for what it does to its worker."""

    doc_id: str
    page: int
    reason: str


@dataclass(frozen=True, slots=True)
class DocumentRestarted:
    """A source is not the version that was planned: all of it is read again, for the n-th time."""

    doc_id: str
    restarts: int


@dataclass(frozen=True, slots=True)
class DocumentGivenUp:
    """A source changed so often while it was read that it is recorded as failed."""

    doc_id: str
    restarts: int


@dataclass(frozen=True, slots=True)
class UnitTakenOver:
    """Another process works on this unit now."""

    unit_id: str


@dataclass(frozen=True, slots=True)
class SourcesUnavailable:
    """Sources have not answered for ``waited_s``; so many documents wait, and are asked for again."""

    message: str
    documents: int
    waited_s: float
    next_try_s: float


@dataclass(frozen=True, slots=True)
class SourcesBack:
    """Every source that was waited for answers again."""


@dataclass(frozen=True, slots=True)
class EngineWaiting:
    """Engines of so many replicas wait for what they depend on, as ``message`` says."""

    message: str
    replicas: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class EngineBack:
    """No engine waits any more."""


@dataclass(frozen=True, slots=True)
class EngineFailing:
    """A replica's engine could not read so many pages in a row: it gets no more before a control."""

    replica: str
    pages: int
    reason: str


@dataclass(frozen=True, slots=True)
class EngineCleared:
    """It reads others: so many pages it failed on are recorded as failed, so many are read once more."""

    replica: str
    failed: int
    again: int


@dataclass(frozen=True, slots=True)
class ReplicaAtFault:
    """It cannot read the control either: it gets no more pages, others read those it failed on."""

    replica: str
    pages: int
    reason: str


DriverEvent = (
    ReplicaReady
    | ReplicaReplaced
    | RendererReplaced
    | PageCondemned
    | DocumentRestarted
    | DocumentGivenUp
    | UnitTakenOver
    | SourcesUnavailable
    | SourcesBack
    | EngineWaiting
    | EngineBack
    | EngineFailing
    | EngineCleared
    | ReplicaAtFault
)


class Observer(Protocol):
    """Told of what goes on, for people and logs."""

    def on_event(self, event: DriverEvent) -> None:
        """Something worth a line of its own."""

    def on_tick(self, snapshot: Snapshot) -> None:
        """The loop went round."""


@dataclass
class QuietObserver:
    """Says nothing; for tests and benchmarks, which may look on at each turn and at each event."""

    on_tick: Callable[[Snapshot], None] = lambda snapshot: None
    on_event: Callable[[DriverEvent], None] = lambda event: None
