"""Sealing: a unit's rows, sorted and counted, become one Parquet file that appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.errors import JobError, StoreError
from manifests.pages import DOCUMENT_PAGE, plan_pages
from manifests.units import UnitPlan
from results.assembly import markdown_variant
from results.beyond import skipped_pages, skipped_table
from results.logs import BestEffortLog
from results.markdown import MarkdownWriter
from results.merging import Integers, RowSource, merged
from results.open_unit import OpenUnit
from results.page_log import DocumentLog
from results.rows import SCHEMA, ResultRow, Status
from results.store import Created, Store
from results.unit_files import (
    FOOTER_KEY,
    Footer,
    SealedDocument,
    group_rows,
    history_path,
    partial_prefix,
    read_footer,
    row_groups,
    sealed_path,
)

MAX_DEATHS = 3
"""Processes that may die while they seal one unit in one run before the run gives up."""


@dataclass(frozen=True, slots=True)
class SealConfig:
    """What a sealed unit carries, and whose log tells of its documents. ``check`` is asked last, right
    before the file appears; it may raise."""

    run_id: str
    fingerprint: str
    check: Callable[[], None] = lambda: None


def seal(store: Store, unit: OpenUnit, sources: Sequence[RowSource], config: SealConfig) -> Footer:
    """Write the Markdown of what was read, then the sealed file. The partials are the caller's to clear.

    Returns the footer of the file that is sealed in the end: when another process was first (or our
    own answer was lost), that is its file, and the Markdown is made to match it.
    """
    rows = merged(store, unit, sources, skipped_tables(unit, config))
    with store.scratch_file() as file:
        footer = write_unit(store, file, unit, rows, config)
        config.check()
        sealed = commit(store, unit.plan, file)
    return footer if sealed else _adopt(store, unit.plan)


def skipped_tables(unit: OpenUnit, config: SealConfig) -> Iterator[pa.Table]:
    """Rows of what was asked for and is not there, a document at a time."""
    for i in unit.plan.wanted_indexes():
        page_count = unit.page_counts.get(i, 0)
        document = unit.plan.documents[i]
        skipped = skipped_pages(document, page_count) if page_count else []
        if not skipped or unit.has(i, DOCUMENT_PAGE):
            continue
        row = ResultRow(
            doc_id=document.doc_id,
            uri=document.uri,
            page=DOCUMENT_PAGE,
            status=Status.SKIPPED,
            page_count=page_count,
            generation=unit.plan.generation,
            fingerprint=config.fingerprint,
            source_version=unit.versions.get(i, document.version),
            run_id=config.run_id,
            finished_at=datetime.now(UTC),
            metadata=document.metadata,
        )
        as_a_whole = skipped[0][0] == DOCUMENT_PAGE
        yield skipped_table(row, skipped, ("",) if as_a_whole else unit.plan.variants)


def commit(store: Store, plan: UnitPlan, file: Path) -> bool:
    """Make a file the unit's, once; the generation it replaces is kept. False when another was first."""
    path = sealed_path(plan.unit_id)
    if not plan.base_version:
        return store.create_file(path, file) is Created.CREATED
    keep_history(store, plan)
    return store.replace_file(path, file, if_match=plan.base_version) is not None


@contextmanager
def counted_attempt(store: Store, plan: UnitPlan, run_id: str) -> Iterator[None]:
    """Around sealing: whoever dies within leaves a mark, and after ``MAX_DEATHS`` of them JobError is raised.

    A writer killed for memory is started again by the fleet and asked to seal again.
    """
    prefix = f"{partial_prefix(plan.unit_id, plan.generation)}sealing-{run_id}-"
    deaths = sum(1 for _ in store.list(prefix))
    if deaths >= MAX_DEATHS:
        raise JobError(
            f"{deaths} writers died while they sealed unit {plan.unit_id} ({len(plan.documents):,} "
            "documents); what was read is stored. Give the machine of the job's driver more memory, then run "
            "the same command again"
        )
    mark = f"{prefix}{uuid4().hex}"
    store.create(mark, b"")
    try:
        yield
    finally:
        with suppress(StoreError):
            store.delete(mark)


