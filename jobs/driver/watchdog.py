"""Whether the job moves: stalls, waits that are none, the deadline, and what is in flight when it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from cluster.fleet import UnitKey
from jobs.driver import events
from jobs.driver.outages import Announcements, EngineWaits
from jobs.driver.read_queue import ReadQueue
from jobs.driver.render_queue import RenderQueue
from jobs.driver.running_unit import RunningUnit
from manifests.errors import JobError

MAX_NAMED = 20


class Stopped(Exception):
    """The run was asked to end early."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """``stall_s`` without a page, ``start_timeout_s`` until the first replica, ``deadline_s`` in all."""

    stall_s: float
    start_timeout_s: float = 0.0
    deadline_s: float | None = None


class Watchdog:
    """Looks at the clock once a turn. Loading a large model is no stall, nor is waiting for a source, a
    server or another process; pages that fail for want of an answer are no progress."""

    def __init__(self, limits: TimeLimits, on_event: Callable[[events.DriverEvent], None]) -> None:
        self._limits = limits
        self._on_event = on_event
        self._sources = Announcements()
        self._engines = Announcements()
        self.engine_waits = EngineWaits()
        self.loaded = False
        self.waiting_for = ""
        self.started = self._last_progress = time.monotonic()

    def start(self) -> None:
        self.started = self._last_progress = time.monotonic()

    def progress(self) -> None:
        """Something came to its end, or there is nothing for us to do."""
        self._last_progress = time.monotonic()

    def check_deadline(self) -> None:
        """Raises Stopped when the run has had its time."""
        deadline_s = self._limits.deadline_s
        if deadline_s is not None and time.monotonic() - self.started > deadline_s:
            raise Stopped(f"the deadline of {deadline_s:g} s has passed")

    def stalled(self) -> str:
        """Why the job is stalled, '' when it is not."""
        limit_s = self._limits.stall_s
        if not self.loaded:
            limit_s = max(limit_s, self._limits.start_timeout_s)
        is_stalled = time.monotonic() - self._last_progress > limit_s
        return f"stalled: no page finished for {limit_s:g} s" if is_stalled else ""

    def look_at_outages(self, rendering: RenderQueue, reading: ReadQueue) -> None:
        """Say what is waited for. Raises JobError when sources have not answered for too long and
        nothing else is left to do."""
        now = time.monotonic()
        self.waiting_for = ""
        engines = self.engine_waits.waiting(now)
        if self._engines.due(engines, now) and engines is not None:
            waited_s = now - engines.since
            self._on_event(events.EngineWaiting(engines.message, engines.waiting, waited_s))
        if self._engines.ended(engines):
            self._on_event(events.EngineBack())
        busy = {name for name, pages in reading.replicas.per_replica.items() if pages}
        if engines is not None and busy and busy <= self.engine_waits.replicas(now):
            self.waiting_for = engines.message
        sources = rendering.sources.waiting
        if self._sources.due(sources, now) and sources is not None:
            next_try_s, waited_s = max(0.0, sources.next_try - now), now - sources.since
            self._on_event(events.SourcesUnavailable(sources.message, sources.waiting, waited_s, next_try_s))
        if self._sources.ended(sources):
            self._on_event(events.SourcesBack())
        if sources is not None and rendering.waits_for_sources and reading.is_idle:
            if overdue := rendering.sources.overdue(now):
                raise JobError(overdue)
            self.waiting_for = sources.message
        if self.waiting_for:
            self._last_progress = now


def describe(units: Mapping[UnitKey, RunningUnit], rendering: RenderQueue, reading: ReadQueue) -> str:
    """What is in flight, for the report of a stall."""
    keys = ", ".join(f"{unit_id}.g{generation}" for unit_id, generation in units) or "none"
    replicas = ", ".join(f"{name}: {n} pages" for name, n in reading.replicas.per_replica.items()) or "none"
    held = [
        f"  {replica}: {units[key].plan.documents[i].doc_id} page {page}"
        for replica, key, i, page in islice(reading.held(), MAX_NAMED)
        if key in units
    ]
    return (
        f"open units: {keys}\nreplicas: {replicas}\nwaiting to be rendered: {len(rendering)} items, "
        f"being rendered: {rendering.pages_reserved} pages, in flight: {reading.pages} pages, "
        f"{reading.image_bytes / 2**20:.0f} MiB\n" + "\n".join(held)
    )
