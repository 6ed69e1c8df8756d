"""A unit's rows from everywhere: in order, one for each page and variant, few of them in memory at once.

Every source is read once, a row group at a time. What is kept of it is sorted and cut into slices that
wait on disk when they are many. A sweep over the slices by their first row then gives rows out as soon
as no slice to come can hold an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import StoreError
from manifests.pages import DOCUMENT_PAGE
from manifests.units import UnitPlan
from results.beyond import skipped_pages
from results.open_unit import OpenUnit
from results.rows import SCHEMA, Status
from results.spool import Spool
from results.store import Store
from results.unit_files import list_partials, row_groups, sealed_path

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

KEY, RANK = "_key", "_rank"
PAGE_BITS, VARIANT_BITS = 21, 10
KEY_BITS = PAGE_BITS + VARIANT_BITS
STEP_BYTES = 16 * 2**20
"""Rows that are read, sorted and given out at a time."""
WAITING_BYTES = 32 * 2**20
"""The slices of all sources that overlap at one place, together."""
MIN_SLICE_BYTES = 2**16
ROW_BYTES = 300
"""What a row takes besides its texts, about."""


@dataclass(frozen=True, slots=True)
class RowSource:
    """Rows of a unit from one place. ``base`` marks the earlier generation: its rows fill the gaps.

    With a ``fingerprint`` only rows that carry it count: settings may have changed while a unit was open.
    """

    path: str = ""
    table: pa.Table | None = None
    base: bool = False
    fingerprint: str = ""


def unit_sources(
    store: Store, plan: UnitPlan, buffered: pa.Table | None = None, fingerprint: str = ""
) -> list[RowSource]:
    """Where the rows of a generation under way are: in memory, in its partials, in the one before."""
    paths = list_partials(store, plan.unit_id, plan.generation)
    sources = [RowSource(path, fingerprint=fingerprint) for path in paths]
    if buffered is not None:
        sources.insert(0, RowSource(table=buffered))
    if plan.base_version:
        sources.append(RowSource(sealed_path(plan.unit_id), base=True))
    return sources


def in_order(unit: OpenUnit, table: pa.Table) -> pa.Table:
    """Rows by document, page and variant."""
    key, _ = row_keys(unit, table)
    return table.take(pa.array(np.argsort(key, kind="stable")))


def merged(
    store: Store, unit: OpenUnit, sources: Sequence[RowSource], last: Iterable[pa.Table] = ()
) -> Iterator[tuple[pa.Table, Integers]]:
    """The unit's rows in order with the index of each one's document.

    Of two rows of a page and variant that of an earlier source wins, a base's only where there is no
    other, and one that does not know its source's version only where none does. Rows of ``last`` are taken
    as they are where nothing else is; those of documents the unit does not have are left out.
    """
    slice_bytes = max(MIN_SLICE_BYTES, WAITING_BYTES // (len(sources) + 1))
    with Spool(store, memory_bytes=0) as spool:
        slices = _Slices(spool, slice_bytes)
        for rank, source in enumerate(sources):
            for table in _tables(store, source):
                slices.add(_keyed(unit, table, source, rank))
        for table in last:
            keyed = _with_keys(table, *row_keys(unit, table), rank=_RANK_OF_LAST)
            slices.add(keyed.filter(pc.greater_equal(keyed.column(KEY), 0)))
        for table in slices.swept():
            indexes = np.asarray(table.column(KEY)) >> KEY_BITS
            yield table.drop_columns([KEY, RANK]), indexes


_UNVERSIONED = 1 << 40
_OF_BASE = 1 << 41
_RANK_OF_LAST = 1 << 42


def _tables(store: Store, source: RowSource) -> Iterator[pa.Table]:
    if source.table is not None:
        yield source.table
        return
    for table in row_groups(store, source.path):
        try:
            yield table.select(SCHEMA.names).cast(SCHEMA)
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise StoreError(
                f"{store.root}/{source.path} is not a Parquet file pagefleet wrote ({error}): "
                "move it away and run the same command again"
            ) from error


def _keyed(unit: OpenUnit, table: pa.Table, source: RowSource, rank: int) -> pa.Table:
    """The rows of a source that count, with their place in the order and their rank."""
    key, index = row_keys(unit, table)
    versions = table.column("source_version").combine_chunks()
    unversioned = np.asarray(pc.equal(versions, "")).astype(bool)
    kept = (key >= 0) & _current(unit, table, index, versions, unversioned)
    if source.base:
        again = [i for i, pages in (unit.plan.reread or {}).items() if not pages]
        kept &= ~np.isin(index, again)
    if source.fingerprint:
        kept &= np.asarray(pc.equal(table.column("fingerprint"), source.fingerprint)).astype(bool)
    ranks = rank + _UNVERSIONED * unversioned + _OF_BASE * source.base
    keyed = _with_keys(table, key, index, rank=ranks)
    return keyed if kept.all() else keyed.filter(pa.array(kept))


def _with_keys(table: pa.Table, key: Integers, index: Integers, rank: int | Integers) -> pa.Table:
    ranks = np.broadcast_to(np.asarray(rank, np.int64), len(index))
    return table.append_column(KEY, pa.array(key)).append_column(RANK, pa.array(ranks))


def row_keys(unit: OpenUnit, table: pa.Table) -> tuple[Integers, Integers]:
    """Each row's place in the order, -1 for what is not the unit's, and the index of its document."""
    ids = pa.array(list(unit.index), pa.string())
    index = _indexes(table.column("doc_id"), ids)
    pages = np.asarray(table.column("page")).astype(np.int64)
    variants = _indexes(table.column("variant"), pa.array(unit.plan.variants, pa.string()))
    variants[pages == DOCUMENT_PAGE] = 0
    key = (index << KEY_BITS) | (pages << VARIANT_BITS) | variants
    key[(index < 0) | (variants < 0) | (pages < 0) | (pages >= 1 << PAGE_BITS)] = -1
    return key, index


def _indexes(column: pa.ChunkedArray, values: pa.Array) -> Integers:
    found = pc.fill_null(pc.index_in(column, value_set=values), -1)
    return np.array(found, dtype=np.int64)


def _current(unit: OpenUnit, table: pa.Table, index: Integers, versions: pa.Array, unversioned: Mask) -> Mask:
    """Which rows count. Of what this generation reads only rows of the current source do, of pages that
    it has or that stand for those it has not; a source may have changed, and shrunk, while it was read.
    What it does not read is kept as it is."""
    count = len(unit.plan.documents)
    at = np.maximum(index, 0)
    known = pa.array([unit.versions.get(i, "") for i in range(count)], pa.string()).take(pa.array(at))
    current = np.asarray(pc.equal(versions, known)).astype(bool)
    current |= unversioned | np.asarray(pc.equal(known, "")).astype(bool)
    pages = np.asarray(table.column("page"))
    ends = np.array([unit.page_counts.get(i, 0) for i in range(count)], np.int64)[at]
    past = (pages > ends) & (ends > 0)
    if past.any():
        past[_skipped_rightly(unit, table, index, np.flatnonzero(past))] = False
    as_a_whole = np.array([unit.has(i, DOCUMENT_PAGE) for i in range(count)], dtype=bool)[at]
    skipped = np.asarray(pc.equal(table.column("status"), Status.SKIPPED)).astype(bool)
    fits = ((pages == DOCUMENT_PAGE) == as_a_whole) | ((pages == DOCUMENT_PAGE) & skipped)
    untouched = ~np.isin(index, unit.plan.wanted_indexes())
    kept: Mask = untouched | (current & ~past & fits)
    return kept


def _skipped_rightly(unit: OpenUnit, table: pa.Table, index: Integers, rows: Integers) -> Integers:
    """Of rows past the end of their documents those that are there to say so."""
    due = {
        i: dict(skipped_pages(unit.plan.documents[i], unit.page_counts[i]))
        for i in np.unique(index[rows]).tolist()
        if i >= 0
    }
    columns = (table.column(name).take(pa.array(rows)).to_pylist() for name in ("page", "status", "reason"))
    right = [
        status == Status.SKIPPED and due.get(i, {}).get(page) == reason
        for i, page, status, reason in zip(index[rows].tolist(), *columns, strict=True)
    ]
    kept: Integers = rows[np.array(right, dtype=bool)]
    return kept


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows in order: in memory, or written to the spool. ``first`` is the key of the first of them."""

    first: int
    table: pa.Table | None
    start: int = 0
    size: int = 0


