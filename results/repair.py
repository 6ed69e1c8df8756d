"""Rows that stand twice, taken away: one row for each page and variant, each document in one unit.

Two jobs that did not know of each other may have read the same documents in units that were cut
differently. The unit with most pages of a document that did not fail keeps it, with rows of the others for
pages that failed there; the others are written again without it. Of two rows in one unit the newest that
did not fail is kept.
Every file that is replaced is kept under ``history/``, and killed half-way the same repair goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from manifests.errors import StoreError
from manifests.pages import PageSpan, format_spans, merge_spans, plan_pages
from manifests.units import UnitPlan
from results.assembly import IMAGE_FLAG, markdown_file, page_image_file
from results.doubles import DoubledDocument, doubled_documents
from results.merging import merged
from results.open_unit import OpenUnit
from results.output import Output
from results.rows import SCHEMA
from results.sealing import SealConfig, assemble_unit, commit, keep_history, skipped_tables, write_unit
from results.store import Store
from results.unit_files import (
    Footer,
    SealedDocument,
    clear_partials,
    encode_plan,
    history_path,
    list_partials,
    plan_path,
    read_footer,
    row_groups,
    sealed_path,
)


@dataclass(slots=True)
class RepairReport:
    """What a repair came to. ``left`` are documents it could not put right."""

    documents: int = 0
    rows: int = 0
    units: int = 0
    plans: int = 0
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not (self.documents or self.plans or self.left):
            return "nothing stands twice: nothing to repair"
        message = (
            f"{self.rows:,} doubled rows of {self.documents:,} documents taken away from {self.units:,} "
            f"units (earlier files are under history/), {self.plans:,} plans of no job dropped"
        )
        return f"{message}; left as they are: {', '.join(self.left[:5])}" if self.left else message


@dataclass(slots=True)
class _Change:
    """What becomes of a sealed unit."""

    footer: Footer
    drop: set[str] = field(default_factory=set)
    """Documents whose rows stand in another unit from now on."""
    documents: dict[str, SealedDocument] = field(default_factory=dict)
    """Documents that change, as they are to be sealed."""
    doomed: set[int] = field(default_factory=set)
    """Rows, by their index in the file, that another one is kept for."""
    moved: dict[str, set[int]] = field(default_factory=dict)
    """Rows that come from other units, by their indexes there."""

    @property
    def is_rewritten(self) -> bool:
        """Whether rows of documents that it keeps change."""
        known = {sealed.document.doc_id: sealed for sealed in self.footer.documents}
        changed = any(known[doc_id] != sealed for doc_id, sealed in self.documents.items())
        return bool(self.moved or self.doomed or changed)


def repair(store: Store, run_id: str) -> RepairReport:
    """Take doubled rows away, and plans under way for what is sealed. Nobody may be at work meanwhile.

    Raises StoreError when the store fails, or when somebody was at work all the same.
    """
    report = RepairReport()
    changes: dict[str, _Change] = {}
    for doubled in doubled_documents(Output(store)):
        if doubled.winners:
            _note(changes, doubled)
            report.documents += 1
            report.rows += doubled.losers
        else:
            report.left.append(doubled.doc_id)
    report.units = len(changes)
    _Repair(store, run_id, changes).carry_out()
    report.plans = _drop_plans(store, Output(store))
    return report


def _note(changes: dict[str, _Change], doubled: DoubledDocument) -> None:
    """What a doubled document asks of the units it stands in."""
    keeper = doubled.keeper.unit_id
    for footer, _ in doubled.sealed:
        change = changes.setdefault(footer.unit_id, _Change(footer))
        if footer.unit_id != keeper:
            change.drop.add(doubled.doc_id)
    change = changes[keeper]
    before = next(sealed for footer, sealed in doubled.sealed if footer.unit_id == keeper)
    sealed = _united(before, [sealed for _, sealed in doubled.sealed])
    change.documents[doubled.doc_id] = sealed
    change.doomed |= doubled.row_indexes(keeper)
    for winner in doubled.winners:
        if sealed is not before and winner.page > sealed.page_count:
            continue  # what stands for pages past the end is made anew
        if winner.unit_id == keeper:
            change.doomed.discard(winner.row_index)
        else:
            change.moved.setdefault(winner.unit_id, set()).add(winner.row_index)


def _united(kept: SealedDocument, all_units: Sequence[SealedDocument]) -> SealedDocument:
    """The document as its keeper has it from now on: with the pages that any of its units had."""
    same = [sealed for sealed in all_units if sealed.version == kept.version and sealed.page_count]
    if len({(sealed.document.pages, sealed.document.max_pages) for sealed in same}) <= 1:
        return kept
    count = kept.page_count or max(sealed.page_count for sealed in same)
    spans: list[PageSpan] = []
    for sealed in same:
        planned = plan_pages(sealed.document.pages, sealed.document.max_pages, count)
        spans += [*planned.read, *planned.beyond]
    together = merge_spans(spans)
    pages = "" if together == (PageSpan(1, count),) else format_spans(together)
    return replace(kept, document=replace(kept.document, pages=pages, max_pages=0), page_count=count)


class _Repair:
    """Writes units again. What moves is in its new place before it leaves the old one."""

    def __init__(self, store: Store, run_id: str, changes: dict[str, _Change]) -> None:
        self._store = store
        self._run_id = run_id
        self._changes = changes
        self._files = {unit_id: sealed_path(unit_id) for unit_id in changes}
        """Where the rows are that changes name by their indexes, also once a unit is written again."""

    def carry_out(self) -> None:
        """First what is kept, with its Markdown; then the Markdown of what goes, and that itself."""
        for change in self._changes.values():
            if change.is_rewritten:
                self._copy_images(change)
                self._rewrite(change, set())
            elif change.documents:
                assemble_unit(self._store, change.footer, change.documents.keys())
        self._drop_markdown()
        for unit_id, change in self._changes.items():
            if change.drop and (footer := read_footer(self._store, unit_id)) is not None:
                self._rewrite(_Change(footer), change.drop)

    def _rewrite(self, change: _Change, drop: set[str]) -> None:
        footer = change.footer
        path = sealed_path(footer.unit_id)
        kept = [change.documents.get(sealed.document.doc_id, sealed) for sealed in footer.documents]
        kept = [sealed for sealed in kept if sealed.document.doc_id not in drop]
        sources = [self._changes[unit_id].footer.generation for unit_id in change.moved]
        plan = UnitPlan(
            unit_id=footer.unit_id,
            generation=max(footer.generation, *sources, 0) + 1,
            documents=tuple(replace(sealed.document, version=sealed.version) for sealed in kept),
            reread={i: "" for i, sealed in enumerate(kept) if sealed.document.doc_id in change.documents},
            base_version=next((e.version for e in self._store.list(path) if e.path == path), ""),
            variants=footer.variants,
            fingerprint=footer.fingerprint,
        )
        if kept:
            self._write(plan, change, {i: s.page_count for i, s in enumerate(kept) if s.page_count})
        else:
            keep_history(self._store, plan)
            self._store.delete(path)
        clear_partials(self._store, footer.unit_id, sys.maxsize)  # what was under way rests on the old file
        self._files[footer.unit_id] = history_path(footer.unit_id, change.footer.generation)

    def _write(self, plan: UnitPlan, change: _Change, page_counts: dict[int, int]) -> None:
        unit = OpenUnit(plan)
        unit.page_counts = page_counts
        config = SealConfig(self._run_id, plan.fingerprint)
        rows = merged(self._store, unit, (), chain(self._rows(change), skipped_tables(unit, config)))
        with self._store.scratch_file() as file:
            write_unit(self._store, file, unit, rows, config)
            if not commit(self._store, plan, file):
                where = f"{self._store.root}/{sealed_path(plan.unit_id)}"
                raise StoreError(f"{where} changed while it was being repaired: repair again")

    def _rows(self, change: _Change) -> Iterator[pa.Table]:
        """The unit's own rows without those that go, and those that come."""
        yield from self._rows_at(sealed_path(change.footer.unit_id), change.doomed, are_meant=False)
        for unit_id, row_indexes in change.moved.items():
            yield from self._rows_at(self._files[unit_id], row_indexes, are_meant=True)

    def _rows_at(self, path: str, row_indexes: set[int], *, are_meant: bool) -> Iterator[pa.Table]:
        start = 0
        named = np.array(sorted(row_indexes), dtype=np.int64)
        for table in row_groups(self._store, path):
            meant = np.isin(np.arange(start, start + table.num_rows), named) == are_meant
            start += table.num_rows
            yield table.filter(pa.array(meant)).select(SCHEMA.names).cast(SCHEMA)

    def _copy_images(self, change: _Change) -> None:
        """Kept page images of rows that come from a unit where the document had another Markdown file."""
        target = {doc_id: sealed.document.markdown for doc_id, sealed in change.documents.items()}
        for unit_id, row_indexes in change.moved.items():
            documents = self._changes[unit_id].footer.documents
            source = {sealed.document.doc_id: sealed.document.markdown for sealed in documents}
            for table in self._rows_at(self._files[unit_id], row_indexes, are_meant=True):
                for row in table.select(["doc_id", "page", "flags"]).to_pylist():
                    old, new = source[row["doc_id"]], target[row["doc_id"]]
                    if IMAGE_FLAG in row["flags"] and old != new:
                        self._copy(page_image_file(old, row["page"]), page_image_file(new, row["page"]))

    def _copy(self, old: str, new: str) -> None:
        if (found := self._store.read(old)) is not None:
            self._store.replace(new, found[0])

    def _drop_markdown(self) -> None:
        """Delete the Markdown of documents that go, where the unit that keeps them calls it otherwise."""
        going: set[str] = set()
        owned: set[str] = set()
        for footer, sealed in Output(self._store).documents():
            change = self._changes.get(footer.unit_id)
            goes = change is not None and sealed.document.doc_id in change.drop
            (going if goes else owned).add(sealed.document.markdown)
        for name in going - owned - {""}:
            self._store.delete(markdown_file(name))
            for entry in list(self._store.list(f"markdown/{name}_assets/")):
                self._store.delete(entry.path)


def _drop_plans(store: Store, output: Output) -> int:
    """Take what is sealed, or under way in another unit, out of plans of units that were never sealed."""
    plans = [plan for plan in output.open_plans().values() if plan.reread is None]
    if not plans:
        return 0
    taken = {sealed.document.doc_id for _, sealed in output.documents()}
    begun = {p.unit_id: len(list_partials(store, p.unit_id, p.generation)) for p in plans}
    dropped = 0
    for plan in sorted(plans, key=lambda plan: (-begun[plan.unit_id], plan.unit_id)):
        left = tuple(document for document in plan.documents if document.doc_id not in taken)
        taken.update(document.doc_id for document in left)
        if len(left) == len(plan.documents):
            continue
        dropped += 1
        if left:
            path = plan_path(plan.unit_id, plan.generation)
            store.replace(path, encode_plan(replace(plan, documents=left)))
        else:
            clear_partials(store, plan.unit_id, plan.generation)
    return dropped
