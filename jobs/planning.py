"""What is left to do: the input's units against what the output holds. One listing, few footers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import pyarrow.compute as pc

from jobs.config import InputConfig
from manifests.documents import Document
from manifests.errors import StoreError
from manifests.inputs import InputSet
from manifests.pages import PageSpan, format_spans, merge_spans, plan_pages, spans_of
from manifests.rows import Status
from manifests.store import Store
from manifests.survey import Survey, survey
from manifests.unit_files import (
    Footer,
    clear_partials,
    encode_plan,
    list_open,
    list_sealed,
    plan_path,
    read_footer,
    read_plan,
    read_rows,
    sealed_path,
)
from manifests.units import Unit, UnitPlan, cut_units, first_generation, in_shard

FOOTER_THREADS = 16


@dataclass(slots=True)
class Stock:
    """What the output holds: sealed files with their versions, and generations under way."""

    sealed: dict[str, str]
    open: dict[str, int]

    @classmethod
    def take(cls, store: Store) -> Stock:
        """List the output, and clear away partials of generations that were sealed."""
        sealed = {unit_id: entry.version for unit_id, entry in list_sealed(store)}
        under_way: dict[str, int] = {}
        for found in list_open(store):
            footer = read_footer(store, found.unit_id) if found.unit_id in sealed else None
            if footer is not None and footer.generation >= found.generation:
                clear_partials(store, found.unit_id, found.generation)
            else:
                under_way[found.unit_id] = max(found.generation, under_way.get(found.unit_id, 0))
        return cls(sealed, under_way)

    def __contains__(self, unit_id: str) -> bool:
        return unit_id in self.sealed or unit_id in self.open


@dataclass(slots=True)
class Plan:
    """The job's work. ``plans`` is lazy; the counters are known once it ran out."""

    documents: int
    inputs_digest: str
    plans: Iterator[UnitPlan]
    unit_ids: set[str] = field(default_factory=set)
    sealed_documents: int = 0
    limited_documents: int = 0
    changed: list[str] = field(default_factory=list)
    needs_materialising: bool = False


def plan_run(inputs: InputSet, config: InputConfig, store: Store, stale_fingerprint: str = "") -> Plan:
    """Plan to read what the inputs name and the output does not hold yet.

    With ``stale_fingerprint`` set to the job's own, sealed units of any other are read again.
    """
    overview = survey(inputs)
    stock = Stock.take(store)
    kept = min(config.limit or overview.documents, overview.documents)
    plan = Plan(kept, overview.digest, iter(()), limited_documents=overview.documents - kept)
    natural = {unit.unit_id for unit in _units(inputs, overview, config)}
    foreign = [unit_id for unit_id in {**stock.sealed, **stock.open} if unit_id not in natural]
    if foreign or stale_fingerprint:
        members = {**stock.sealed, **stock.open} if stale_fingerprint else dict.fromkeys(foreign)
        matcher = _Matcher(store, stock, list(members), stale_fingerprint)
        plan.plans = iter(_plan_against(inputs, overview, config, stock, matcher, plan))
        plan.needs_materialising = True
    else:
        plan.plans = _plan_simple(inputs, overview, config, stock, store, plan)
    return plan


def _documents(inputs: InputSet, overview: Survey, config: InputConfig) -> Iterator[Document]:
    for document in islice(inputs, config.limit or None):
        assigned = overview.assign(document)
        yield replace(assigned, max_pages=config.max_pages) if config.max_pages else assigned


def _units(inputs: InputSet, overview: Survey, config: InputConfig) -> Iterator[Unit]:
    documents = _documents(inputs, overview, config)
    return cut_units(documents, config.unit_documents, config.unit_bytes)


def _mine(unit_id: str, config: InputConfig) -> bool:
    return in_shard(unit_id, config.shard_index, config.num_shards)


def _plan_simple(
    inputs: InputSet, overview: Survey, config: InputConfig, stock: Stock, store: Store, plan: Plan
) -> Iterator[UnitPlan]:
    for unit in _units(inputs, overview, config):
        if not _mine(unit.unit_id, config):
            continue
        plan.unit_ids.add(unit.unit_id)
        under_way = stock.open.get(unit.unit_id)
        if under_way and (stored := read_plan(store, unit.unit_id, under_way)) is not None:
            yield _refreshed(stored, unit.documents)
        elif unit.unit_id in stock.sealed:
            plan.sealed_documents += len(unit.documents)
        else:
            yield first_generation(unit)


