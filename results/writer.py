"""The writer: takes rows from replicas, flushes them to partials, seals units that are complete."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import PagefleetError, StoreError
from manifests.pages import PageSpan
from manifests.units import UnitPlan
from manifests.work import PROBE_UNIT
from results.leftovers import gone_message
from results.logs import BestEffortLog
from results.merging import in_order, unit_sources
from results.open_unit import COLUMNS, DocumentState, OpenUnit
from results.page_log import page_lines
from results.rows import SCHEMA, ResultRow, rows_to_batch
from results.sealing import SealConfig, counted_attempt, seal
from results.store import Store
from results.unit_files import (
    Footer,
    clear_partials,
    encode_plan,
    encode_table,
    list_partials,
    partial_prefix,
    plan_path,
    read_footer,
    read_plan,
    read_rows,
)

UnitKey = tuple[str, int]
SEALS_AT_ONCE = 2
"""Units whose rows are in memory, some of them, at a time; others wait their turn."""
ROOM_POLL_S = 1.0
MAX_LOG_CHARACTERS = 4 * 2**20


@dataclass(frozen=True, slots=True)
class WriterConfig:
    """What every row and file of this run carries, and how often rows are flushed.

    While more than twice ``flush_bytes`` of rows wait for the store, who brings more waits too. ``guard``
    is an object that is there as long as the output is: without it nothing is written any more.
    """

    run_id: str
    fingerprint: str
    flush_s: float = 5.0
    flush_bytes: int = 64 * 2**20
    guard: str = ""


@dataclass(frozen=True, slots=True)
class SealReport:
    """Either the unit is sealed, or ``missing`` says which pages have no row (``()``: unopened)."""

    sealed: bool
    missing: dict[int, tuple[PageSpan, ...]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    cut_pages: int = 0


@dataclass(slots=True)
class _BufferedUnit:
    """An open unit, its rows that are not flushed yet, and who is at its files."""

    unit: OpenUnit
    buffer: list[pa.RecordBatch] = field(default_factory=list)
    buffered_bytes: int = 0
    closed: bool = False
    """Sealed, or given up: its rows are nobody's any more."""
    flushing: threading.Lock = field(default_factory=threading.Lock)
    sealing: threading.Lock = field(default_factory=threading.Lock)


