"""Where a run stands: the counters it keeps, and a frozen copy of them for whoever looks on."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from results.read_report import ReadReport
from results.rows import Status

if TYPE_CHECKING:
    from jobs.driver.read_queue import ReadQueue
    from jobs.driver.render_queue import RenderQueue
    from jobs.driver.watchdog import Watchdog


@dataclass(slots=True)
class Progress:
    """Counters of this run. ``reasons`` counts the failed pages that the driver wrote, by reason."""

    statuses: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    infer_s: float = 0.0
    documents_opened: int = 0
    documents_sealed: int = 0
    units_sealed: int = 0
    cut_pages: int = 0
    replica_deaths: int = 0
    renderer_deaths: int = 0
    changed: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def pages(self) -> int:
        return sum(self.statuses.values())

    def count(self, report: ReadReport) -> None:
        """Add what pages came to."""
        self.statuses.update(report.statuses)
        self.prompt_tokens += report.prompt_tokens
        self.completion_tokens += report.completion_tokens
        self.infer_s += report.infer_s

    def count_failure(self, reason: str) -> None:
        """Add a page that the driver records as failed."""
        self.statuses[Status.FAILED] += 1
        self.reasons[reason] += 1


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What a replica that is up holds, and what it has finished."""

    in_flight: int
    finished: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment. Bytes are those of images in flight.

    ``waiting_for`` says what all that is left waits for (sources, servers), '' while work goes on.
    ``suspects`` are tried alone or wait for that; ``held_failures`` are pages the engine could not read
    of which it is not decided yet who is to blame.
    """

    elapsed_s: float
    progress: Progress
    units_open: int
    rendered_pages_waiting: int
    in_flight_pages: int
    in_flight_bytes: int
    renderers: int
    replicas: dict[str, ReplicaState]
    suspects: int
    held_failures: int
    documents_waiting_for_sources: int
    waiting_for: str


def take_snapshot(
    progress: Progress,
    rendering: RenderQueue,
    reading: ReadQueue,
    watchdog: Watchdog,
    counts: tuple[int, int],
) -> Snapshot:
    """Where a run stands; ``counts`` are its open units and the failures that are held."""
    units_open, held_failures = counts
    in_flight = reading.replicas.in_flight
    return Snapshot(
        elapsed_s=time.monotonic() - watchdog.started,
        progress=replace(progress, statuses=progress.statuses.copy()),
        units_open=units_open,
        rendered_pages_waiting=reading.pages - in_flight,
        in_flight_pages=in_flight,
        in_flight_bytes=reading.image_bytes,
        renderers=rendering.width,
        replicas={
            name: ReplicaState(pages, reading.finished_by[name])
            for name, pages in reading.replicas.per_replica.items()
        },
        suspects=len(reading.suspects) + len(rendering.suspects),
        held_failures=held_failures,
        documents_waiting_for_sources=len(rendering.sources),
        waiting_for=watchdog.waiting_for,
    )
