"""Sealing: a unit's rows, sorted and counted, become one Parquet file that appears whole or not at all."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.documents import Document
from manifests.errors import StoreError
from manifests.pages import plan_pages
from results.assembly import IMAGE_FLAG, PageText, document_markdown, markdown_file
from results.open_unit import OpenUnit
from results.page_log import document_lines
from results.rows import SCHEMA, Status
from results.store import Created, Store
from results.unit_files import (
    FOOTER_KEY,
    Footer,
    SealedDocument,
    clear_partials,
    history_path,
    read_footer,
    read_rows,
    sealed_path,
)

GROUP_ROWS = 20_000
"""Rows sorted and written at a time, so that a unit of many pages never is in memory at once."""

MARKDOWN_THREADS = 8


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of a unit from one place. ``base`` marks the earlier generation: its rows fill the gaps.

    With a ``fingerprint`` only rows that carry it count: settings may have changed while a unit was open.
    """

    path: str = ""
    table: pa.Table | None = None
    base: bool = False
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class SealConfig:
    """What a sealed unit carries, and whose log tells of its documents."""

    run_id: str
    fingerprint: str


def seal(store: Store, unit: OpenUnit, sources: Sequence[Source], config: SealConfig) -> Footer:
    """Write the Markdown of what was read, then the sealed file, then delete the partials.

    Returns the footer of the file that is sealed in the end: when another process was first (or our
    own answer was lost), that is its file, and the Markdown is made to match it.
    """
    plan = unit.plan
    data, footer = _encode(store, unit, sources, config)
    path = sealed_path(plan.unit_id)
    if not plan.base_version:
        sealed = store.create(path, data) is Created.CREATED
    else:
        _keep_history(store, unit)
        sealed = store.replace(path, data, if_match=plan.base_version) is not None
    if not sealed:
        footer = _adopt(store, unit)
    clear_partials(store, plan.unit_id, plan.generation)
    return footer


def _encode(
    store: Store, unit: OpenUnit, sources: Sequence[Source], config: SealConfig
) -> tuple[bytes, Footer]:
    sums = _Sums()
    page_counts = dict(unit.page_counts)
    documents = {i: unit.plan.documents[i] for i in unit.plan.wanted_indexes()}
    log: list[str] = []
    sink = io.BytesIO()
    with (
        pq.ParquetWriter(sink, SCHEMA, compression="zstd") as parquet,
        ThreadPoolExecutor(MARKDOWN_THREADS) as threads,
    ):
        for table, indexes in _groups(store, unit, sources):
            parquet.write_table(table)
            sums.add(table)
            for i, first in zip(*np.unique(indexes, return_index=True), strict=True):
                page_counts.setdefault(int(i), table.column("page_count")[int(first)].as_py())
            log += document_lines(table.filter(pc.equal(table.column("run_id"), config.run_id)))
            markdown = markdown_files(table, indexes, documents)
            list(threads.map(lambda file: store.replace(*file), markdown))
        footer = _footer(unit, sums, page_counts, config.fingerprint)
        parquet.add_key_value_metadata({FOOTER_KEY: json.dumps(footer.to_json(), ensure_ascii=False)})
    name = f"documents-{unit.plan.unit_id}.g{unit.plan.generation}.jsonl"
    store.replace(f"logs/{config.run_id}/{name}", "".join(log).encode())
    return sink.getvalue(), footer


@dataclass(slots=True)
class _Sums:
    """Rows added up by status and flag, and their tokens."""

    counts: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)

    def add(self, table: pa.Table) -> None:
        self.counts.update(table.column("status").to_pylist())
        self.flags.update(pc.list_flatten(table.column("flags")).to_pylist())
        for name in ("prompt_tokens", "completion_tokens"):
            self.tokens[name] += pc.sum(table.column(name)).as_py() or 0


def _footer(unit: OpenUnit, sums: _Sums, page_counts: dict[int, int], fingerprint: str) -> Footer:
    documents = []
    cut = 0
    for i, document in enumerate(unit.plan.documents):
        page_count = page_counts.get(i, 0)
        documents.append(SealedDocument(document, page_count, unit.versions.get(i, "")))
        if page_count and document.max_pages:
            cut += plan_pages(document.pages, document.max_pages, page_count).cut
    return Footer(
        unit_id=unit.plan.unit_id,
        generation=unit.plan.generation,
        fingerprint=fingerprint,
        counts=dict(sums.counts),
        documents=tuple(documents),
        cut_pages=cut,
        tokens=dict(sums.tokens),
        flags=dict(sums.flags),
    )


