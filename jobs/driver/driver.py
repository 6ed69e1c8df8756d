"""The driver: opens units, keeps the fleet fed, seals what is complete. It holds open units and
counters; never pixels, never texts. Who is to blame for what fails is decided by the policies it asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.fleet import (
    Cause,
    ChunkLost,
    Event,
    Fleet,
    ReadDone,
    ReadProgress,
    RenderDone,
    RendererLost,
    RendererUp,
    ReplicaLost,
    ReplicaUp,
    RowsWritten,
    UnitKey,
    UnitOpened,
    UnitSealed,
)
from jobs.driver import events
from jobs.driver.events import Observer
from jobs.driver.failure_handler import FailureHandler
from jobs.driver.plan_queue import PlanQueue, QueuedUnit, UnitClaims
from jobs.driver.read_queue import ReadQueue
from jobs.driver.render_queue import RenderQueue
from jobs.driver.room import room_for
from jobs.driver.running_unit import RunningUnit
from jobs.driver.snapshot import Progress, Snapshot, take_snapshot
from jobs.driver.watchdog import Stopped, TimeLimits, Watchdog, describe
from manifests.errors import JobError
from manifests.pages import DOCUMENT_PAGE
from results.open_unit import ANSWERED
from results.read_report import ReadReport

POLL_S = 0.1
MAX_OPEN_UNITS = 8
MAX_WAITING_UNITS = 24
"""Units that may be open beside those, of which some document's source does not answer."""


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """What the loop obeys."""

    run_id: str
    fingerprint: str
    window_bytes: int | None
    stall_s: float
    page_timeout_s: float
    open_timeout_s: float
    deadline_s: float | None = None
    start_timeout_s: float = 0.0
    source_outage_s: float = 600.0
    was_ever_read: bool = False
    """Whether an earlier run rendered and read a page: proof that both can be done."""