class UnitWriter:
    """Keeps the rows of open units. Thread-safe; a background thread flushes every ``flush_s``.

    Nothing is lost for good when its process dies: a row that was not flushed is found missing when
    its unit is sealed, and the driver has its page read again. A write that fails is raised by every
    later call, as StoreError. Sealing one unit keeps nobody from adding to others, nor from flushing.
    """

    def __init__(self, store: Store, config: WriterConfig) -> None:
        self._store = store
        self._config = config
        self._units: dict[UnitKey, _BufferedUnit] = {}
        self._closed_units: set[UnitKey] = set()
        self._nonce = uuid4().hex[:8]
        self._files = 0
        self._buffered_bytes = 0
        self._log: deque[str] = deque()
        self._logs = BestEffortLog(store)
        self._error: StoreError | None = None
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._loading = threading.Lock()
        self._flushing = threading.Lock()
        self._seals = threading.Semaphore(SEALS_AT_ONCE)
        self._due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._flush_loop, name="flush", daemon=True)
        self._thread.start()

    def open(self, plan: UnitPlan) -> dict[int, DocumentState]:
        """Begin or resume a generation; tells what is stored of each document already."""
        self._raise_error()
        self._check_output()
        self._store.replace(plan_path(plan.unit_id, plan.generation), encode_plan(plan))
        open_unit = _BufferedUnit(self._load(plan))
        key = (plan.unit_id, plan.generation)
        with self._lock:
            self._close(key)
            self._units[key] = open_unit
            self._closed_units.discard(key)
            return open_unit.unit.states()

    def add(self, unit_id: str, generation: int, batch: pa.RecordBatch) -> None:
        """Take rows. They are in memory when this returns and on disk at the next flush.

        Waits while the store is slow to take what is in memory already.
        """
        open_unit = self._open_unit(unit_id, generation)
        with self._room:
            self._wait_for_room()
            if open_unit is None or open_unit.closed:
                return
            fresh = open_unit.unit.admit(batch)
            if not fresh.num_rows:
                return
            open_unit.buffer.append(fresh)
            open_unit.buffered_bytes += fresh.nbytes
            self._buffered_bytes += fresh.nbytes
            self._log.extend(page_lines(fresh))
            if self._buffered_bytes >= self._config.flush_bytes:
                self._due.set()

    def add_rows(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        """Take rows the driver decided (a page that killed its renderer or its engine)."""
        self.add(unit_id, generation, rows_to_batch(rows))

    def stored(self, unit_id: str, generation: int, pages: Sequence[tuple[int, int]]) -> list[bool]:
        """Whether each ``(document index, page)`` has all its rows, in order."""
        open_unit = self._open_unit(unit_id, generation)
        if open_unit is None:
            return [True] * len(pages)
        with self._lock:
            return [open_unit.unit.has(doc_index, page) for doc_index, page in pages]

    def restart_document(self, unit_id: str, generation: int, doc_index: int, version: str) -> None:
        """The source turned out to have another version: forget the document's rows, plan all of it."""
        open_unit = self._open_unit(unit_id, generation)
        if open_unit is None:
            return
        with self._lock:
            open_unit.unit.restart(doc_index, version)
            plan = open_unit.unit.plan
        self._store.replace(plan_path(unit_id, generation), encode_plan(plan))

    def seal(self, unit_id: str, generation: int, page_counts: dict[int, int]) -> SealReport:
        """Seal the unit if every planned page has a row; otherwise say what is missing.

        ``page_counts`` holds what opening told the driver, for documents that have no row at all. Raises
        JobError when too many writers have died of sealing it.
        """
        self._raise_error()
        open_unit = self._open_unit(unit_id, generation)
        if open_unit is None:
            return _sealed_report(read_footer(self._store, unit_id))
        with open_unit.sealing:
            with self._lock:
                if open_unit.closed:
                    return _sealed_report(read_footer(self._store, unit_id))
                missing = open_unit.unit.missing(page_counts)
                if missing:
                    return SealReport(False, missing)
                open_unit.unit.page_counts = {**page_counts, **open_unit.unit.page_counts}
                buffered = pa.Table.from_batches(open_unit.buffer, schema=SCHEMA)
            self._check_output()
            footer = self._seal(open_unit.unit, buffered)
            with self._lock:
                self._close((unit_id, generation))
            with open_unit.flushing:  # what was being flushed meanwhile is there now, and is cleared away too
                clear_partials(self._store, unit_id, generation)
        return _sealed_report(footer)

    def check(self) -> None:
        """Raise the StoreError of a background flush that failed."""
        self._raise_error()

    def abandon(self, unit_id: str, generation: int) -> None:
        """Another process took the unit over: forget it, unflushed rows included."""
        with self._lock:
            self._close((unit_id, generation))

    def flush(self) -> None:
        """Store every buffered row and log line now."""
        self._flush()
        self._raise_error()

    def close(self) -> None:
        """Flush and stop the thread."""
        self.stop()
        self._thread.join()
        self.flush()

    def stop(self) -> None:
        """Begin no more flushes by itself; waits for none."""
        self._closed = True
        self._due.set()

    def _flush_loop(self) -> None:
        while not self._closed:
            self._due.wait(self._config.flush_s)
            self._due.clear()
            self._flush()

    def _flush(self) -> None:
        with self._flushing:
            try:
                self._check_output()
                with self._lock:
                    with_rows = [open_unit for open_unit in self._units.values() if open_unit.buffer]
                for open_unit in with_rows:
                    self._flush_unit(open_unit)
                self._flush_log()
            except Exception as error:  # noqa: BLE001 - whatever it is, rows are not stored: later calls tell
                what = str(error) if isinstance(error, PagefleetError) else f"{type(error).__name__}: {error}"
                with self._room:
                    self._error = StoreError(what)
                    self._room.notify_all()

    def _flush_unit(self, open_unit: _BufferedUnit) -> None:
        with open_unit.flushing:
            with self._lock:
                if open_unit.closed:
                    return
                batches = list(open_unit.buffer)
                self._files += 1
                name = f"{self._config.run_id}-{self._nonce}-{self._files:06d}.parquet"
            plan = open_unit.unit.plan
            rows = in_order(open_unit.unit, pa.Table.from_batches(batches, schema=SCHEMA))
            self._store.create(partial_prefix(plan.unit_id, plan.generation) + name, encode_table(rows))
            with self._room:
                if not open_unit.closed:
                    del open_unit.buffer[: len(batches)]
                    self._free(open_unit, sum(batch.nbytes for batch in batches))

    def _flush_log(self) -> None:
        with self._lock:
            lines, self._log = self._log, deque()
            self._files += 1
            name = f"pages-{self._nonce}-{self._files:06d}.log"
        if not lines:
            return
        data = "".join(lines)
        if not self._logs.write(f"logs/{self._config.run_id}/{name}", data.encode()):
            with self._lock:
                if len(data) < MAX_LOG_CHARACTERS:  # with the next lines, perhaps; the rows have it all
                    self._log.extendleft(reversed(lines))

    def _seal(self, unit: OpenUnit, buffered: pa.Table) -> Footer:
        config = SealConfig(self._config.run_id, self._config.fingerprint, self._check_output)
        with self._seals, counted_attempt(self._store, unit.plan, self._config.run_id):
            sources = unit_sources(self._store, unit.plan, buffered, self._config.fingerprint)
            return seal(self._store, unit, sources, config)

    def _open_unit(self, unit_id: str, generation: int) -> _BufferedUnit | None:
        """The open unit, or None when it is sealed or was given up.

        A process that replaced one that died picks up where the store says.
        """
        key = (unit_id, generation)
        if unit_id == PROBE_UNIT:
            return None
        with self._lock:
            if key in self._closed_units or key in self._units:
                return self._units.get(key)
        with self._loading:
            with self._lock:
                if key in self._closed_units or key in self._units:
                    return self._units.get(key)
            footer = read_footer(self._store, unit_id)
            if footer is not None and footer.generation >= generation:
                clear_partials(self._store, unit_id, generation)
                with self._lock:
                    self._close(key)
                return None
            plan = read_plan(self._store, unit_id, generation)
            if plan is None:
                self._check_output()
                raise StoreError(f"{self._store.root}: unit {unit_id} has no plan: run the job again")
            open_unit = _BufferedUnit(self._load(plan))
            with self._lock:
                return self._units.setdefault(key, open_unit)

    def _load(self, plan: UnitPlan) -> OpenUnit:
        unit = OpenUnit(plan)
        for path in list_partials(self._store, plan.unit_id, plan.generation):
            table = read_rows(self._store, path, [*COLUMNS, "fingerprint"])
            if table is not None:
                ours = pc.equal(table.column("fingerprint"), self._config.fingerprint)
                for batch in table.filter(ours).to_batches():
                    unit.note(batch)
        return unit

    def _close(self, key: UnitKey) -> None:
        """Forget a unit, with its rows that were not flushed. Called with the lock held."""
        self._closed_units.add(key)
        if (open_unit := self._units.pop(key, None)) is not None:
            open_unit.closed = True
            open_unit.buffer.clear()
            self._free(open_unit, open_unit.buffered_bytes)

    def _free(self, open_unit: _BufferedUnit, count: int) -> None:
        """So many bytes of a unit's rows are in memory no more. Called with the lock held."""
        open_unit.buffered_bytes -= count
        self._buffered_bytes -= count
        self._room.notify_all()

    def _wait_for_room(self) -> None:
        """Called with the lock held, which others have meanwhile."""
        while self._buffered_bytes >= 2 * self._config.flush_bytes and not self._closed:
            self._raise_error()
            self._due.set()
            self._room.wait(ROOM_POLL_S)
        self._raise_error()

    def _check_output(self) -> None:
        """Raise StoreError when the output was taken away from under the job."""
        guard = self._config.guard
        if guard and self._store.read_tail(guard, 1) is None:
            raise StoreError(gone_message(self._store, guard))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _sealed_report(footer: Footer | None) -> SealReport:
    if footer is None:  # given up: whoever took the unit over has not sealed it yet
        return SealReport(False)
    return SealReport(True, counts=footer.counts, cut_pages=footer.cut_pages)
