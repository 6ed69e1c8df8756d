"""The driver against a fleet in memory: faults at random, and the rules that must hold afterwards."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.chunks import Chunk, RenderedPage
from actors.render.renderer import _Answer  # the very code that says what a chunk covers
from cluster.fleet import (
    Cause,
    ChunkLost,
    Event,
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
from jobs.driver.driver import Driver, DriverConfig
from jobs.driver.events import DriverEvent, QuietObserver
from jobs.driver.plan_queue import QueuedUnit
from jobs.driver.snapshot import Snapshot
from jobs.driver.watchdog import Stopped
from manifests.documents import Document
from manifests.errors import DocumentError, JobError
from manifests.pages import DOCUMENT_PAGE, plan_pages
from manifests.units import Unit, UnitPlan, cut_units, first_generation
from manifests.work import PROBE_UNIT, OpenedDocument, RenderCall, UnavailableSource
from results.job_claim import JobClaim
from results.local_store import LocalStore
from results.owner import Owner
from results.participants import Purpose
from results.read_report import ReadReport
from results.rows import BLANK_TEXT, ResultRow, Status, rows_to_batch
from results.unit_files import read_footer, read_plan, sealed_path
from results.writer import UnitWriter, WriterConfig

NODES = ("node-a", "node-b")
TOO_MANY_TURNS = 30_000
IMAGE_BYTES = 1000
HANG_TURNS = 60
TURN_S = 0.2


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are not what these tests are about."""
    monkeypatch.setattr("os.fsync", lambda fd: None)


@dataclass(frozen=True)
class Source:
    """A document as it lies in the world at one moment."""

    pages: int
    version: str = "v1"
    kills_engine: frozenset[int] = frozenset()
    kills_renderer: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()
    engine_fails: frozenset[int] = frozenset()
    """Pages no engine can read."""
    needs_memory: frozenset[int] = frozenset()
    """Pages that have whoever reads them killed for memory."""
    opening: str = ""
    """``""``, ``"fails"`` or ``"kills"``."""

    def expected(self, document: Document) -> dict[int, Status]:
        """The rows this document must end with, page by page."""
        if self.opening:
            return {DOCUMENT_PAGE: Status.FAILED}
        planned = plan_pages(document.pages, document.max_pages, self.pages)
        rows = {page: Status.SKIPPED for span in planned.beyond for page in span}
        for page in (page for span in planned.read for page in span):
            fatal = self.kills_engine | self.kills_renderer | self.engine_fails | self.needs_memory
            rows[page] = Status.FAILED if page in fatal else Status.BLANK if page in self.blank else Status.OK
        return rows


CONTROL = Source(1)
"""The built-in page, which no test has in its world."""