class Driver:
    """Runs plans on a fleet until every unit is sealed. One instance, one run."""

    def __init__(self, fleet: Fleet, claims: UnitClaims, config: DriverConfig, observer: Observer) -> None:
        proven = config.was_ever_read
        self.progress = Progress()
        self.reading = ReadQueue(fleet.stored, proven=proven)
        self.rendering = RenderQueue(
            config.page_timeout_s,
            config.open_timeout_s,
            proven=proven,
            source_outage_s=config.source_outage_s,
        )
        self._fleet = fleet
        self._claims = claims
        self._config = config
        self._observer = observer
        self._units: dict[UnitKey, RunningUnit] = {}
        self._watchdog = Watchdog(
            TimeLimits(config.stall_s, config.start_timeout_s, config.deadline_s), observer.on_event
        )
        self._failures = FailureHandler(
            self._units,
            fleet,
            (self.rendering, self.reading),
            self.progress,
            run=(config.run_id, config.fingerprint),
            proven=proven,
            on_event=observer.on_event,
        )

    def run(
        self,
        units: Iterable[QueuedUnit],
        is_done: Callable[[QueuedUnit], bool],
        stop_asked: Callable[[], bool],
    ) -> None:
        """Work until nothing is left. ``is_done`` asks the store whether another process sealed a unit.

        Raises Stopped, JobError, StoreError; what is finished by then is the writer's.
        """
        self._watchdog.start()
        queue = PlanQueue(units, self._claims, is_done, self._sealed_before)
        while True:
            if stop_asked():
                raise Stopped("stopped")
            self._check_time()
            self._open_units(queue)
            self._give_orders()
            self._settle()
            if queue.is_empty and not self._units:
                return
            for event in self._fleet.poll(POLL_S):
                self._on(event)
            for unit_id in self._claims.lost():
                self._give_up(unit_id, queue)
            self._observer.on_tick(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Where the run stands."""
        held = self._failures.held_failures
        return take_snapshot(
            self.progress, self.rendering, self.reading, self._watchdog, (len(self._units), held)
        )

    # Units

    def _open_units(self, queue: PlanQueue) -> None:
        """Open units while there is too little to render."""
        while self._needs_units():
            plan = queue.take()
            if plan is None:
                break
            self._units[(plan.unit_id, plan.generation)] = RunningUnit(plan)
            self._fleet.open_unit(plan)
        if queue.waits_for_others and not self._units:
            self._watchdog.progress()  # waiting for another process is no stall

    def _needs_units(self) -> bool:
        waiting = self.rendering.sources.units
        if len(self._units) - min(len(waiting), MAX_WAITING_UNITS) >= MAX_OPEN_UNITS:
            return False
        opening = sum(not unit.opened for unit in self._units.values())
        enough = 32 * max(1, self.rendering.width)
        return not opening and len(self.rendering) < enough

    def _sealed_before(self, documents: int) -> None:
        self.progress.units_sealed += 1
        self.progress.documents_sealed += documents

    def _opened(self, event: UnitOpened) -> None:
        unit = self._units[event.unit]
        unit.opened = True
        self._watchdog.progress()
        items, answered = unit.left_to_read(
            event.states, self.rendering.page_counts.setdefault(event.unit, {})
        )
        self.reading.suspects.found_in_store(answered)
        self.rendering.suspects.found_in_store(answered)
        self._failures.found_in_store(answered)
        self.rendering.add(event.unit, items)

    def _settle(self) -> None:
        """Carry out what is decided, and seal units with nothing outstanding."""
        opening = any(not unit.opened for unit in self._units.values())
        rendering = len(self.rendering) or self.rendering.pages_reserved
        if self._failures.settle(nothing_else=not opening and not rendering and self.reading.is_idle):
            self._watchdog.progress()
        for key, unit in self._units.items():
            outstanding = self.rendering.outstanding[key] + self.reading.outstanding[key]
            if unit.opened and not unit.sealing and not outstanding + unit.writes + unit.held:
                unit.sealing = True
                self._fleet.seal_unit(key, self.rendering.page_counts.get(key, {}))

    def _sealed(self, event: UnitSealed) -> None:
        unit = self._units.get(event.unit)
        if unit is None:
            return
        self._watchdog.progress()
        if event.report.sealed:
            del self._units[event.unit]
            self.rendering.forget(event.unit)
            self.reading.outstanding.pop(event.unit, None)
            self._failures.drop_unit(event.unit)
            self._claims.release(event.unit[0])
            self.progress.units_sealed += 1
            self.progress.documents_sealed += len(unit.plan.wanted_indexes())
            self.progress.cut_pages += event.report.cut_pages
            return
        unit.sealing = False
        missing = event.report.missing
        if not unit.may_seal_again(missing):
            raise JobError(
                f"unit {event.unit[0]} still misses pages after every attempt to complete it: "
                f"{unit.first_missing(missing)}. This is a bug; what is stored is safe"
            )
        self.rendering.add(event.unit, unit.missing_items(missing), first=True)

    def _give_up(self, unit_id: str, queue: PlanQueue) -> None:
        """Another process took the unit over."""
        for key in [key for key in self._units if key[0] == unit_id]:
            unit = self._units.pop(key)
            self._observer.on_event(events.UnitTakenOver(unit_id))
            self.rendering.drop(key)
            self.reading.drop(key)
            self._failures.drop_unit(key)
            self._fleet.abandon_unit(key)
            queue.lost(unit.plan)

    # Orders

    def _give_orders(self) -> None:
        room = room_for(self.rendering, self.reading, self._config.window_bytes)
        for order in self.rendering.orders(room, self.reading.replicas.nodes):
            self._fleet.render(order.renderer, order.number, order.call)
        for read in self.reading.orders(self._failures.on_hold):
            self._fleet.read(read.replica, read.number, read.chunk, read.only)

    # Events

    def _on(self, event: Event) -> None:
        match event:
            case ReadProgress(read, report):
                self._read(read, report, ended=False)
            case ReadDone(read, report):
                self._read(read, report, ended=True)
            case RenderDone():
                self._rendered(event)
            case UnitOpened() if event.unit in self._units:
                self._opened(event)
            case UnitSealed():
                self._sealed(event)
            case RowsWritten(unit) if unit in self._units:
                self._units[unit].writes -= 1
            case RendererUp(renderer, node):
                self.rendering.renderer_up(renderer, node)
            case ReplicaUp():
                self._watchdog.loaded = True
                self._watchdog.progress()
                self.reading.replica_up(event)
                self._observer.on_event(events.ReplicaReady(event.replica, event.engine, event.load_s))
            case RendererLost():
                self._renderer_lost(event)
            case ReplicaLost():
                self._replica_lost(event)
            case ChunkLost(read):
                self._chunk_lost(read)

    def _read(self, number: int, report: ReadReport, *, ended: bool) -> None:
        """Pages of a read came to their end, or wait for what the engine waits for."""
        if number == self.reading.control.read:
            self._failures.control_read(report, ended=ended)
            return
        replica = self.reading.replica_of(number)
        finished = report.pages + report.failed_pages
        if report.waiting and replica:
            self._watchdog.engine_waits.on_waiting(replica, report.waiting, time.monotonic())
        elif finished or not ended:  # the end of a read says nothing of what its engine waits for
            self._watchdog.engine_waits.over(replica)
        if report.pages:
            self._watchdog.progress()
        self.progress.count(report)
        answered = sum(report.statuses.get(status, 0) for status in ANSWERED) - report.layers
        self._failures.answered(replica, answered)
        unit = self.reading.unit_of(number)
        if report.failures and unit in self._units:
            self._failures.hold(number, unit, report.failures)
        (self.reading.done if ended else self.reading.progress)(number, finished, answered)

    def _rendered(self, event: RenderDone) -> None:
        if kind := self.rendering.control_kind(event.call):
            self._failures.control_rendered(event, kind)
            return
        node = self.rendering.node_of(event.call)
        key = self.rendering.done(event.call, event.report)
        unit = self._units.get(key) if key is not None else None
        if key is None or unit is None:
            return
        for opened in event.report.opened:
            self.progress.documents_opened += 1
            if unit.has_changed(opened.doc_index, opened.version):
                self._restart(key, unit, opened.doc_index, opened.version)
        if event.report.covered:
            self.reading.add(key, event.chunk, node, event.report)

    def _restart(self, key: UnitKey, unit: RunningUnit, doc_index: int, version: str) -> None:
        """The source is not the version that was planned: all of it is read again, as it is now. One that
        changes again and again is recorded as failed instead."""
        restarts = unit.restart(doc_index, version)
        document = unit.plan.documents[doc_index]
        self._fleet.restart_document(key, doc_index, document.version)
        self._failures.drop_document(key, doc_index)
        self.progress.changed.append(document.doc_id)
        if doc_index not in unit.given_up:
            self._observer.on_event(events.DocumentRestarted(document.doc_id, restarts))
            return
        self.rendering.close_document(key, doc_index)
        reason = f"changed while it was read, {restarts} times: read it again when it is at rest"
        self._failures.fail(key, doc_index, DOCUMENT_PAGE, reason)
        self._observer.on_event(events.DocumentGivenUp(document.doc_id, restarts))

    def _chunk_lost(self, read: int) -> None:
        """A chunk is gone with its node: its pages are rendered again."""
        if read == self.reading.control.read:
            self._failures.control_lost()
            return
        key, pages = self.reading.chunk_lost(read)
        if unit := self._units.get(key):
            self.rendering.add(key, unit.items_of(pages), first=True)

    def _renderer_lost(self, event: RendererLost) -> None:
        self.progress.renderer_deaths += event.cause is Cause.CRASH
        suspected = self.rendering.lost(event.renderer, event.cause, event.calls, event.log_tail)
        self._observer.on_event(
            events.RendererReplaced(event.renderer, event.cause, suspected, event.log_tail)
        )

    def _replica_lost(self, event: ReplicaLost) -> None:
        self.progress.replica_deaths += event.cause is Cause.CRASH
        pages = self.reading.replicas.per_replica.get(event.replica, 0)
        self._watchdog.engine_waits.over(event.replica)
        self._failures.replica_lost(event.replica)
        self.reading.lost(event.replica, event.cause, event.reads, event.log_tail, event.loading)
        self._observer.on_event(events.ReplicaReplaced(event.replica, event.cause, pages, event.log_tail))

    def _check_time(self) -> None:
        self._watchdog.check_deadline()
        self._watchdog.look_at_outages(self.rendering, self.reading)
        if stalled := self._watchdog.stalled():
            state = describe(self._units, self.rendering, self.reading)
            raise JobError(f"{stalled}\n{state}\n{self._fleet.dump_stacks()}")