class _Slices:
    """Sorted slices of all sources, the first few of them in memory."""

    def __init__(self, spool: Spool, slice_bytes: int) -> None:
        self._spool = spool
        self._slice_bytes = slice_bytes
        self._slices: list[_Slice] = []
        self._memory_bytes = STEP_BYTES
        self._options = pa.ipc.IpcWriteOptions(compression="lz4")

    def add(self, table: pa.Table) -> None:
        """Take rows in any order."""
        if not table.num_rows:
            return
        table = _ordered(table)
        keys = np.asarray(table.column(KEY))
        for start, end in _cuts(table, self._slice_bytes):
            self._slices.append(self._keep(int(keys[start]), table.slice(start, end - start)))

    def _keep(self, first: int, table: pa.Table) -> _Slice:
        self._memory_bytes -= table.nbytes
        if self._memory_bytes >= 0:
            return _Slice(first, table)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=self._options) as stream:
            stream.write_table(table)
        data = memoryview(sink.getvalue())
        return _Slice(first, None, self._spool.append(data), len(data))

    def swept(self) -> Iterator[pa.Table]:
        """All rows in order, one of each key."""
        self._slices.sort(key=lambda piece: piece.first)
        held: list[pa.Table] = []
        held_bytes = kept_bytes = 0
        for piece in self._slices:
            if held_bytes - kept_bytes >= STEP_BYTES:
                table = pa.concat_tables(held)
                below = pc.less(table.column(KEY), piece.first)
                if (ready := table.filter(below)).num_rows:
                    yield _ordered(ready)
                held = [table.filter(pc.invert(below))]
                held_bytes = kept_bytes = held[0].nbytes
            held.append(self._load(piece))
            held_bytes += held[-1].nbytes
        if held:
            yield _ordered(pa.concat_tables(held))

    def _load(self, piece: _Slice) -> pa.Table:
        if piece.table is not None:
            return piece.table
        return pa.ipc.open_stream(self._spool.read(piece.start, piece.size)).read_all()


def _ordered(table: pa.Table) -> pa.Table:
    """Rows by key, of each key the one of the lowest rank; the first of several."""
    keys, ranks = np.asarray(table.column(KEY)), np.asarray(table.column(RANK))
    order = np.lexsort((ranks, keys))
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.diff(keys[order]) != 0
    return table.combine_chunks().take(pa.array(order[first])).combine_chunks()


def _cuts(table: pa.Table, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Where to cut rows into slices of so many bytes; a larger row is a slice of its own."""
    sizes = np.full(table.num_rows, ROW_BYTES, np.int64)
    for name in ("text", "raw_text", "metadata"):
        sizes += np.asarray(pc.fill_null(pc.binary_length(table.column(name)), 0)).astype(np.int64)
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
        yield start, end
        start = end