@dataclass
class World:
    """The sources as they are now, and every version there ever was of each."""

    now: dict[str, Source]
    ever: dict[tuple[str, str], Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for doc_id, source in self.now.items():
            self.put(doc_id, source)

    def put(self, doc_id: str, source: Source) -> None:
        self.now[doc_id] = source
        self.ever[doc_id, source.version] = source


@dataclass
class Faults:
    """How likely each fault is at each turn, and which pages the world has in store."""

    replica_dies: float = 0.0
    replica_causes: tuple[Cause, ...] = (Cause.CRASH, Cause.NODE, Cause.MEMORY)
    start_fails: float = 0.0
    renderer_dies: float = 0.0
    renderer_causes: tuple[Cause, ...] = (Cause.NODE, Cause.MEMORY)
    chunk_lost: float = 0.0
    writer_dies: float = 0.0
    seal_answer_lost: float = 0.0
    flush: float = 0.0
    source_changes: float = 0.0
    unavailable: float = 0.0
    """How likely a source does not answer a call."""
    engine_breaks: float = 0.0
    """How likely an engine begins to fail at every page, until it has failed at a control."""
    engine_always_dies: bool = False
    engine_always_fails: bool = False
    renderer_always_dies: bool = False
    hangs_after: int = 0
    """After so many pages the first replica finishes none, until it is ended for that."""


class RendererDied(Exception):
    pass


class FakeFleet:
    """``cluster.fleet.Fleet`` in memory with a real writer. One step of one worker per poll."""

    def __init__(
        self,
        store: LocalStore,
        world: World,
        rng: random.Random,
        faults: Faults | None = None,
        *,
        replicas: int = 2,
        renderers: int = 2,
        window: int = 6,
    ) -> None:
        self.store, self.world, self.rng, self.faults = store, world, rng, faults or Faults()
        self.sizes = (renderers, replicas, window)
        self.renderers: dict[str, list[tuple[int, RenderCall]]] = {}
        self.replicas: dict[str, dict[int, _Reading]] = {}
        self.node_of: dict[str, str] = {}
        self.coming: list[Event] = []
        self.writer_work: list[tuple[str, Any]] = []
        self.writer = self._new_writer()
        self.read_pages: Counter[tuple[str, int, str]] = Counter()
        self.read_again: list[tuple[str, int]] = []
        self.reads: list[tuple[str, list[tuple[int, int]]]] = []
        self.deaths: Counter[Cause] = Counter()
        self.finished_reads = 0
        self.failed_starts = 0
        self.names = 0
        self.turns = 0
        self.broken: set[str] = set()
        self.down: set[str] = set()
        self.idle_turns = 0
        self.first_replica = ""
        self.controls = 0

    # Fleet

    def start(self) -> None:
        renderers, replicas, _ = self.sizes
        for _ in range(renderers):
            self._renderer_up()
        for _ in range(replicas):
            self._replica_up()

    def poll(self, timeout_s: float) -> list[Event]:
        self.turns += 1
        assert self.turns < TOO_MANY_TURNS, "the job does not end"
        self.writer.check()
        events, self.coming = self.coming, []
        for step in self._chance_steps():
            events += step()
        steps = self._steps()
        if steps:
            events += self.rng.choice(steps)()
        return events

    def render(self, renderer: str, call: int, request: RenderCall) -> None:
        self.renderers[renderer].append((call, request))

    def read(self, replica: str, read: int, chunk: Chunk, only: tuple[int, ...] | None) -> None:
        pages = list(chunk.pages) if only is None else [chunk.pages[i] for i in only]
        alone = only is not None and len(only) == 1
        self.replicas[replica][read] = _Reading(chunk, pages, alone)
        self.reads.append((replica, [(page.doc_index, page.page) for page in pages]))

    def open_unit(self, plan: UnitPlan) -> None:
        self.writer_work.append(("open", plan))

    def seal_unit(self, unit: UnitKey, page_counts: dict[int, int]) -> None:
        self.writer_work.append(("seal", (unit, dict(page_counts))))

    def write_rows(self, unit: UnitKey, rows: Sequence[ResultRow]) -> None:
        self.writer_work.append(("rows", (unit, list(rows))))

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        return self.writer.stored(*unit, pages)

    def restart_document(self, unit: UnitKey, doc_index: int, version: str) -> None:
        self.writer.restart_document(*unit, doc_index, version)

    def abandon_unit(self, unit: UnitKey) -> None:
        self.writer.abandon(*unit)

    def drain(self) -> None:
        self.flush()

    def flush(self) -> None:
        self.writer.flush()

    def dump_stacks(self) -> str:
        return "no stacks"

    def stop(self) -> None:
        _let_die(self.writer)

    # What happens

    def _steps(self) -> list[Callable[[], list[Event]]]:
        steps: list[Callable[[], list[Event]]] = []
        steps += [lambda n=name: self._render(n) for name, calls in self.renderers.items() if calls]
        steps += [lambda n=name: self._read_page(n) for name, held in self.replicas.items() if held]
        steps += [lambda i=i: self._writer_step(i) for i in range(len(self.writer_work))]
        return steps

    def _chance_steps(self) -> list[Callable[[], list[Event]]]:
        faults, rng = self.faults, self.rng
        steps: list[Callable[[], list[Event]]] = []
        if rng.random() < faults.flush:
            steps.append(lambda: self.writer.flush() or [])
        if rng.random() < faults.writer_dies:
            steps.append(self._writer_dies)
        if rng.random() < faults.source_changes:
            steps.append(self._source_changes)
        if rng.random() < faults.chunk_lost:
            steps.append(self._lose_chunk)
        if self.replicas and rng.random() < faults.replica_dies:
            steps.append(self._any_replica_dies)
        if self.renderers and rng.random() < faults.renderer_dies:
            steps.append(self._any_renderer_dies)
        return steps

    def _render(self, name: str) -> list[Event]:
        number, call = self.renderers[name][0]
        self.unavailable: tuple[UnavailableSource, ...] = ()
        try:
            answer = self._rendered(call)
        except RendererDied:
            return self._renderer_dies(name, Cause.CRASH)
        self.renderers[name].pop(0)
        report = replace(answer.report(), unavailable=self.unavailable)
        return [RenderDone(number, report, answer.chunk())]

    def _rendered(self, call: RenderCall) -> _Answer:
        answer = _Answer(call)
        if self.faults.renderer_always_dies:
            raise RendererDied
        for item in call.items:
            doc_id = item.document.doc_id
            if doc_id in self.down or (
                doc_id in self.world.now and self.rng.random() < self.faults.unavailable
            ):
                self.unavailable = (UnavailableSource(item.doc_index, "HTTP 503"),)
                break
            source = self.world.now.get(item.document.doc_id, CONTROL)
            if source.opening == "kills":
                raise RendererDied
            if source.opening:
                answer.add_unopened(item, DocumentError("cannot be opened"), 0.0)
            else:
                opened = OpenedDocument(item.doc_index, source.pages, source.version)
                answer.add_opened(item, opened)
                own = plan_pages(item.document.pages, item.document.max_pages, source.pages).read
                for page in (page for span in item.spans or own for page in span if call.max_pages):
                    answer.add_page(self._rendered_page(item.doc_index, page, source))
                    if answer.is_full():
                        break
            if answer.is_full():
                break
        return answer

    def _rendered_page(self, doc_index: int, page: int, source: Source) -> RenderedPage:
        if page in source.kills_renderer:
            raise RendererDied
        if page > source.pages:
            reason = f"page {page} does not exist"
            return RenderedPage(doc_index, page, status=Status.FAILED, reason=reason)
        if page in source.blank:
            return RenderedPage(doc_index, page, status=Status.BLANK, reason="near-uniform colour")
        return RenderedPage(doc_index, page, images=(b"x" * self.rng.randint(1, IMAGE_BYTES),))

    def _read_page(self, name: str) -> list[Event]:
        number = self.rng.choice(list(self.replicas[name]))
        reading = self.replicas[name][number]
        if reading.left and self._hangs(name):
            return self._replica_dies(name, Cause.CRASH) if self.idle_turns > HANG_TURNS else []
        if reading.left:
            page = reading.left.pop(self.rng.randrange(len(reading.left)))
            row = _row(reading.chunk, page, name)
            source = self.world.ever.get((row.doc_id, row.source_version), CONTROL)
            self._count_read(reading.chunk, page, row)
            if page.image is not None and (cause := self._ends_replica(page, source)):
                return self._replica_dies(name, cause)
            if page.image is not None and self._engine_fails(name, page, source, reading):
                reading.failures.append(replace(row, status=Status.FAILED, reason="HTTP 400", text=""))
            else:
                self.writer.add(reading.chunk.unit_id, reading.chunk.generation, rows_to_batch([row]))
                reading.statuses[row.status] += 1
        if reading.left and self.rng.random() < 0.5:
            return []
        untold = ReadReport(dict(reading.statuses - reading.told), failures=tuple(reading.failures))
        reading.failures = []
        if reading.left:
            reading.told = Counter(reading.statuses)
            return [ReadProgress(number, untold)]
        del self.replicas[name][number]
        self.finished_reads += 1
        return [ReadDone(number, untold)]

    def _hangs(self, name: str) -> bool:
        """Whether this replica is the first, and has read what it may."""
        limit = self.faults.hangs_after
        hangs = bool(limit) and name == self.first_replica and sum(self.read_pages.values()) >= limit
        self.idle_turns += hangs
        return hangs

    def _ends_replica(self, page: RenderedPage, source: Source) -> Cause | None:
        if page.page in source.kills_engine or self.faults.engine_always_dies:
            return Cause.CRASH
        return Cause.MEMORY if page.page in source.needs_memory else None

    def _engine_fails(self, name: str, page: RenderedPage, source: Source, reading: _Reading) -> bool:
        if self.rng.random() < self.faults.engine_breaks:
            self.broken.add(name)
        fails = self.faults.engine_always_fails or name in self.broken or page.page in source.engine_fails
        if reading.is_control:
            self.controls += 1
            self.broken.discard(name)  # what was wrong passes
        return fails

    def _count_read(self, chunk: Chunk, page: RenderedPage, row: ResultRow) -> None:
        held = self.writer._units.get((chunk.unit_id, chunk.generation))
        if page.image is None or held is None:
            return
        unit = held.unit
        if unit.versions.get(page.doc_index, row.source_version) == row.source_version:
            if unit.has(page.doc_index, page.page):
                self.read_again.append((row.doc_id, row.page))
            self.read_pages[row.doc_id, row.page, row.source_version] += 1

    def _writer_step(self, place: int) -> list[Event]:
        what, work = self.writer_work.pop(place)
        if what == "open":
            return [UnitOpened((work.unit_id, work.generation), self.writer.open(work))]
        unit, more = work
        if what == "rows":
            self.writer.add_rows(*unit, more)
            return [RowsWritten(unit, len(more))]
        report = self.writer.seal(*unit, more)
        if self.rng.random() < self.faults.seal_answer_lost:
            self.writer.flush()  # of the other units nothing is to be lost here
            self._writer_dies()
            report = self.writer.seal(*unit, more)
        return [UnitSealed(unit, report)]

    def _writer_dies(self) -> list[Event]:
        _let_die(self.writer)
        self.writer = self._new_writer()
        return []

    def _new_writer(self) -> UnitWriter:
        return UnitWriter(self.store, WriterConfig("run", "fp", flush_s=3600.0))

    def _source_changes(self) -> list[Event]:
        doc_id = self.rng.choice(sorted(self.world.now))
        source = self.world.now[doc_id]
        number = int(source.version[1:]) + 1
        if not source.opening and number <= 3:
            pages = max(1, source.pages + self.rng.randint(-3, 3))
            self.world.put(doc_id, Source(pages, f"v{number}"))
        return []

    def _lose_chunk(self) -> list[Event]:
        untouched = [
            (held, number)
            for held in self.replicas.values()
            for number, reading in held.items()
            if not reading.statuses
        ]
        if not untouched:
            return []
        held, number = self.rng.choice(untouched)
        del held[number]
        return [ChunkLost(number)]

    def _any_replica_dies(self) -> list[Event]:
        name = self.rng.choice(list(self.replicas))
        cause = self.rng.choice(self.faults.replica_causes)
        alone = any(reading.alone or reading.is_control for reading in self.replicas[name].values())
        if cause is not Cause.NODE and (alone or not self.finished_reads):
            cause = Cause.NODE  # two crashes by chance of a page alone would condemn it, as they must
        return self._replica_dies(name, cause)

    def _replica_dies(self, name: str, cause: Cause) -> list[Event]:
        held = self.replicas.pop(name)
        self.deaths[cause] += 1
        self._replica_up()
        return [ReplicaLost(name, cause, tuple(held), f"last log_tail of {name}")]

    def _any_renderer_dies(self) -> list[Event]:
        name, cause = self.rng.choice(list(self.renderers)), self.rng.choice(self.faults.renderer_causes)
        calls = self.renderers[name]
        alone = bool(calls) and len(calls[0][1].items) == 1 and calls[0][1].max_pages <= 1
        return self._renderer_dies(name, Cause.NODE if alone else cause)

    def _renderer_dies(self, name: str, cause: Cause) -> list[Event]:
        calls = self.renderers.pop(name)
        self._renderer_up()
        return [RendererLost(name, cause, tuple(number for number, _ in calls), "renderer's last log_tail")]

    def _replica_up(self) -> None:
        self.names += 1
        name = f"replica-{self.names}"
        if self.rng.random() < self.faults.start_fails and self.failed_starts < 2:
            self.failed_starts += 1
            self.coming.append(ReplicaLost(name, Cause.START, (), "could not start"))
            self._replica_up()
            return
        self.failed_starts = 0
        self.replicas[name] = {}
        self.first_replica = self.first_replica or name
        self.coming.append(ReplicaUp(name, self.rng.choice(NODES), "fake", self.sizes[2]))

    def _renderer_up(self) -> None:
        self.names += 1
        name = f"renderer-{self.names}"
        self.renderers[name] = []
        self.coming.append(RendererUp(name, self.rng.choice(NODES)))


@dataclass
class _Reading:
    chunk: Chunk
    left: list[RenderedPage]
    alone: bool
    statuses: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    failures: list[ResultRow] = field(default_factory=list)

    @property
    def is_control(self) -> bool:
        return self.chunk.unit_id == PROBE_UNIT


def _row(chunk: Chunk, page: RenderedPage, replica: str) -> ResultRow:
    document, opened = chunk.documents[page.doc_index], chunk.opened[page.doc_index]
    status = page.status or Status.OK
    text = f"{document.doc_id} {page.page} {opened.version}" if status is Status.OK else ""
    return ResultRow(
        document.doc_id,
        document.uri,
        page.page,
        status,
        page_count=opened.page_count,
        reason=page.reason,
        text=BLANK_TEXT if status is Status.BLANK else text,
        replica=replica,
        generation=chunk.generation,
        fingerprint="fp",
        source_version=opened.version or document.version,
        run_id="run",
        finished_at=datetime.now(UTC),
    )


def _let_die(writer: UnitWriter) -> None:
    """The process is gone: what was not flushed is lost."""
    with writer._lock:
        writer._units.clear()
        writer._log.clear()
    writer.close()


class NoClaims:
    """Everything is ours, until a test says otherwise."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.losing: set[str] = set()

    def acquire(self, unit_id: str) -> str | None:
        return self.taken.get(unit_id)

    def release(self, unit_id: str) -> None:
        self.taken.pop(unit_id, None)

    def lost(self) -> set[str]:
        lost, self.losing = self.losing, set()
        return lost


class Bench:
    """A job on a store in ``tmp_path``: runs, resumes, and the checks at the end."""

    def __init__(self, tmp_path: Path, sources: dict[str, Source], seed: int = 0, **wanted: Any) -> None:
        self.store = LocalStore(tmp_path / "out")
        self.world = World(sources)
        self.rng = random.Random(seed)
        per_unit = wanted.pop("per_unit", 3)
        unknown = wanted.pop("unknown_versions", False)
        selections: dict[str, str] = wanted.pop("pages", {})
        documents = [
            Document(
                doc_id,
                f"/in/{doc_id}",
                pages=selections.get(doc_id, ""),
                version="" if unknown else source.version,
                markdown=doc_id,
                **wanted,
            )
            for doc_id, source in sources.items()
        ]
        self.units: list[Unit] = list(cut_units(documents, per_unit))
        self.claims: Any = NoClaims()
        self.driver: Driver | None = None
        self.fleet: FakeFleet | None = None
        self.read_again: list[tuple[str, int]] = []
        self.most_bytes = 0
        self.events: list[DriverEvent] = []

    def plans(self) -> Iterator[QueuedUnit]:
        for unit in self.units:
            if read_footer(self.store, unit.unit_id) is None:
                yield QueuedUnit.of(read_plan(self.store, unit.unit_id, 1) or first_generation(unit))

    def is_done(self, plan: QueuedUnit) -> bool:
        footer = read_footer(self.store, plan.unit_id)
        return footer is not None and footer.generation >= plan.generation

    def run(self, faults: Faults | None = None, *, turns: int = 0, **sizes: Any) -> Driver:
        """One run; with ``turns`` the driver is stopped after so many."""
        observe = sizes.pop("observe", lambda driver: None)
        flush_at_the_end = sizes.pop("flush_at_the_end", False)
        window_bytes = sizes.pop("window_bytes", 10**6)
        proven = sizes.pop("proven", False)
        fleet = self.fleet = FakeFleet(self.store, self.world, self.rng, faults, **sizes)
        config = DriverConfig("run", "fp", window_bytes, 1000.0, 60.0, 60.0, was_ever_read=proven)

        def look(snapshot: Snapshot) -> None:
            self.most_bytes = max(self.most_bytes, snapshot.in_flight_bytes)
            observe(driver)

        self.events = []
        observer = QuietObserver(look, self.events.append)
        driver = self.driver = Driver(fleet, self.claims, config, observer)
        fleet.start()
        try:
            driver.run(self.plans(), self.is_done, lambda: bool(turns) and fleet.turns >= turns)
        except Stopped:
            if flush_at_the_end:
                fleet.flush()
            raise
        finally:
            self.read_again += fleet.read_again
            fleet.stop()
        return driver

    def rows(self) -> list[dict[str, Any]]:
        found = []
        for unit in self.units:
            data = self.store.read(sealed_path(unit.unit_id))
            assert data is not None, f"unit {unit.unit_id} was not sealed"
            found += pq.read_table(Path(self.store.root) / sealed_path(unit.unit_id)).to_pylist()
        return found

    def statuses(self, doc_id: str) -> dict[int, str]:
        return {row["page"]: row["status"] for row in self.rows() if row["doc_id"] == doc_id}

    def check(self) -> None:
        """One row for every planned page, right by its version, and nothing left in the counters."""
        rows = self.rows()
        keys = Counter((row["doc_id"], row["page"], row["variant"]) for row in rows)
        assert not [key for key, count in keys.items() if count > 1], "pages with more than one row"
        for document in (document for unit in self.units for document in unit.documents):
            mine = [row for row in rows if row["doc_id"] == document.doc_id]
            versions = {row["source_version"] for row in mine}
            assert len(versions) == 1, f"{document.doc_id}: rows of versions {versions}"
            source = self.world.ever.get((document.doc_id, versions.pop()))
            source = source or self.world.now[document.doc_id]  # never opened: no version is known
            expected = {page: str(status) for page, status in source.expected(document).items()}
            assert {row["page"]: row["status"] for row in mine} == expected, document.doc_id
            for row in mine:
                if row["status"] == Status.OK:
                    assert row["text"] == f"{document.doc_id} {row['page']} {row['source_version']}"
        assert list(self.store.list("partial/")) == []
        self.check_counters()

    def check_counters(self) -> None:
        driver = self.driver
        assert driver is not None
        assert driver.reading.image_bytes == 0
        assert +driver.reading.outstanding == Counter() == -driver.reading.outstanding
        assert +driver.rendering.outstanding == Counter() == -driver.rendering.outstanding
        assert driver.reading.pages == driver.rendering.pages_reserved == len(driver.rendering) == 0


def good(count: int, pages: int = 5) -> dict[str, Source]:
    return {f"good{i}": Source(pages) for i in range(count)}


def some_world(rng: random.Random, poison: bool) -> dict[str, Source]:
    """Documents of all sorts, poison pages among them, always some that are good."""
    sources: dict[str, Source] = {}
    for i in range(rng.randint(5, 9)):
        pages = rng.randint(1, 14)
        some = [page for page in range(1, pages + 1) if rng.random() < 0.12] if poison else []
        rng.shuffle(some)
        cut = rng.randint(0, len(some))
        others = [page for page in range(1, pages + 1) if page not in some] if poison else []
        refused = {page for page in others if rng.random() < 0.08}
        large = {page for page in others if page not in refused and rng.random() < 0.03}
        some += [*refused, *large]
        sources[f"doc{i}"] = Source(
            pages,
            kills_engine=frozenset(some[:cut][:2]),
            kills_renderer=frozenset(some[cut:]) - refused - large,
            engine_fails=frozenset(refused),
            needs_memory=frozenset(large),
            blank=frozenset(page for page in range(1, pages + 1) if page not in some and rng.random() < 0.15),
            opening=rng.choice(["", "", "", "", "", "fails", "kills"]) if poison else "",
        )
    sources["first"] = Source(4)
    names = sorted(sources)
    rng.shuffle(names)
    return {name: sources[name] for name in ["first", *(n for n in names if n != "first")]}


ALL_FAULTS = Faults(
    replica_dies=0.01,
    start_fails=0.1,
    renderer_dies=0.02,
    chunk_lost=0.02,
    writer_dies=0.005,
    flush=0.02,
    unavailable=0.05,
    engine_breaks=0.003,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by ``TURN_S`` with each turn of the fleet."""
    now = [1000.0]
    poll = FakeFleet.poll

    def turn(fleet: FakeFleet, timeout_s: float) -> list[Event]:
        now[0] += TURN_S
        return poll(fleet, timeout_s)

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(FakeFleet, "poll", turn)
    return now


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("seed", range(20))
def test_whatever_dies_every_page_ends_with_one_right_row_and_only_poison_fails(tmp_path, seed):
    rng = random.Random(seed)
    selections = {"doc0": "2-3,40-41", "doc1": "1-2"}
    bench = Bench(tmp_path, some_world(rng, poison=True), seed, pages=selections)
    for turns in (rng.randint(1, 150), rng.randint(1, 150), 0):
        try:
            bench.run(ALL_FAULTS, turns=turns, replicas=rng.randint(1, 4), renderers=rng.randint(1, 3))
        except Stopped:
            continue
    bench.check()
    assert bench.read_again == []


@pytest.mark.parametrize("seed", range(6))
def test_documents_that_change_while_they_are_read_end_in_one_version_complete(tmp_path, seed):
    faults = Faults(source_changes=0.05, replica_dies=0.01, renderer_dies=0.01, flush=0.02)
    bench = Bench(tmp_path, some_world(random.Random(seed), poison=False), seed)
    bench.run(faults)
    bench.check()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("seed", range(6))
def test_documents_of_unknown_version_end_complete_whatever_dies(tmp_path, seed):
    bench = Bench(tmp_path, some_world(random.Random(seed), poison=True), seed, unknown_versions=True)
    bench.run(ALL_FAULTS, replicas=3)
    bench.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_writer_that_dies_before_its_answer_to_a_sealing_is_asked_again_and_nothing_is_read_twice(
    tmp_path, seed
):
    bench = Bench(tmp_path, good(6), seed)
    bench.run(Faults(seal_answer_lost=1.0))
    bench.check()
    assert set(bench.fleet.read_pages.values()) == {1}


def test_an_undisturbed_run_reads_every_page_once(tmp_path):
    bench = Bench(tmp_path, good(7))
    driver = bench.run()
    bench.check()
    assert set(bench.fleet.read_pages.values()) == {1}
    assert (driver.progress.pages, driver.progress.units_sealed) == (35, 3)
    assert driver.progress.documents_sealed == 7


def test_a_stopped_run_that_was_flushed_resumes_without_reading_a_page_twice(tmp_path):
    bench = Bench(tmp_path, good(6))
    reads: Counter[Any] = Counter()
    for turns in (40, 40, 0):
        with suppress(Stopped):
            bench.run(turns=turns, flush_at_the_end=True)
        reads += bench.fleet.read_pages
    bench.check()
    assert set(reads.values()) == {1}


# Poison


@pytest.mark.parametrize("replicas", [1, 2, 5])
@pytest.mark.parametrize(
    "poison", [{1}, {5}, {12}, {5, 6}, {11, 12}, {1, 12}], ids=lambda pages: f"pages-{sorted(pages)}"
)
def test_a_page_that_kills_its_engine_costs_itself_only(tmp_path, replicas, poison):
    sources = {**good(3), "bad": Source(12, kills_engine=frozenset(poison)), "after": Source(3)}
    bench = Bench(tmp_path, sources)
    bench.run(replicas=replicas)
    bench.check()
    assert bench.fleet.deaths[Cause.CRASH] <= 3 * len(poison)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("pages", [2, 8])
def test_poison_as_the_last_page_of_the_only_document_fails_alone(tmp_path, replicas, pages):
    bench = Bench(tmp_path, {"only": Source(pages, kills_engine=frozenset({pages}))})
    bench.run(replicas=replicas)
    bench.check()


@pytest.mark.parametrize("replicas", [1, 3])
def test_two_poison_pages_at_the_very_start_fail_alone(tmp_path, replicas):
    bench = Bench(tmp_path, {"bad": Source(8, kills_engine=frozenset({1, 2})), **good(2)})
    bench.run(replicas=replicas)
    bench.check()


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_document_whose_every_page_kills_the_engine_does_not_stop_the_others(tmp_path, replicas):
    bench = Bench(
        tmp_path, {**good(3), "bad": Source(4, kills_engine=frozenset({1, 2, 3, 4})), "z": Source(9)}
    )
    bench.run(replicas=replicas)
    bench.check()


def stop_with_only_these_left(bench: Bench, left: set[tuple[str, int]]) -> None:
    """Store a row of every page but those, as an earlier run did before it was killed."""
    writer = UnitWriter(bench.store, WriterConfig("earlier", "fp", flush_s=3600.0))
    for unit in bench.units:
        writer.open(first_generation(unit))
        opened = {
            i: OpenedDocument(i, bench.world.now[d.doc_id].pages, d.version)
            for i, d in enumerate(unit.documents)
        }
        chunk = Chunk(unit.unit_id, 1, dict(enumerate(unit.documents)), opened, ())
        rows = [
            _row(chunk, RenderedPage(i, page, images=(b"x",)), "earlier")
            for i, document in enumerate(unit.documents)
            for page in range(1, opened[i].page_count + 1)
            if (document.doc_id, page) not in left
        ]
        writer.add(unit.unit_id, 1, rows_to_batch(rows))
    writer.close()


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("poison", [{4}, {3, 4}, {1, 4}], ids=lambda pages: f"pages-{sorted(pages)}")
def test_poison_left_alone_on_resume_is_condemned_by_what_earlier_runs_finished(tmp_path, replicas, poison):
    bench = Bench(tmp_path, {"bad": Source(4, kills_engine=frozenset(poison)), **good(2)})
    stop_with_only_these_left(bench, {("bad", page) for page in poison})
    bench.run(replicas=replicas)
    bench.check()


# The environment


def failed_rows(bench: Bench) -> int:
    files = (Path(bench.store.root)).glob("p*/**/*.parquet")
    return sum(pq.read_table(file).column("status").to_pylist().count("failed") for file in files)


@pytest.mark.parametrize("replicas", [1, 2, 6])
@pytest.mark.parametrize("blank", [frozenset(), frozenset({2, 4})], ids=["all-text", "some-blank"])
def test_an_engine_that_always_dies_is_the_environments_fault_and_fails_no_page(tmp_path, replicas, blank):
    bench = Bench(tmp_path, {f"doc{i}": Source(5, blank=blank) for i in range(9)})
    with pytest.raises(JobError, match="last log_tail of replica"):
        bench.run(Faults(engine_always_dies=True, flush=1.0), replicas=replicas)
    assert failed_rows(bench) == 0


@pytest.mark.parametrize("replicas", [1, 3])
def test_an_engine_that_dies_on_every_page_of_a_resumed_job_fails_no_page(tmp_path, replicas):
    bench = Bench(tmp_path, good(6))
    stop_with_only_these_left(bench, {(f"good{i}", page) for i in (2, 3, 4, 5) for page in range(1, 6)})
    with pytest.raises(JobError, match=r"environment|died"):
        bench.run(Faults(engine_always_dies=True, flush=1.0), replicas=replicas)
    assert failed_rows(bench) == 0


@pytest.mark.parametrize("renderers", [1, 3])
def test_a_renderer_that_always_dies_is_the_environments_fault_and_fails_no_page(tmp_path, renderers):
    bench = Bench(tmp_path, good(9))
    with pytest.raises(JobError, match=r"(?s)environment.*no page was condemned.*renderer's last log_tail"):
        bench.run(Faults(flush=1.0, renderer_always_dies=True), renderers=renderers)
    assert failed_rows(bench) == 0


@pytest.mark.parametrize("renderers", [1, 3])
@pytest.mark.parametrize("opening", ["", "kills"])
def test_a_corpus_that_crashes_every_renderer_but_for_the_built_in_page_ends_as_rows(
    tmp_path, renderers, opening
):
    every = frozenset(range(1, 4))
    bench = Bench(tmp_path, {f"doc{i}": Source(3, kills_renderer=every, opening=opening) for i in range(9)})
    bench.run(renderers=renderers)
    bench.check()


@pytest.mark.parametrize("cause", [Cause.NODE, Cause.MEMORY])
@pytest.mark.parametrize("replicas", [1, 3])
def test_lost_nodes_and_kills_for_memory_never_count_against_a_page(tmp_path, cause, replicas):
    faults = Faults(replica_dies=0.1, replica_causes=(cause,), renderer_dies=0.1, renderer_causes=(cause,))
    bench = Bench(tmp_path, good(8))
    bench.run(faults, replicas=replicas)
    bench.check()
    assert bench.fleet.deaths[cause] > 0
    assert bench.read_again == []


def test_nodes_that_are_lost_again_and_again_without_a_page_in_between_stop_the_job(tmp_path):
    bench = Bench(tmp_path, good(3))

    def lose_nodes(driver: Driver) -> None:
        bench.fleet._read_page = lambda name: bench.fleet._replica_dies(name, Cause.NODE)

    with pytest.raises(JobError, match="replicas in a row were lost"):
        bench.run(replicas=2, observe=lose_nodes)
    assert failed_rows(bench) == 0


def test_an_engine_that_does_not_start_stops_the_job(tmp_path):
    bench = Bench(tmp_path, good(1))

    def never_starts(driver: Driver) -> None:
        bench.fleet.coming.append(ReplicaLost("replica-x", Cause.START, (), "no such model"))

    with pytest.raises(JobError, match=r"(?s)did not start, 3 times.*no such model"):
        bench.run(replicas=0, observe=never_starts)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("proven", [False, True])
def test_an_engine_that_refuses_every_page_and_the_built_in_one_stops_the_job_and_fails_no_page(
    tmp_path, replicas, proven
):
    bench = Bench(tmp_path, good(9))
    faults = Faults(engine_always_fails=True, flush=1.0)
    with pytest.raises(JobError, match=r"nor a built-in page.*HTTP 400.*run the same command"):
        bench.run(faults, replicas=replicas, proven=proven)
    assert failed_rows(bench) == 0
    assert sum(bench.fleet.read_pages.values()) <= (8 + 6) * replicas, "no more than what was in flight"
    bench.run(replicas=replicas)
    bench.check()


def test_an_engine_that_refuses_the_only_page_there_is_and_the_built_in_one_is_at_fault_too(tmp_path):
    bench = Bench(tmp_path, {"only": Source(1)})
    with pytest.raises(JobError, match="HTTP 400"):
        bench.run(Faults(engine_always_fails=True))
    assert failed_rows(bench) == 0


@pytest.mark.parametrize("pages", [1, 3, 40])
@pytest.mark.parametrize("after", [0, 30])
def test_pages_no_engine_can_read_fail_and_the_others_are_read(tmp_path, pages, after):
    bad = Source(pages, engine_fails=frozenset(range(1, pages + 1)))
    bench = Bench(tmp_path, {**(good(3) if after else {}), "bad": bad})
    driver = bench.run()
    bench.check()
    assert driver.progress.reasons == {"HTTP 400": pages}


def test_a_replica_that_cannot_read_is_set_aside_and_others_read_its_pages(tmp_path):
    bench = Bench(tmp_path, good(8, pages=10))

    def break_one(driver: Driver) -> None:
        bench.fleet.broken = {"replica-3"}

    bench.run(replicas=2, observe=break_one)
    bench.check()
    assert {row["replica"] for row in bench.rows()} == {"replica-4"}
    assert any(isinstance(event, events.ReplicaAtFault) for event in bench.events)


def test_a_hung_engine_is_replaced_and_none_of_its_pages_is_condemned(tmp_path):
    bench = Bench(tmp_path, good(6, pages=12))
    bench.run(Faults(hangs_after=12), replicas=1, renderers=1, window=60)
    bench.check()
    assert bench.fleet.deaths[Cause.CRASH] == 1
    assert bench.read_again == []


# Guilty pages in numbers


def world_with(bad: Source, count: int, before: int, after: int) -> dict[str, Source]:
    return {
        **{f"a{i:03d}": Source(2) for i in range(before)},
        **{f"b{i:03d}": bad for i in range(count)},
        **{f"c{i:03d}": Source(2) for i in range(after)},
    }


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("before", "after"), [(0, 20), (20, 0), (20, 20), (0, 0)])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(Source(1, kills_renderer=frozenset({1})), id="crash"),
        pytest.param(Source(1, opening="kills"), id="opening"),
        pytest.param(Source(1, kills_engine=frozenset({1})), id="engine"),
        pytest.param(Source(1, needs_memory=frozenset({1})), id="memory"),
    ],
)
def test_thirty_guilty_documents_in_a_row_end_as_rows_and_stop_nothing(tmp_path, bad, before, after, workers):
    bench = Bench(tmp_path, world_with(bad, 30, before, after), per_unit=16)
    bench.run(renderers=workers, replicas=workers)
    bench.check()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("before", "after"), [(0, 5), (5, 0), (0, 0)])
