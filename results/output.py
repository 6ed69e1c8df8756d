"""An output, looked at: the one way to walk its units, documents and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pyarrow as pa

from manifests.pages import DOCUMENT_PAGE, format_spans, spans_of
from manifests.units import UnitPlan
from results.merging import merged, unit_sources
from results.open_unit import COLUMNS, OpenUnit
from results.rows import SCHEMA
from results.selection import EVERYTHING, Selection
from results.store import Store
from results.unit_files import (
    Footer,
    OpenGeneration,
    SealedDocument,
    list_open,
    list_partials,
    list_sealed,
    read_footer,
    read_plan,
    read_rows,
    row_groups,
    sealed_path,
)

THREADS = 16
AT_ONCE = 4 * THREADS


class Output:
    """What lies in a store. Nothing is kept: each walk sees the output as it is then."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def units(self) -> Iterator[Footer]:
        """The footers of all sealed units. A few are read at once, and no more than are asked for."""
        unit_ids = (unit_id for unit_id, _ in list_sealed(self.store))
        with ThreadPoolExecutor(THREADS, thread_name_prefix="footers") as threads:
            while some := list(islice(unit_ids, AT_ONCE)):
                for footer in threads.map(lambda unit_id: read_footer(self.store, unit_id), some):
                    if footer is not None:
                        yield footer

    def documents(self) -> Iterator[tuple[Footer, SealedDocument]]:
        """Every sealed document, with the unit it is in."""
        for footer in self.units():
            for sealed in footer.documents:
                yield footer, sealed

    def rows(
        self, columns: Sequence[str] = (), selection: Selection = EVERYTHING, *, open_units: bool = False
    ) -> Iterator[pa.Table]:
        """Rows in batches that fit memory, all columns when none are named; unit by unit, in order.

        With ``open_units`` also what is stored of units under way, in place of the generation before:
        one row of each page and variant, as sealing would choose.
        """
        under_way = self.open_plans() if open_units else {}
        for footer in self.units():
            if footer.unit_id not in under_way and selection.may_meet(footer):
                yield from self.rows_of(footer.unit_id, columns, selection)
        for plan in under_way.values():
            for table, _ in _merged(self.store, plan):
                if (meant := selection.of(table)).num_rows:
                    yield meant.select(columns or SCHEMA.names)

    def rows_of(
        self, unit_id: str, columns: Sequence[str] = (), selection: Selection = EVERYTHING
    ) -> Iterator[pa.Table]:
        """Rows of one sealed unit, as ``rows`` gives them."""
        wanted = list(columns or SCHEMA.names)
        read = list(dict.fromkeys([*wanted, *selection.needs]))
        for table in row_groups(self.store, sealed_path(unit_id), read):
            if (meant := selection.of(table)).num_rows:
                yield meant.select(wanted)

    def select(self, selection: Selection) -> Iterator[tuple[Footer, dict[int, str]]]:
        """The sealed units that hold rows meant, with the pages these are of, by document index: as a
        plan wants them (``""`` for a document as a whole)."""
        for footer in self.units():
            if selection.may_meet(footer) and (pages := self.pages_of(footer, selection)):
                yield footer, pages

    def pages_of(self, footer: Footer, selection: Selection) -> dict[int, str]:
        """The pages of one sealed unit that rows meant are of, by document index; none past an end."""
        index = {sealed.document.doc_id: i for i, sealed in enumerate(footer.documents)}
        pages: dict[int, set[int]] = {}
        for table in self.rows_of(footer.unit_id, ("doc_id", "page"), selection):
            for doc_id, page in zip(*(column.to_pylist() for column in table.columns), strict=True):
                i = index.get(doc_id)
                if i is not None and page <= (footer.documents[i].page_count or page):
                    pages.setdefault(i, set()).add(page)
        return {i: _as_selection(wanted) for i, wanted in sorted(pages.items())}

    def open_plans(self) -> dict[str, UnitPlan]:
        """The newest generation under way of each unit that is not sealed that far."""
        newest: dict[str, OpenGeneration] = {}
        for found in list_open(self.store):
            if found.unit_id not in newest or newest[found.unit_id].generation < found.generation:
                newest[found.unit_id] = found
        plans = {}
        for unit_id, found in newest.items():
            footer = read_footer(self.store, unit_id)
            if footer is None or footer.generation < found.generation:
                plan = read_plan(self.store, unit_id, found.generation)
                if plan is not None:
                    plans[unit_id] = plan
        return plans


def _as_selection(pages: set[int]) -> str:
    return "" if DOCUMENT_PAGE in pages else format_spans(spans_of(pages))


def _merged(store: Store, plan: UnitPlan) -> Iterator[tuple[pa.Table, np.ndarray]]:
    unit = OpenUnit(plan)
    for path in list_partials(store, plan.unit_id, plan.generation):
        table = read_rows(store, path, list(COLUMNS))
        for batch in table.to_batches() if table is not None else ():
            unit.note(batch)
    yield from merged(store, unit, unit_sources(store, plan))