@dataclass(slots=True)
class Sums:
    """Rows added up by status, flag and fingerprint, their tokens, and what documents they are of."""

    counts: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)
    page_counts: dict[int, int] = field(default_factory=dict)
    uris: dict[int, set[str]] = field(default_factory=dict)

    def add(self, table: pa.Table, indexes: Integers, uris: pa.Array) -> None:
        """``uris`` are those of the documents, which ``indexes`` names for each row."""
        for name, counter in (("status", self.counts), ("fingerprint", self.fingerprints)):
            counter.update(
                {pair["values"]: pair["counts"] for pair in table.column(name).value_counts().to_pylist()}
            )
        self.flags.update(pc.list_flatten(table.column("flags")).to_pylist())
        for name in ("prompt_tokens", "completion_tokens"):
            self.tokens[name] += pc.sum(table.column(name)).as_py() or 0
        present, first = np.unique(indexes, return_index=True)
        known = table.column("page_count").take(pa.array(first)).to_pylist()
        for i, page_count in zip(present.tolist(), known, strict=True):
            self.page_counts.setdefault(i, page_count)
        column = table.column("uri")
        elsewhere = np.flatnonzero(np.asarray(pc.not_equal(column, uris.take(pa.array(indexes)))))
        for i, uri in zip(
            indexes[elsewhere].tolist(), column.take(pa.array(elsewhere)).to_pylist(), strict=True
        ):
            self.uris.setdefault(i, set()).add(uri)


def write_unit(
    store: Store,
    file: Path,
    unit: OpenUnit,
    rows: Iterable[tuple[pa.Table, Integers]],
    config: SealConfig,
) -> Footer:
    """Write a unit's rows, which come in order, to a local file, and the Markdown of documents it reads."""
    plan = unit.plan
    sums = Sums(page_counts=dict(unit.page_counts))
    uris = pa.array([document.uri for document in plan.documents], pa.string())
    documents = {i: plan.documents[i] for i in plan.wanted_indexes()}
    log = DocumentLog()
    with (
        pa.OSFile(os.fsencode(file), "wb") as sink,
        pq.ParquetWriter(sink, SCHEMA, compression="zstd") as parquet,
        MarkdownWriter(store, documents, markdown_variant(plan.variants)) as markdown,
    ):
        for table, indexes in rows:
            parquet.write_table(table, row_group_size=group_rows(table))
            sums.add(table, indexes, uris)
            log.add(table.filter(pc.equal(table.column("run_id"), config.run_id)))
            markdown.add(table, indexes)
        footer = make_footer(unit, sums, plan.fingerprint or config.fingerprint)
        parquet.add_key_value_metadata({FOOTER_KEY: json.dumps(footer.to_json(), ensure_ascii=False)})
    name = f"documents-{plan.unit_id}.g{plan.generation}.jsonl"
    if data := log.encode():
        BestEffortLog(store).write(f"logs/{config.run_id}/{name}", data)
    return footer


def make_footer(unit: OpenUnit, sums: Sums, fingerprint: str) -> Footer:
    """What the rows that were added up come to."""
    documents = []
    cut = 0
    for i, document in enumerate(unit.plan.documents):
        page_count = sums.page_counts.get(i, 0)
        uris = tuple(sorted(sums.uris.get(i, ())))
        documents.append(SealedDocument(document, page_count, unit.versions.get(i, ""), uris))
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
        fingerprints=dict(sums.fingerprints),
        variants=unit.plan.variants,
    )


def keep_history(store: Store, plan: UnitPlan) -> None:
    """The file that is about to be replaced, under its generation's name; it may be there already."""
    footer = read_footer(store, plan.unit_id)
    if footer is None or footer.generation >= plan.generation:
        return  # gone, or replaced: the condition of our replace will tell
    with store.local_file(sealed_path(plan.unit_id)) as file:
        if file is not None:
            store.create_file(history_path(plan.unit_id, footer.generation), file)


def _adopt(store: Store, plan: UnitPlan) -> Footer:
    """Another process sealed this generation first: make the Markdown match its rows."""
    footer = read_footer(store, plan.unit_id)
    if footer is None or footer.generation < plan.generation:
        raise StoreError(
            f"{store.root}/{sealed_path(plan.unit_id)} was replaced by another job while this one ran: "
            "run the same command again"
        )
    assemble_unit(store, footer)
    return footer


def assemble_unit(store: Store, footer: Footer, doc_ids: Container[str] | None = None) -> int:
    """Write the Markdown of a sealed unit's documents, or of some, from its rows; returns how many."""
    documents = {
        i: sealed.document
        for i, sealed in enumerate(footer.documents)
        if doc_ids is None or sealed.document.doc_id in doc_ids
    }
    ids = pa.array([sealed.document.doc_id for sealed in footer.documents], pa.string())
    columns = ["doc_id", "page", "variant", "status", "reason", "text", "flags"]
    with MarkdownWriter(store, documents, markdown_variant(footer.variants)) as markdown:
        for table in row_groups(store, sealed_path(footer.unit_id), columns):
            found = pc.fill_null(pc.index_in(table.column("doc_id"), value_set=ids), len(ids))
            markdown.add(table, np.array(found, dtype=np.int64))
    return markdown.count