def test_thirty_pages_over_their_time_in_a_row_end_as_rows_and_stop_nothing(
    tmp_path, monkeypatch, before, after, workers
):
    slow_renderer(monkeypatch, 60.0)
    bad = Source(30, kills_renderer=frozenset(range(1, 31)))
    bench = Bench(tmp_path, world_with(bad, 1, before, after))
    bench.run(renderers=workers)
    bench.check()
    reasons = {row["reason"] for row in bench.rows() if row["status"] == "failed"}
    assert reasons == {"rendering the page took longer than 60 s"}


def slow_renderer(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A page that ends its renderer does so after ``seconds``."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    rendered = FakeFleet._rendered

    def slow(fleet: FakeFleet, call: RenderCall) -> _Answer:
        try:
            return rendered(fleet, call)
        except RendererDied:
            now[0] += seconds
            raise

    monkeypatch.setattr(FakeFleet, "_rendered", slow)


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("renderers", [1, 2])
def test_a_page_that_crashes_its_renderer_and_is_all_that_is_left_does_not_wedge_the_output(
    tmp_path, proven, renderers
):
    bench = Bench(tmp_path, {**good(3), "zz": Source(1, kills_renderer=frozenset({1}))}, per_unit=10)
    stop_with_only_these_left(bench, {("zz", 1)})
    bench.run(proven=proven, renderers=renderers)
    bench.check()


def test_suspects_are_told_from_the_rest_and_what_is_condemned_is_told_by_name(tmp_path):
    bench = Bench(tmp_path, {**good(2), "bad": Source(3, kills_renderer=frozenset({2}))})
    driver = bench.run()
    condemned = [event for event in bench.events if isinstance(event, events.PageCondemned)]
    assert [(event.doc_id, event.page) for event in condemned] == [("bad", 2)]
    lost = [event for event in bench.events if isinstance(event, events.RendererReplaced)]
    assert all(event.suspected for event in lost)
    assert driver.progress.reasons == {"rendering the page crashed the renderer twice": 1}
    assert driver.snapshot().progress.statuses == {"ok": 12, "failed": 1}


# Sources that do not answer


def is_said(bench: Bench, kind: type) -> bool:
    return any(isinstance(event, kind) for event in bench.events)


@pytest.mark.parametrize("renderers", [1, 4])
@pytest.mark.parametrize("unknown", [False, True], ids=["named", "of unknown version"])
def test_an_outage_of_all_sources_is_waited_for_and_condemns_nothing(tmp_path, clock, renderers, unknown):
    bench = Bench(tmp_path, good(40, pages=3), per_unit=8, unknown_versions=unknown)

    def outage(driver: Driver) -> None:
        bench.fleet.down = set(bench.world.now) if 1005.0 < clock[0] < 1300.0 else set()

    bench.run(observe=outage, renderers=renderers)
    bench.check()
    assert clock[0] > 1300.0
    assert is_said(bench, events.SourcesUnavailable)
    assert is_said(bench, events.SourcesBack)


def test_an_outage_is_told_with_its_message_at_once_and_every_so_often(tmp_path, clock):
    bench = Bench(tmp_path, good(20))

    def outage(driver: Driver) -> None:
        bench.fleet.down = set(bench.world.now) if clock[0] < 1300.0 else set()

    bench.run(observe=outage)
    told = [event for event in bench.events if isinstance(event, events.SourcesUnavailable)]
    assert told[0].message == "HTTP 503"
    assert told[0].waited_s < 1.0
    assert 4 <= len(told) <= 7


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("answered", [0, 10])
def test_sources_that_never_answer_again_stop_the_job_resumable_and_condemn_nothing(tmp_path, answered):
    bench = Bench(tmp_path, good(20), per_unit=4)

    def outage(driver: Driver) -> None:
        if driver.progress.pages >= answered:
            bench.fleet.down = set(bench.world.now)

    with pytest.raises(
        JobError, match=r"sources have not answered for 6\d\d s: HTTP 503.*none was condemned"
    ):
        bench.run(observe=outage)
    assert failed_rows(bench) == 0
    bench.run()
    bench.check()


@pytest.mark.usefixtures("clock")
def test_one_source_that_never_answers_stops_the_job_after_all_others_are_read(tmp_path):
    bench = Bench(tmp_path, good(60, pages=2), per_unit=2)

    def outage(driver: Driver) -> None:
        bench.fleet.down = {"good1"}

    with pytest.raises(JobError, match="1 documents wait for them"):
        bench.run(observe=outage)
    read = {doc_id for doc_id, _, _ in bench.fleet.read_pages}
    assert read == set(bench.world.now) - {"good1"}
    assert failed_rows(bench) == 0


def test_many_sources_that_do_not_answer_do_not_keep_units_of_others_from_being_read(tmp_path, clock):
    bench = Bench(tmp_path, good(60, pages=2), per_unit=2)
    silent = {f"good{i}" for i in range(0, 40, 2)}

    def outage(driver: Driver) -> None:
        bench.fleet.down = silent if clock[0] < 1400.0 else set()
        if clock[0] == 1399.0:
            assert {doc_id for doc_id, _, _ in bench.fleet.read_pages} == set(bench.world.now) - silent

    bench.run(observe=outage)
    bench.check()


# Servers that do not answer


@pytest.mark.usefixtures("clock")
def test_an_engine_that_says_it_waits_is_no_stall_and_is_told_until_it_goes_on(tmp_path, clock):
    bench = Bench(tmp_path, good(3))
    until = 2300.0

    def wait(driver: Driver) -> None:
        fleet = bench.fleet
        fleet._read_page = type(fleet)._read_page.__get__(fleet)
        if 1001.0 < clock[0] < until:
            fleet._read_page = lambda name: [
                ReadProgress(number, ReadReport(waiting="no server answers"))
                for number in fleet.replicas[name]
            ]

    bench.run(observe=wait)
    bench.check()
    assert clock[0] > until
    told = [event for event in bench.events if isinstance(event, events.EngineWaiting)]
    assert told[0].message == "no server answers"
    assert told[0].waited_s < 1.0
    assert len(told) > 10
    assert is_said(bench, events.EngineBack)


@pytest.mark.usefixtures("clock")
def test_an_engine_that_says_no_more_that_it_waits_and_finishes_nothing_is_stalled(tmp_path, clock):
    bench = Bench(tmp_path, good(3))

    def wait(driver: Driver) -> None:
        fleet = bench.fleet
        fleet._read_page = lambda name: [
            ReadProgress(number, ReadReport(waiting="no server answers" if clock[0] < 1100 else ""))
            for number in fleet.replicas[name]
        ]

    with pytest.raises(JobError, match="stalled: no page finished for 1000 s"):
        bench.run(observe=wait)


@pytest.mark.usefixtures("clock")
def test_pages_that_fail_are_no_progress_where_none_is_ever_answered(tmp_path):
    """Timeouts of a hung engine: the control hangs as well, so that nothing tells."""
    bench = Bench(tmp_path, good(3))

    def fail_slowly(driver: Driver) -> None:
        fleet = bench.fleet

        def read(name: str) -> list[Event]:
            number, reading = next(iter(fleet.replicas[name].items()))
            if reading.is_control or fleet.rng.random() > 0.01 or not reading.left:
                return []
            page = reading.left.pop()
            row = replace(_row(reading.chunk, page, name), status=Status.FAILED, reason="too slow")
            return [ReadProgress(number, ReadReport(failures=(row,)))]

        fleet._read_page = read

    with pytest.raises(JobError, match="stalled"):
        bench.run(observe=fail_slowly, replicas=1)
    assert failed_rows(bench) == 0


# Sources that change again and again


@pytest.mark.parametrize("seed", range(4))
def test_a_file_that_never_rests_is_given_up_with_one_row_and_the_others_are_read(tmp_path, seed):
    bench = Bench(tmp_path, {**good(3), "restless": Source(12), "z": Source(4)}, seed)
    versions = 1

    def change(driver: Driver) -> None:
        nonlocal versions
        if bench.fleet.turns % 4 == 0:
            versions += 1
            bench.world.put("restless", Source(12, f"v{versions}"))

    bench.run(observe=change)
    assert bench.statuses("restless") == {DOCUMENT_PAGE: "failed"}
    (row,) = [row for row in bench.rows() if row["doc_id"] == "restless"]
    assert row["reason"].startswith("changed while it was read, 4 times")
    for doc_id in ("good0", "good1", "good2", "z"):
        assert set(bench.statuses(doc_id).values()) == {"ok"}
    read = sum(count for (doc_id, _, _), count in bench.fleet.read_pages.items() if doc_id == "restless")
    assert read <= 12 * 4
    assert is_said(bench, events.DocumentGivenUp)
    bench.check_counters()


def test_a_unit_of_restless_files_is_completed(tmp_path):
    """Each changes a few times, all of them often: a unit is sealed again and again for that."""
    bench = Bench(tmp_path, {f"doc{i:02d}": Source(3) for i in range(30)}, per_unit=30)
    bench.run(Faults(source_changes=0.5))
    rows = bench.rows()
    assert {row["doc_id"] for row in rows} == set(bench.world.now)
    assert {row["reason"][:28] for row in rows if row["status"] == "failed"} <= {
        "changed while it was read, 4"
    }
    bench.check_counters()


# Memory


@pytest.mark.parametrize("replicas", [1, 4])
def test_images_in_flight_stay_within_their_budget_however_slow_the_engine_is(tmp_path, replicas):
    bench = Bench(tmp_path, good(40, pages=20), per_unit=100)
    budget = 30 * IMAGE_BYTES
    nothing_read = 400

    def slow(driver: Driver) -> None:
        fleet = bench.fleet
        fleet._read_page = type(fleet)._read_page.__get__(fleet)
        if fleet.turns < nothing_read:
            fleet._read_page = lambda name: []

    bench.run(replicas=replicas, window_bytes=budget, window=1000, observe=slow)
    bench.check()
    one_call = 64 * IMAGE_BYTES
    assert bench.most_bytes <= len(NODES) * budget + one_call


def test_pages_in_flight_stay_within_the_window_however_slow_the_engine_is(tmp_path):
    bench = Bench(tmp_path, good(10, pages=30), per_unit=100)
    most = 0

    def slow(driver: Driver) -> None:
        nonlocal most
        most = max(most, driver.reading.pages)
        bench.fleet._read_page = type(bench.fleet)._read_page.__get__(bench.fleet)
        if bench.fleet.turns < 300:
            bench.fleet._read_page = lambda name: []

    bench.run(replicas=1, window=4, observe=slow)
    bench.check()
    assert most <= 3 * 4


# Claims


OTHER = "run other-run, process 1 elsewhere"


@pytest.mark.parametrize("seed", range(6))
def test_a_unit_lost_to_another_process_and_won_back_is_completed_once(tmp_path, seed, monkeypatch):
    monkeypatch.setattr("jobs.driver.plan_queue.ASK_AGAIN_S", 0.0)
    bench = Bench(tmp_path, good(5), seed)
    when = random.Random(seed).randint(5, 120)

    def lose_and_win_back(driver: Driver) -> None:
        if bench.fleet.turns == when:
            for unit_id, _ in list(driver._units):
                bench.claims.taken[unit_id] = OTHER
                bench.claims.losing.add(unit_id)
        if bench.fleet.turns == when + 20:
            bench.claims.taken.clear()

    bench.run(observe=lose_and_win_back)
    bench.check()


def test_nothing_more_is_rendered_of_a_unit_that_was_lost_nor_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.driver.plan_queue.ASK_AGAIN_S", 0.0)
    bench = Bench(tmp_path, {"long": Source(400), **good(2)}, per_unit=1)
    long = bench.units[0].unit_id
    rendered_after: list[str] = []
    sealed_by_them = False

    def lose(driver: Driver) -> None:
        nonlocal sealed_by_them
        fleet, losing = bench.fleet, long not in bench.claims.taken and not sealed_by_them
        if losing and fleet.reads and any(fleet.renderers.values()):
            bench.claims.taken[long] = OTHER
            bench.claims.losing.add(long)
        if fleet.turns == 600:
            sealed_by_them = True
            bench.claims.taken.clear()

    render = FakeFleet.render

    def spy(fleet: FakeFleet, renderer: str, call: int, request: RenderCall) -> None:
        if long in bench.claims.taken and not bench.claims.losing:
            rendered_after.append(request.unit_id)
        render(fleet, renderer, call, request)

    monkeypatch.setattr(FakeFleet, "render", spy)
    fleet_done = bench.is_done
    monkeypatch.setattr(
        bench, "is_done", lambda plan: (sealed_by_them and plan.unit_id == long) or fleet_done(plan)
    )
    bench.run(observe=lose)
    assert bench.fleet.turns >= 600
    bench.check_counters()
    assert long not in rendered_after


def test_a_unit_another_process_sealed_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.driver.plan_queue.ASK_AGAIN_S", 0.0)
    bench = Bench(tmp_path, good(6))
    theirs = bench.units[1]
    bench.claims.taken[theirs.unit_id] = OTHER

    def they_seal_it(driver: Driver) -> None:
        if bench.fleet.turns == 300:
            mine, bench.units = bench.units, [theirs]
            ours, bench.claims = bench.claims, NoClaims()
            driver_here, fleet_here = bench.driver, bench.fleet
            bench.run()
            bench.units, bench.claims, bench.driver, bench.fleet = mine, ours, driver_here, fleet_here
            ours.taken.clear()

    driver = bench.run(observe=they_seal_it)
    bench.check()
    read = {doc_id for doc_id, _, _ in bench.fleet.read_pages}
    assert read.isdisjoint(document.doc_id for document in theirs.documents)
    assert driver.progress.units_sealed == 2


def test_two_jobs_on_one_output_share_the_units_between_them(tmp_path):
    bench = Bench(tmp_path, good(4), per_unit=1)
    both = [JobClaim(bench.store, Owner.this_process(name), Purpose("ocr", "digest")) for name in ("1", "2")]
    for each in both:
        assert each.enter(lambda stored: {}, lambda seconds: False, print)
    claims, other = (each.units() for each in both)
    try:
        assert other.acquire(bench.units[0].unit_id) is None
        bench.claims = claims
        with pytest.raises(Stopped):
            bench.run(turns=2000)
        read = {doc_id for doc_id, _, _ in bench.fleet.read_pages}
        assert read == {"good1", "good2", "good3"}
    finally:
        for each in both:
            each.leave()


# Time


@pytest.mark.parametrize("others", [False, True], ids=["alone", "while another process holds a unit"])
def test_a_run_in_which_no_page_ends_is_reported_as_stalled_with_what_is_in_flight(
    tmp_path, monkeypatch, others
):
    bench = Bench(tmp_path, good(3), per_unit=1)
    if others:
        bench.claims.taken[bench.units[-1].unit_id] = OTHER
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def hang(driver: Driver) -> None:
        if bench.fleet.finished_reads:
            bench.fleet._read_page = lambda name: []
        clock[0] += 5.0

    with pytest.raises(JobError, match=r"(?s)stalled.*1000 s.*open units: .*\.g1.*replicas: .*pages"):
        bench.run(observe=hang)


def test_waiting_for_another_process_is_no_stall(tmp_path, monkeypatch):
    bench = Bench(tmp_path, good(3), per_unit=1)
    theirs = bench.units[-1].unit_id
    bench.claims.taken[theirs] = OTHER
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def wait(driver: Driver) -> None:
        clock[0] += 5.0
        if clock[0] > 5000:
            bench.claims.taken.clear()

    bench.run(observe=wait)
    bench.check()


def test_a_run_past_its_deadline_stops_and_can_be_resumed(tmp_path, monkeypatch):
    bench = Bench(tmp_path, good(3))
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    config = DriverConfig("run", "fp", 10**6, 1000.0, 60.0, 60.0, deadline_s=10.0)
    fleet = FakeFleet(bench.store, bench.world, bench.rng)
    driver = Driver(
        fleet, bench.claims, config, QuietObserver(lambda _: clock.__setitem__(0, clock[0] + 1.0))
    )
    with pytest.raises(Stopped, match="deadline of 10 s"):
        driver.run(bench.plans(), bench.is_done, lambda: False)
    fleet.stop()
    monkeypatch.undo()
    bench.run()
    bench.check()


def test_a_page_whose_rendering_takes_too_long_fails_with_the_limit_as_its_reason(tmp_path, monkeypatch):
    bench = Bench(tmp_path, {**good(2), "slow": Source(5, kills_renderer=frozenset({3}))})
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    rendered = FakeFleet._rendered

    def slow(fleet: FakeFleet, call: RenderCall) -> _Answer:
        try:
            return rendered(fleet, call)
        except RendererDied:
            clock[0] += 60.0
            raise

    monkeypatch.setattr(FakeFleet, "_rendered", slow)
    driver = bench.run()
    bench.check()
    reasons = {row["reason"] for row in bench.rows() if row["status"] == "failed"}
    assert reasons == {"rendering the page took longer than 60 s"}
    assert driver.progress.renderer_deaths <= 3, "a page that hung when it was alone is not tried again"


def test_rows_the_driver_writes_itself_say_all_that_rows_must_say(tmp_path):
    bench = Bench(tmp_path, {**good(2), "bad": Source(3, kills_engine=frozenset({2}))}, metadata='{"a": 1}')
    bench.run()
    (row,) = [row for row in bench.rows() if row["status"] == "failed"]
    assert (row["doc_id"], row["page"], row["page_count"]) == ("bad", 2, 3)
    assert row["reason"].startswith("killed its engine: last log_tail of replica-")
    assert (row["fingerprint"], row["run_id"], row["source_version"]) == ("fp", "run", "v1")
    assert row["metadata"] == '{"a": 1}'
    assert row["finished_at"] is not None