def _refreshed(stored: UnitPlan, documents: Iterable[Document]) -> UnitPlan:
    """A stored plan with the documents' places as they are today (the folder may have moved)."""
    today = {document.doc_id: document for document in documents}
    return replace(
        stored,
        documents=tuple(
            replace(document, uri=today[document.doc_id].uri) if document.doc_id in today else document
            for document in stored.documents
        ),
    )


@dataclass(slots=True)
class _Member:
    """A document as an existing unit holds it."""

    unit_id: str
    index: int
    document: Document
    page_count: int
    version: str
    sealed: bool


class _Matcher:
    """Finds the unit that already holds a document, and gathers what changed, unit by unit."""

    def __init__(self, store: Store, stock: Stock, unit_ids: list[str], stale_fingerprint: str) -> None:
        self._store = store
        self._stock = stock
        self.members: dict[str, _Member] = {}
        self.stored: dict[str, UnitPlan | Footer] = {}
        self.rereads: dict[str, dict[int, str]] = {}
        self.renewed: dict[str, dict[int, Document]] = {}
        self.stale: set[str] = set()
        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            for unit_id, found in zip(unit_ids, threads.map(self._look, unit_ids), strict=True):
                self._enter(unit_id, found, stale_fingerprint)

    def _look(self, unit_id: str) -> UnitPlan | Footer | None:
        under_way = self._stock.open.get(unit_id)
        if under_way:
            return read_plan(self._store, unit_id, under_way)
        return read_footer(self._store, unit_id)

    def _enter(self, unit_id: str, found: UnitPlan | Footer | None, stale_fingerprint: str) -> None:
        if found is None:
            return
        self.stored[unit_id] = found
        if isinstance(found, UnitPlan):
            for i, document in enumerate(found.documents):
                member = _Member(unit_id, i, document, 0, document.version, sealed=False)
                self.members[document.doc_id] = member
            return
        if stale_fingerprint and found.fingerprint != stale_fingerprint:
            self.stale.add(unit_id)
        for i, sealed in enumerate(found.documents):
            document = sealed.document
            self.members[document.doc_id] = _Member(
                unit_id, i, document, sealed.page_count, sealed.version, sealed=True
            )

    def take(self, document: Document) -> bool | None:
        """Note what this document needs of its existing unit.

        None: no unit holds it. Otherwise whether its source changed.
        """
        member = self.members.get(document.doc_id)
        if member is None:
            return None
        changed = bool(document.version and member.version and document.version != member.version)
        again: str | None = None
        if changed or member.unit_id in self.stale:
            again = ""
        elif member.sealed and member.page_count:
            document, again = _widen(member, document)
        if again is not None or not member.sealed:
            kept = replace(document, markdown=member.document.markdown or document.markdown)
            self.renewed.setdefault(member.unit_id, {})[member.index] = kept
        if again is not None:
            self.rereads.setdefault(member.unit_id, {})[member.index] = again
        return changed

    def plans(self) -> Iterator[UnitPlan]:
        """A plan for every existing unit that is under way or has something to read again."""
        for unit_id, found in self.stored.items():
            renewed = self.renewed.get(unit_id, {})
            if isinstance(found, UnitPlan):
                documents = tuple(renewed.get(i, d) for i, d in enumerate(found.documents))
                yield replace(found, documents=documents)
            elif unit_id in self.rereads:
                yield UnitPlan(
                    unit_id,
                    found.generation + 1,
                    tuple(
                        renewed.get(i) or _as_sealed(sealed.document, sealed.version)
                        for i, sealed in enumerate(found.documents)
                    ),
                    self.rereads[unit_id],
                    self._stock.sealed[unit_id],
                )


def _widen(member: _Member, wanted: Document) -> tuple[Document, str | None]:
    """The pages a wider selection adds to a sealed document, and the document that names both."""
    old = plan_pages(member.document.pages, member.document.max_pages, member.page_count)
    new = plan_pages(wanted.pages, wanted.max_pages, member.page_count)
    had = {page for span in (*old.read, *old.beyond) for page in span}
    asked = [*new.read, *new.beyond]
    added = spans_of(page for span in asked for page in span if page not in had)
    if not added:
        return wanted, None
    together = merge_spans([*asked, *spans_of(had)])
    if together == (PageSpan(1, member.page_count),):
        return replace(wanted, pages="", max_pages=0), format_spans(added)
    return replace(wanted, pages=format_spans(together), max_pages=0), format_spans(added)


