"""Reading the failed pages of an output again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow.compute as pc

from jobs.planning.holdings import READ_THREADS, as_sealed
from jobs.planning.planning import JobPlan
from jobs.planning.stock import Stock
from manifests.errors import StoreError
from manifests.pages import format_spans, spans_of
from manifests.units import UnitPlan
from results.rows import Status
from results.store import Store
from results.unit_files import Footer, read_footer, read_plan, read_rows, sealed_path


@dataclass(frozen=True, slots=True)
class RetryPlanner:
    """Plans to read the failed pages again."""

    store: Store
    fingerprint: str

    def is_natural(self, stock: Stock) -> bool:
        return False

    def plan_naturally(self, stock: Stock) -> JobPlan:
        raise NotImplementedError("what to read again depends on what is there")

    def plan_against(self, stock: Stock) -> JobPlan:
        return plan_retry(self.store, stock, self.fingerprint)


def plan_retry(store: Store, stock: Stock, fingerprint: str) -> JobPlan:
    """Plan the next generation of every unit with failed pages: those pages, nothing else.

    A retry that was killed goes on: while a generation is under way, only units older than it are
    taken, so that no page is retried twice by what the user meant as one retry. Units that a new
    generation with other settings will read anyway (another ``fingerprint``) are left to it.
    """
    with ThreadPoolExecutor(READ_THREADS) as threads:
        footers = [f for f in threads.map(lambda u: read_footer(store, u), stock.sealed) if f is not None]
    newest = max((footer.generation for footer in footers), default=0)
    generation = max(stock.open.values(), default=0)
    if generation < 2:
        generation = newest + 1
    again = [
        footer
        for footer in footers
        if footer.unit_id not in stock.open
        and footer.generation < generation
        and footer.fingerprint == fingerprint
        and footer.counts.get(Status.FAILED, 0)
    ]
    plan = JobPlan(0)
    plan.unwritten = _plans(store, stock, again, generation, plan)
    return plan


def _plans(
    store: Store, stock: Stock, again: list[Footer], generation: int, plan: JobPlan
) -> Iterator[UnitPlan]:
    for unit_id, under_way in stock.open.items():
        stored = read_plan(store, unit_id, under_way)
        if stored is not None:
            yield _counted(stored, plan)
    for footer in again:
        yield _counted(_again(store, footer, generation, stock.sealed[footer.unit_id]), plan)


def _counted(unit_plan: UnitPlan, plan: JobPlan) -> UnitPlan:
    plan.documents += len(unit_plan.wanted_indexes())
    plan.unit_ids.add(unit_plan.unit_id)
    return unit_plan


def _again(store: Store, footer: Footer, generation: int, version: str) -> UnitPlan:
    path = sealed_path(footer.unit_id)
    table = read_rows(store, path, ["doc_id", "page", "status"])
    if table is None:
        raise StoreError(f"{store.root}/{path} is gone: run the same command again")
    failed = table.filter(pc.equal(table.column("status"), Status.FAILED))
    index = {sealed.document.doc_id: i for i, sealed in enumerate(footer.documents)}
    pages: dict[int, list[int]] = {}
    for doc_id, page in zip(
        failed.column("doc_id").to_pylist(), failed.column("page").to_pylist(), strict=True
    ):
        pages.setdefault(index[doc_id], []).append(page)
    return UnitPlan(
        footer.unit_id,
        generation,
        tuple(as_sealed(sealed.document, sealed.version) for sealed in footer.documents),
        {i: "" if 0 in wanted else format_spans(spans_of(wanted)) for i, wanted in pages.items()},
        version,
    )
