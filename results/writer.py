"""The writer: takes rows from replicas, flushes them to partials, seals units that are complete."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import PagefleetError, StoreError
from manifests.pages import PageSpan
from manifests.units import UnitPlan
from manifests.work import PROBE_UNIT
from results.open_unit import DocumentState, OpenUnit
from results.page_log import page_lines
from results.rows import SCHEMA, ResultRow, Status, rows_to_batch
from results.sealing import SealConfig, Source, seal
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
    sealed_path,
)

TRACKING_COLUMNS = ["doc_id", "page", "page_count", "source_version", "status", "fingerprint"]


@dataclass(frozen=True, slots=True)
class WriterConfig:
    """What every row and file of this run carries, and how often rows are flushed."""

    run_id: str
    fingerprint: str
    flush_s: float = 5.0
    flush_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class SealReport:
    """Either the unit is sealed, or ``missing`` says which pages have no row (``()``: unopened)."""

    sealed: bool
    missing: dict[int, tuple[PageSpan, ...]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    cut_pages: int = 0


class UnitWriter:
    """Keeps the rows of open units. Thread-safe; a background thread flushes every ``flush_s``.

    Nothing is lost for good when its process dies: a row that was not flushed is found missing when
    its unit is sealed, and the driver has its page read again. A write that fails is raised by every
    later call, as StoreError.
    """

    def __init__(self, store: Store, config: WriterConfig) -> None:
        self._store = store
        self._config = config
        self._units: dict[tuple[str, int], OpenUnit] = {}
        self._sealed: set[tuple[str, int]] = set()
        self._nonce = uuid4().hex[:8]
        self._files = 0
        self._buffered_bytes = 0
        self._log: list[str] = []
        self._error: StoreError | None = None
        self._lock = threading.RLock()
        self._flush_lock = threading.Lock()
        self._due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._flush_loop, name="flush", daemon=True)
        self._thread.start()

    def open(self, plan: UnitPlan) -> dict[int, DocumentState]:
        """Begin or resume a generation; tells what is stored of each document already."""
        self._raise_error()
        self._store.replace(plan_path(plan.unit_id, plan.generation), encode_plan(plan))
        unit = self._load(plan)
        with self._lock:
            self._units[(plan.unit_id, plan.generation)] = unit
            self._sealed.discard((plan.unit_id, plan.generation))
        return unit.states()

    def add(self, unit_id: str, generation: int, batch: pa.RecordBatch) -> None:
        """Take rows. They are in memory when this returns and on disk at the next flush."""
        self._raise_error()
        with self._lock:
            unit = self._unit(unit_id, generation)
            if unit is None:
                return
            fresh = unit.admit(batch)
            if not fresh.num_rows:
                return
            unit.buffer.append(fresh)
            self._buffered_bytes += fresh.nbytes
            self._log.extend(page_lines(fresh))
            if self._buffered_bytes >= self._config.flush_bytes:
                self._due.set()

    def add_rows(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        """Take rows the driver decided (a page that killed its renderer or its engine)."""
        self.add(unit_id, generation, rows_to_batch(rows))

    def stored(self, unit_id: str, generation: int, pages: Sequence[tuple[int, int]]) -> list[bool]:
        """Whether there is a row for each ``(document index, page)``, in order."""
        with self._lock:
            unit = self._unit(unit_id, generation)
            if unit is None:
                return [True] * len(pages)
            return [unit.has(doc_index, page) for doc_index, page in pages]

    def restart_document(self, unit_id: str, generation: int, doc_index: int, version: str) -> None:
        """The source turned out to have another version: forget the document's rows, plan all of it."""
        with self._lock:
            unit = self._unit(unit_id, generation)
            if unit is None:
                return
            unit.restart(doc_index, version)
            plan = unit.plan
        self._store.replace(plan_path(unit_id, generation), encode_plan(plan))

    def seal(self, unit_id: str, generation: int, page_counts: dict[int, int]) -> SealReport:
        """Seal the unit if every planned page has a row; otherwise say what is missing.

        ``page_counts`` holds what opening told the driver, for documents that have no row at all.
        """
        self._raise_error()
        with self._lock:
            unit = self._unit(unit_id, generation)
            if unit is None:
                return _sealed_report(read_footer(self._store, unit_id))
            missing = unit.missing(page_counts)
            if missing:
                return SealReport(False, missing)
            unit.page_counts = {**page_counts, **unit.page_counts}
            self._add_skipped(unit, page_counts)
            buffered = pa.Table.from_batches(unit.buffer, schema=SCHEMA)
        with self._flush_lock:
            config = SealConfig(self._config.run_id, self._config.fingerprint)
            footer = seal(self._store, unit, self._sources(unit, buffered), config)
        with self._lock:
            self._units.pop((unit_id, generation), None)
            self._sealed.add((unit_id, generation))
            self._buffered_bytes = max(0, self._buffered_bytes - buffered.nbytes)
        return _sealed_report(footer)

    def check(self) -> None:
        """Raise the StoreError of a background flush that failed."""
        self._raise_error()

    def abandon(self, unit_id: str, generation: int) -> None:
        """Another process took the unit over: forget it, unflushed rows included."""
        with self._lock:
            self._units.pop((unit_id, generation), None)
            self._sealed.add((unit_id, generation))

    def flush(self) -> None:
        """Store every buffered row and log line now."""
        with self._flush_lock:
            self._flush()
        self._raise_error()

    def close(self) -> None:
        """Flush and stop the thread."""
        self._closed = True
        self._due.set()
        self._thread.join()
        self.flush()

    def _flush_loop(self) -> None:
        while not self._closed:
            self._due.wait(self._config.flush_s)
            self._due.clear()
            with self._flush_lock:
                self._flush()

    def _flush(self) -> None:
        try:
            with self._lock:
                units = [unit for unit in self._units.values() if unit.buffer]
                self._buffered_bytes = 0
            for unit in units:
                self._flush_unit(unit)
            self._flush_log()
        except Exception as error:  # noqa: BLE001 - whatever it is, rows are not stored: later calls tell
            what = str(error) if isinstance(error, PagefleetError) else f"{type(error).__name__}: {error}"
            self._error = StoreError(what)

    def _flush_unit(self, unit: OpenUnit) -> None:
        with self._lock:
            batches = list(unit.buffer)
            self._files += 1
            name = f"{self._config.run_id}-{self._nonce}-{self._files:06d}.parquet"
        path = partial_prefix(unit.plan.unit_id, unit.plan.generation) + name
        self._store.create(path, encode_table(pa.Table.from_batches(batches, schema=SCHEMA)))
        with self._lock:
            del unit.buffer[: len(batches)]

    def _flush_log(self) -> None:
        with self._lock:
            lines, self._log = self._log, []
            self._files += 1
            name = f"pages-{self._nonce}-{self._files:06d}.log"
        if lines:
            self._store.create(f"logs/{self._config.run_id}/{name}", "".join(lines).encode())

    def _unit(self, unit_id: str, generation: int) -> OpenUnit | None:
        """The open unit, or None when it is sealed or was given up.

        A process that replaced one that died picks up where the store says.
        """
        key = (unit_id, generation)
        if key in self._sealed or unit_id == PROBE_UNIT:
            return None
        if key in self._units:
            return self._units[key]
        footer = read_footer(self._store, unit_id)
        if footer is not None and footer.generation >= generation:
            clear_partials(self._store, unit_id, generation)
            self._sealed.add(key)
            return None
        plan = read_plan(self._store, unit_id, generation)
        if plan is None:
            raise StoreError(f"{self._store.root}: unit {unit_id} has no plan: run the job again")
        self._units[key] = self._load(plan)
        return self._units[key]

    def _load(self, plan: UnitPlan) -> OpenUnit:
        unit = OpenUnit(plan)
        for path in list_partials(self._store, plan.unit_id, plan.generation):
            table = read_rows(self._store, path, TRACKING_COLUMNS)
            if table is not None:
                ours = pc.equal(table.column("fingerprint"), self._config.fingerprint)
                for batch in table.filter(ours).to_batches():
                    unit.admit(batch)
        return unit

    def _sources(self, unit: OpenUnit, buffered: pa.Table) -> list[Source]:
        plan = unit.plan
        paths = list_partials(self._store, plan.unit_id, plan.generation)
        fingerprint = self._config.fingerprint
        sources = [Source(table=buffered), *(Source(path, fingerprint=fingerprint) for path in paths)]
        if plan.base_version:
            sources.append(Source(sealed_path(plan.unit_id), base=True))
        return sources

    def _add_skipped(self, unit: OpenUnit, page_counts: dict[int, int]) -> None:
        rows = []
        for i in unit.plan.wanted_indexes():
            page_count = unit.page_counts.get(i) or page_counts.get(i, 0)
            document = unit.plan.wanted(i)
            rows += [
                ResultRow(
                    doc_id=document.doc_id,
                    uri=document.uri,
                    page=page,
                    status=Status.SKIPPED,
                    reason=reason,
                    page_count=page_count,
                    generation=unit.plan.generation,
                    fingerprint=self._config.fingerprint,
                    source_version=unit.versions.get(i, document.version),
                    run_id=self._config.run_id,
                    finished_at=datetime.now(UTC),
                    metadata=document.metadata,
                )
                for page, reason in (unit.skipped(i, page_count) if page_count else ())
            ]
        if rows:
            unit.buffer.append(unit.admit(rows_to_batch(rows)))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _sealed_report(footer: Footer | None) -> SealReport:
    if footer is None:  # given up: whoever took the unit over has not sealed it yet
        return SealReport(False)
    return SealReport(True, counts=footer.counts, cut_pages=footer.cut_pages)
