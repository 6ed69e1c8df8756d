"""The driver: opens units, keeps the fleet fed, seals what is complete. It holds open units and
counters; never pixels, never texts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

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
from jobs.driver.plan_queue import PlanQueue, QueuedUnit, UnitClaims
from jobs.driver.read_queue import EngineKiller, ReadQueue
from jobs.driver.render_queue import RenderQueue, Room, Unrenderable
from manifests.errors import JobError
from manifests.pages import DOCUMENT_PAGE, PageSpan, plan_pages, spans_of, subtract_pages
from manifests.units import UnitPlan
from manifests.work import RenderItem
from results.read_report import ReadReport
from results.rows import ResultRow, Status

POLL_S = 0.1
MAX_OPEN_UNITS = 8
AHEAD = 1.5
FIRST_WINDOW = 16
CALLS_PER_WINDOW = 4
"""Chunks a replica's window holds: fewer would let one slow page keep the place of many."""
LIKELY_PAGE_BYTES = 8 * 2**20
"""A page of A4 at 150 dpi is 6.5 MB of RGB."""
MIN_WINDOW_BYTES = 512 * 2**20
STORE_SHARE = 0.25
"""Of a node's object store, for pages in flight; the rest is for rows, arguments and other jobs."""
MAX_SEALS = 20
MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """What the loop obeys."""

    run_id: str
    fingerprint: str
    inputs_digest: str
    window_bytes: int | None
    stall_s: float
    page_timeout_s: float
    open_timeout_s: float
    deadline_s: float | None = None
    start_timeout_s: float = 0.0
    was_ever_read: bool = False
    """Whether an earlier run finished a page: proof that the engine can."""


@dataclass(slots=True)
class Progress:
    """Counters of this run, for people and logs."""

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

    @property
    def pages(self) -> int:
        return sum(self.statuses.values())


@dataclass(slots=True)
class _Unit:
    plan: UnitPlan
    opened: bool = False
    sealing: bool = False
    seals: int = 0
    writes: int = 0
    versions: dict[int, str] = field(default_factory=dict)


class Stopped(Exception):
    """The run was asked to end early."""


class Watcher(Protocol):
    """Told of what goes on, for people and logs."""

    def turned(self, driver: Driver) -> None:
        """The loop went round."""

    def happened(self, what: str) -> None:
        """Something worth a line of its own."""


class QuietWatcher:
    """Says nothing; for tests and benchmarks, which may look on at each turn."""

    def __init__(self, look: Callable[[Driver], None] | None = None) -> None:
        self._look = look

    def turned(self, driver: Driver) -> None:
        if self._look is not None:
            self._look(driver)

    def happened(self, what: str) -> None:
        return None