def _plan_against(
    inputs: InputSet,
    overview: Survey,
    config: InputConfig,
    stock: Stock,
    matcher: _Matcher,
    plan: Plan,
) -> list[UnitPlan]:
    """Plans when the input is not what earlier runs cut: a document stays in the unit that holds it,
    the others are cut into new units."""
    fresh: list[UnitPlan] = []
    left: list[Document] = []
    held = 0
    for unit in _units(inputs, overview, config):
        if unit.unit_id in stock and unit.unit_id not in matcher.stored:
            plan.unit_ids.add(unit.unit_id)
            plan.sealed_documents += len(unit.documents)
            continue
        for document in unit.documents:
            changed = matcher.take(document)
            if changed is None:
                left.append(document)
            else:
                held += 1
                plan.unit_ids.add(matcher.members[document.doc_id].unit_id)
                if changed:
                    plan.changed.append(document.doc_id)
    taken = {member.document.markdown for member in matcher.members.values()}
    left = [_apart(document, taken) for document in left]
    fresh += [first_generation(unit) for unit in cut_units(left, config.unit_documents, config.unit_bytes)]
    again = list(matcher.plans())
    plan.sealed_documents += held - sum(len(p.documents) for p in again if p.unit_id in plan.unit_ids)
    plan.sealed_documents = max(0, plan.sealed_documents)
    mine = [p for p in again + fresh if _mine(p.unit_id, config)]
    plan.unit_ids = {unit_id for unit_id in plan.unit_ids if _mine(unit_id, config)}
    plan.unit_ids.update(p.unit_id for p in mine)
    return mine


def _apart(document: Document, taken: set[str]) -> Document:
    """Give a new document another Markdown file when an earlier input has the same one."""
    if document.markdown not in taken:
        return document
    suffix = document.doc_id.rpartition(".")[2]
    return replace(document, markdown=f"{document.markdown}.{suffix}")


def plan_retry(store: Store, fingerprint: str) -> Plan:
    """Plan the next generation of every unit with failed pages: those pages, nothing else.

    A retry that was killed goes on: while a generation is under way, only units older than it are
    taken, so that no page is retried twice by what the user meant as one retry. Units that a new
    generation with other settings will read anyway (another ``fingerprint``) are left to it.
    """
    stock = Stock.take(store)
    with ThreadPoolExecutor(FOOTER_THREADS) as threads:
        footers = [f for f in threads.map(lambda u: read_footer(store, u), stock.sealed) if f is not None]
    newest = max((footer.generation for footer in footers), default=0)
    generation = max(stock.open.values(), default=0)
    if generation < 2:
        generation = newest + 1
    plans = []
    for unit_id, under_way in stock.open.items():
        stored = read_plan(store, unit_id, under_way)
        if stored is not None:
            plans.append(stored)
    for footer in footers:
        if footer.unit_id in stock.open or footer.generation >= generation:
            continue
        if footer.fingerprint == fingerprint and footer.counts.get(Status.FAILED, 0):
            plans.append(_retry_plan(store, footer, generation, stock.sealed[footer.unit_id]))
    documents = sum(len(p.documents if p.reread is None else p.reread) for p in plans)
    plan = Plan(documents, "retry", iter(plans), needs_materialising=True)
    plan.unit_ids = {p.unit_id for p in plans}
    return plan


def _retry_plan(store: Store, footer: Footer, generation: int, version: str) -> UnitPlan:
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
        tuple(_as_sealed(sealed.document, sealed.version) for sealed in footer.documents),
        {i: "" if 0 in wanted else format_spans(spans_of(wanted)) for i, wanted in pages.items()},
        version,
    )


def _as_sealed(document: Document, version: str) -> Document:
    return document if document.version == version else replace(document, version=version)


def materialise(store: Store, plans: Iterable[UnitPlan]) -> list[UnitPlan]:
    """Write every plan before any of it is worked on, so that whoever comes next sees the same cut."""
    kept = list(plans)
    for plan in kept:
        store.create(plan_path(plan.unit_id, plan.generation), encode_plan(plan))
    return kept