def _groups(store: Store, unit: OpenUnit, sources: Sequence[Source]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The unit's rows in document and page order, one row per page, in groups of whole documents.

    Yields each group with the document index of every row.
    """
    loaded: list[pa.Table] = []
    for source in sources:
        loaded.append(_load(store, unit, source))
        if sum(table.num_rows for table in loaded) > GROUP_ROWS:
            break
    else:
        yield _order(unit, loaded)
        return
    del loaded
    for doc_ids in _document_groups(store, unit, sources):
        wanted = pa.array(doc_ids)
        tables = (_load(store, unit, source) for source in sources)
        yield _order(
            unit, [table.filter(pc.is_in(table.column("doc_id"), value_set=wanted)) for table in tables]
        )


def _document_groups(store: Store, unit: OpenUnit, sources: Sequence[Source]) -> Iterator[list[str]]:
    rows: Counter[str] = Counter()
    for source in sources:
        rows.update(_load(store, unit, source, ["doc_id"]).column("doc_id").to_pylist())
    group: list[str] = []
    group_rows = 0
    for document in unit.plan.documents:
        if group and group_rows + rows[document.doc_id] > GROUP_ROWS:
            yield group
            group, group_rows = [], 0
        group.append(document.doc_id)
        group_rows += rows[document.doc_id]
    yield group


def _load(store: Store, unit: OpenUnit, source: Source, columns: list[str] | None = None) -> pa.Table:
    table = source.table if source.table is not None else read_rows(store, source.path)
    if table is None:
        raise StoreError(f"{store.root}/{source.path} is gone while its unit was being sealed: run again")
    if source.base:
        table = _untouched(unit, table)
    if source.fingerprint:
        table = table.filter(pc.equal(table.column("fingerprint"), source.fingerprint))
    return table.select(columns) if columns else table.cast(SCHEMA)


def _untouched(unit: OpenUnit, table: pa.Table) -> pa.Table:
    """The earlier generation's rows without the documents that were read again as a whole."""
    again = [unit.plan.documents[i].doc_id for i, pages in (unit.plan.reread or {}).items() if not pages]
    return table.filter(pc.invert(pc.is_in(table.column("doc_id"), value_set=pa.array(again, pa.string()))))


def _order(unit: OpenUnit, tables: Sequence[pa.Table]) -> tuple[pa.Table, np.ndarray]:
    """One row per page in order, and the rows' document indexes. Earlier tables win over later ones."""
    table = pa.concat_tables(tables)
    ranks = np.repeat(np.arange(len(tables)), [part.num_rows for part in tables])
    documents = unit.plan.documents
    ids = pa.array([document.doc_id for document in documents])
    index = pc.index_in(table.column("doc_id"), value_set=ids).combine_chunks()
    index_np = np.asarray(index)
    pages = np.asarray(table.column("page"))
    keep, unversioned = _current(unit, table, index, pages)
    order = np.lexsort((ranks, unversioned, pages, index_np))
    order = order[keep[order]]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(index_np[order]) != 0) | (np.diff(pages[order]) != 0)
    order = order[first]
    return table.take(pa.array(order)), index_np[order]


def _current(
    unit: OpenUnit, table: pa.Table, index: pa.Array, pages: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows count, and which carry no version of their source.

    Of what this generation reads only rows of the current source count, and none past its end: a
    source may have changed, and shrunk, while it was read. What it does not read is kept as it is.
    """
    count = len(unit.plan.documents)
    known = pa.array([unit.versions.get(i, "") for i in range(count)]).take(index)
    versions = table.column("source_version").combine_chunks()
    unversioned = np.asarray(pc.equal(versions, ""))
    current = np.asarray(pc.equal(versions, known)) | unversioned | np.asarray(pc.equal(known, ""))
    ends = np.array([unit.page_counts.get(i, 0) for i in range(count)])[np.asarray(index)]
    skipped = np.asarray(pc.equal(table.column("status"), Status.SKIPPED))
    inside = (pages <= ends) | (ends == 0) | skipped
    untouched = ~np.isin(np.asarray(index), unit.plan.wanted_indexes())
    return untouched | (current & inside), unversioned


def markdown_files(
    table: pa.Table, indexes: np.ndarray, documents: Mapping[int, Document]
) -> Iterator[tuple[str, bytes]]:
    """Path and content of each document's Markdown.

    ``table`` is sorted by document, ``indexes`` names each row's; those not in ``documents`` are left.
    """
    starts = np.flatnonzero(np.diff(indexes, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(indexes)], strict=True):
        if (document := documents.get(int(indexes[start]))) is not None:
            text = document_markdown(document.markdown, page_texts(table.slice(start, end - start)))
            yield markdown_file(document.markdown), text.encode()


def page_texts(table: pa.Table) -> Iterator[PageText]:
    """What assembly needs of each row."""
    columns = (table.column(name).to_pylist() for name in ("page", "status", "reason", "text", "flags"))
    for page, status, reason, text, flags in zip(*columns, strict=True):
        yield PageText(page, status, reason, text, IMAGE_FLAG in (flags or ()))


def _keep_history(store: Store, unit: OpenUnit) -> None:
    found = store.read(sealed_path(unit.plan.unit_id))
    if found is not None and found[1] == unit.plan.base_version:
        store.create(history_path(unit.plan.unit_id, _generation_of(found[0])), found[0])


def _generation_of(data: bytes) -> int:
    metadata = pq.read_metadata(pa.BufferReader(data)).metadata
    return int(json.loads(metadata[FOOTER_KEY])["generation"])


def _adopt(store: Store, unit: OpenUnit) -> Footer:
    """Another process sealed this generation first: make the Markdown match its rows."""
    unit_id = unit.plan.unit_id
    footer = read_footer(store, unit_id)
    if footer is None or footer.generation < unit.plan.generation:
        raise StoreError(
            f"{store.root}/{sealed_path(unit_id)} was replaced by another job while this one ran: "
            "run the same command again"
        )
    assemble_unit(store, footer)
    return footer


def assemble_unit(store: Store, footer: Footer) -> int:
    """Write the Markdown of every document of a sealed unit from its rows; returns how many."""
    table = read_rows(store, sealed_path(footer.unit_id))
    if table is None:
        return 0
    ids = pa.array([sealed.document.doc_id for sealed in footer.documents])
    indexes = np.asarray(pc.index_in(table.column("doc_id"), value_set=ids).combine_chunks())
    documents = {i: sealed.document for i, sealed in enumerate(footer.documents)}
    files = list(markdown_files(table, indexes, documents))
    with ThreadPoolExecutor(MARKDOWN_THREADS) as threads:
        list(threads.map(lambda file: store.replace(*file), files))
    return len(files)