class Driver:
    """Runs plans on a fleet until every unit is sealed. One instance, one run."""

    def __init__(self, fleet: Fleet, claims: UnitClaims, config: DriverConfig, watcher: Watcher) -> None:
        self.progress = Progress()
        self.reading = ReadQueue(fleet.stored)
        self.reading.finished_before = int(config.was_ever_read)
        self.rendering = RenderQueue(config.page_timeout_s, config.open_timeout_s)
        self._fleet = fleet
        self._claims = claims
        self._config = config
        self._watcher = watcher
        self._units: dict[UnitKey, _Unit] = {}
        self._loaded = False
        self._last_progress = self._started = time.monotonic()

    def run(
        self,
        plans: Iterable[QueuedUnit | UnitPlan],
        is_done: Callable[[QueuedUnit], bool],
        stop_asked: Callable[[], bool],
    ) -> None:
        """Work until nothing is left. ``is_done`` asks the store whether another process sealed a unit.

        Raises Stopped, JobError, StoreError; what is finished by then is the writer's.
        """
        self._last_progress = self._started = time.monotonic()
        queue = PlanQueue(plans, self._claims, is_done, self._sealed_before)
        while True:
            if stop_asked():
                raise Stopped("stopped")
            self._check_time()
            self._open_units(queue)
            self._give_orders()
            self._settle(nothing_else=queue.is_empty)
            if queue.is_empty and not self._units:
                return
            for event in self._fleet.poll(POLL_S):
                self._on(event)
            for unit_id in self._claims.lost():
                self._give_up(unit_id, queue)
            self._watcher.turned(self)

    # Units

    def _open_units(self, queue: PlanQueue) -> None:
        """Open units while there is too little to render."""
        while len(self._units) < MAX_OPEN_UNITS and self._is_hungry():
            plan = queue.take()
            if plan is None:
                break
            self._units[(plan.unit_id, plan.generation)] = _Unit(plan)
            self._fleet.open_unit(plan)
        if queue.waits_for_others and not self._units:
            self._last_progress = time.monotonic()  # waiting for another process is no stall

    def _is_hungry(self) -> bool:
        opening = sum(not unit.opened for unit in self._units.values())
        enough = 32 * max(1, self.rendering.width)
        return not opening and len(self.rendering) < enough

    def _sealed_before(self, documents: int) -> None:
        self.progress.units_sealed += 1
        self.progress.documents_sealed += documents

    def _opened(self, event: UnitOpened) -> None:
        unit = self._units[event.unit]
        unit.opened = True
        self._last_progress = time.monotonic()
        items = []
        for i in unit.plan.wanted_indexes():
            document = unit.plan.wanted(i)
            state = event.states.get(i)
            stale = state is not None and document.version and state.version != document.version
            if state is None or stale or not state.stored:
                items.append(RenderItem(i, document))
                continue
            self.reading.finished_before += state.answered
            unit.versions[i] = state.version
            if state.stored[0].first == DOCUMENT_PAGE:
                continue
            planned = plan_pages(document.pages, document.max_pages, state.page_count).read
            left = subtract_pages(planned, (page for span in state.stored for page in span))
            self.rendering.page_counts.setdefault(event.unit, {})[i] = state.page_count
            if left:
                items.append(RenderItem(i, document, left))
        self.rendering.add(event.unit, items)

    def _settle(self, *, nothing_else: bool) -> None:
        """Write rows for pages that are proven killers, and seal units with nothing outstanding."""
        idle = nothing_else and not len(self.rendering) and not self.rendering.pages_reserved
        last = idle and self.reading.only_unproven_left
        for killer in self.reading.condemned(nothing_else_left=last):
            self._write_failure(killer, self.rendering.page_counts.get(killer.unit, {}))
        stuck = idle and not self.reading.outstanding.total()
        for page in self.rendering.condemned(nothing_else_left=stuck):
            self._write_failure(page, {page.doc_index: page.page_count})
        if last and self.reading.only_unproven_left:
            raise JobError(
                "every page that was read killed its engine and none was ever finished: the environment "
                f"is at fault, no page was condemned. The end of the engine's log:\n{self.reading.log_tail}"
            )
        for key, unit in self._units.items():
            outstanding = self.rendering.outstanding[key] + self.reading.outstanding[key] + unit.writes
            if unit.opened and not unit.sealing and not outstanding:
                unit.sealing = True
                self._fleet.seal_unit(key, self.rendering.page_counts.get(key, {}))

    def _sealed(self, event: UnitSealed) -> None:
        unit = self._units.get(event.unit)
        if unit is None:
            return
        self._last_progress = time.monotonic()
        if event.report.sealed:
            del self._units[event.unit]
            self.rendering.forget(event.unit)
            self.reading.outstanding.pop(event.unit, None)
            self._claims.release(event.unit[0])
            self.progress.units_sealed += 1
            self.progress.documents_sealed += len(unit.plan.wanted_indexes())
            self.progress.cut_pages += event.report.cut_pages
            return
        unit.sealing = False
        unit.seals += 1
        if unit.seals >= MAX_SEALS:
            raise JobError(
                f"unit {event.unit[0]} still misses pages after {unit.seals} attempts to complete it: "
                f"{_first_missing(unit.plan, event.report.missing)}. This is a bug; what is stored is safe"
            )
        items = [RenderItem(i, unit.plan.wanted(i), spans) for i, spans in event.report.missing.items()]
        self.rendering.add(event.unit, items, first=True)

    def _give_up(self, unit_id: str, queue: PlanQueue) -> None:
        """Another process took the unit over."""
        for key in [key for key in self._units if key[0] == unit_id]:
            unit = self._units.pop(key)
            self._watcher.happened(f"unit {unit_id} was taken over by another process")
            self.rendering.drop(key)
            self.reading.drop(key)
            self._fleet.abandon_unit(key)
            queue.lost(unit.plan)

    # Orders and events

    def _give_orders(self) -> None:
        window = self.reading.window or FIRST_WINDOW
        nodes = len(self.reading.nodes) or 1
        held_bytes = self.reading.image_bytes + self.rendering.bytes_reserved
        room = Room(
            pages=int(AHEAD * window) + 1 - self.reading.pages - self.rendering.pages_reserved,
            bytes=self._window_bytes(window, nodes) - held_bytes,
            call_pages=max(1, (self.reading.widest or FIRST_WINDOW) // CALLS_PER_WINDOW),
            idle=not self.reading.pages,
        )
        for order in self.rendering.orders(room, self.reading.nodes):
            self._fleet.render(order.renderer, order.number, order.call)
        for read in self.reading.orders():
            self._fleet.read(read.replica, read.number, read.chunk, read.only)

    def _window_bytes(self, pages: int, nodes: int) -> int:
        """Rendered pages in flight, in bytes: what is set, or what keeps the replicas busy, as far as
        the nodes' object stores allow."""
        if self._config.window_bytes is not None:
            return self._config.window_bytes * nodes
        wanted = pages * LIKELY_PAGE_BYTES
        room = int(STORE_SHARE * self.reading.store_bytes) or wanted
        return max(MIN_WINDOW_BYTES * nodes, min(wanted, room))

    def _on(self, event: Event) -> None:
        match event:
            case ReadProgress(read, report):
                self.reading.progress(read, *self._count(report))
            case ReadDone(read, report):
                self.reading.done(read, *self._count(report))
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
                self._loaded = True
                self.reading.replica_up(event)
                self._last_progress = time.monotonic()
                self._watcher.happened(
                    f"{event.replica} is ready: {event.engine}, loaded in {event.load_s:.1f} s"
                )
            case RendererLost(renderer, cause, calls, log_tail):
                self.progress.renderer_deaths += cause is Cause.CRASH
                self._watcher.happened(
                    f"{renderer} is gone ({cause}); what it was working on is looked at alone"
                )
                self.rendering.lost(renderer, cause, calls, log_tail)
            case ReplicaLost(replica, cause, reads, log_tail, loading):
                self.progress.replica_deaths += cause is Cause.CRASH
                last = " ".join(log_tail.split())[-160:]
                self._watcher.happened(
                    f"{replica} is gone ({cause}), it is replaced. The end of its log: …{last}"
                )
                self.reading.lost(replica, cause, reads, log_tail, loading)
            case ChunkLost(read):
                self._render_again(read)

    def _count(self, report: ReadReport) -> tuple[int, int]:
        """Count what pages came to. Returns how many they are, and how many the engine read well."""
        progress = self.progress
        progress.statuses.update(report.statuses)
        progress.prompt_tokens += report.prompt_tokens
        progress.completion_tokens += report.completion_tokens
        progress.infer_s += report.infer_s
        if report.pages:
            self._last_progress = time.monotonic()
        answered = report.statuses.get(Status.OK, 0) + report.statuses.get(Status.FALLBACK, 0)
        return report.pages, answered - report.layers

    def _rendered(self, event: RenderDone) -> None:
        node = self.rendering.node_of(event.call)
        key = self.rendering.done(event.call, event.report)
        unit = self._units.get(key) if key is not None else None
        if key is None or unit is None:
            return
        for opened in event.report.opened:
            i = opened.doc_index
            self.progress.documents_opened += 1
            expected = unit.plan.documents[i].version or unit.versions.setdefault(i, opened.version)
            if opened.version and expected and opened.version != expected:
                self._restart(key, unit, i, opened.version)
        if event.report.covered:
            self.reading.add(key, event.chunk, node, event.report)

    def _restart(self, key: UnitKey, unit: _Unit, doc_index: int, version: str) -> None:
        """The source is not the version that was planned: all of it is read again, as it is now."""
        self._fleet.restart_document(key, doc_index, version)
        unit.plan = unit.plan.restarted(doc_index, version)
        self.progress.changed.append(unit.plan.documents[doc_index].doc_id)

    def _render_again(self, read: int) -> None:
        key, pages = self.reading.chunk_lost(read)
        unit = self._units.get(key)
        if unit is None:
            return
        by_document: dict[int, list[int]] = {}
        for doc_index, page in pages:
            by_document.setdefault(doc_index, []).append(page)
        items = [
            RenderItem(i, unit.plan.wanted(i), () if DOCUMENT_PAGE in wanted else spans_of(wanted))
            for i, wanted in by_document.items()
        ]
        self.rendering.add(key, items, first=True)

    def _write_failure(self, failure: Unrenderable | EngineKiller, page_counts: dict[int, int]) -> None:
        """The driver's own rows: pages whose worker did not live to tell."""
        unit = self._units.get(failure.unit)
        if unit is None:
            return
        document = unit.plan.documents[failure.doc_index]
        row = ResultRow(
            doc_id=document.doc_id,
            uri=document.uri,
            page=failure.page,
            status=Status.FAILED,
            reason=failure.reason,
            page_count=page_counts.get(failure.doc_index, 0),
            generation=unit.plan.generation,
            fingerprint=self._config.fingerprint,
            source_version=document.version or unit.versions.get(failure.doc_index, ""),
            run_id=self._config.run_id,
            finished_at=datetime.now(UTC),
            metadata=document.metadata,
        )
        self.progress.statuses[Status.FAILED] += 1
        self._last_progress = time.monotonic()
        unit.writes += 1
        self._fleet.write_rows(failure.unit, [row])

    def _check_time(self) -> None:
        now = time.monotonic()
        if self._config.deadline_s is not None and now - self._started > self._config.deadline_s:
            raise Stopped(f"the deadline of {self._config.deadline_s:g} s has passed")
        # Loading a large model is no stall: until the first replica is up a limit of its own holds.
        limit_s = self._config.stall_s
        if not self._loaded:
            limit_s = max(limit_s, self._config.start_timeout_s)
        if now - self._last_progress > limit_s:
            raise JobError(
                f"stalled: no page finished for {limit_s:g} s\n{self.describe()}\n{self._fleet.dump_stacks()}"
            )

    def describe(self) -> str:
        """What is in flight, for the report of a stall."""
        units = ", ".join(f"{unit_id}.g{generation}" for unit_id, generation in self._units) or "none"
        replicas = ", ".join(f"{name}: {n} pages" for name, n in self.reading.per_replica.items()) or "none"
        held = [
            f"  {replica}: {self._units[key].plan.documents[i].doc_id} page {page}"
            for replica, key, i, page in islice(self.reading.held(), MAX_NAMED)
            if key in self._units
        ]
        return (
            f"open units: {units}\nreplicas: {replicas}\nwaiting to be rendered: {len(self.rendering)} "
            f"items, being rendered: {self.rendering.pages_reserved} pages, "
            f"in flight: {self.reading.pages} pages, {self.reading.image_bytes / 2**20:.0f} MiB\n"
            + "\n".join(held)
        )


def _first_missing(plan: UnitPlan, missing: dict[int, tuple[PageSpan, ...]]) -> str:
    doc_index, spans = next(iter(missing.items()))
    page = spans[0].first if spans else 1
    return f"{plan.documents[doc_index].doc_id} page {page}"
