"""What is left to do: the input's units against what the output holds. One listing, few footers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from jobs.config import InputConfig
from jobs.planning.matching import Matcher, Stock, as_sealed
from manifests.documents import Document
from manifests.inputs import InputSet
from manifests.markdown_paths import markdown_path, meeting_key, short_hash
from manifests.survey import Survey, survey
from manifests.units import Unit, UnitPlan, cut_units, first_generation, in_shard
from results.output import Output
from results.selection import FAILED, Selection
from results.store import Store
from results.unit_files import Footer, encode_plan, plan_path, read_plan


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
    others: list[UnitPlan] = field(default_factory=list)
    """Plans that belong to other shards, where the cut depends on what the output holds."""


def plan_run(
    inputs: InputSet,
    config: InputConfig,
    store: Store,
    stale_fingerprint: str = "",
    overview: Survey | None = None,
) -> Plan:
    """Plan to read what the inputs name and the output does not hold yet.

    With ``stale_fingerprint`` set to the job's own, sealed units of any other are read again.
    """
    overview = overview or survey(inputs)
    stock = Stock.take(store)
    kept = min(config.limit or overview.documents, overview.documents)
    plan = Plan(kept, overview.digest, iter(()), limited_documents=overview.documents - kept)
    natural = {unit.unit_id for unit in _units(inputs, None, config)}
    foreign = [unit_id for unit_id in {**stock.sealed, **stock.open} if unit_id not in natural]
    if foreign or stale_fingerprint:
        held = stock.sealed if stale_fingerprint else foreign
        matcher = Matcher(store, stock, dict.fromkeys([*held, *stock.open]), stale_fingerprint)
        _plan_against(inputs, overview, config, stock, matcher, plan)
        plan.needs_materialising = True
    elif natural <= stock.sealed.keys() and not stock.open:
        plan.unit_ids = {unit_id for unit_id in natural if _mine(unit_id, config)}
        plan.sealed_documents = kept
    else:
        plan.plans = _plan_simple(inputs, overview, config, stock, store, plan)
    return plan


def _documents(inputs: InputSet, overview: Survey | None, config: InputConfig) -> Iterator[Document]:
    for document in islice(inputs, config.limit or None):
        assigned = overview.assign(document) if overview is not None else document
        yield replace(assigned, max_pages=config.max_pages) if config.max_pages else assigned


def _units(inputs: InputSet, overview: Survey | None, config: InputConfig) -> Iterator[Unit]:
    """The input's own cut. Without an overview documents have no Markdown file, which no id depends on."""
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


def _plan_against(
    inputs: InputSet, overview: Survey, config: InputConfig, stock: Stock, matcher: Matcher, plan: Plan
) -> None:
    """Plan when the input is not what earlier runs cut: a document stays in the unit that holds it,
    the others are cut into new units."""
    left: list[Document] = []
    held = 0
    touched: set[str] = set()
    for unit in _units(inputs, overview, config):
        if unit.unit_id in stock and unit.unit_id not in matcher.units:
            touched.add(unit.unit_id)
            plan.sealed_documents += len(unit.documents)
            continue
        for document in unit.documents:
            holder = matcher.unit_of(document)
            if holder is None:
                left.append(document)
                continue
            held += 1
            touched.add(holder)
            if matcher.take(document):
                plan.changed.append(document.doc_id)
    apart = _apart(left, matcher.markdown)
    fresh = [first_generation(unit) for unit in cut_units(apart, config.unit_documents, config.unit_bytes)]
    again = list(matcher.plans())
    mine = [p for p in again + fresh if _mine(p.unit_id, config)]
    plan.sealed_documents += max(0, held - sum(len(p.wanted_indexes()) for p in again))
    plan.unit_ids = {unit_id for unit_id in touched if _mine(unit_id, config)} | {p.unit_id for p in mine}
    plan.plans = iter(mine)
    plan.others = [p for p in again + fresh if not _mine(p.unit_id, config)]


def _apart(documents: Iterable[Document], taken: set[str]) -> Iterator[Document]:
    """Give a new document another Markdown file where an earlier one's has the same name."""
    keys = {meeting_key(markdown) for markdown in taken}
    for document in documents:
        full = markdown_path(document.doc_id, keep_extension=True)
        names = (document.markdown, full, f"{full}-{short_hash(document.doc_id)}")
        markdown = next((name for name in names if meeting_key(name) not in keys), names[-1])
        keys.add(meeting_key(markdown))
        yield replace(document, markdown=markdown)


def plan_retry(store: Store, fingerprint: str, selection: Selection = FAILED) -> Plan:
    """Plan the next generation of every unit with rows of a selection: their pages, nothing else.

    A retry that was killed goes on: while a generation is under way, only units older than it are
    taken, so that no page is retried twice by what the user meant as one retry. Units that a new
    generation with other settings will read anyway (another ``fingerprint``) are left to it.
    """
    stock, output = Stock.take(store), Output(store)
    footers = list(output.units())
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
        wanted = footer.fingerprint == fingerprint and selection.may_meet(footer)
        if wanted and (pages := output.pages_of(footer, selection)):
            plans.append(reread_plan(footer, generation, pages, stock.sealed[footer.unit_id]))
    documents = sum(len(p.documents if p.reread is None else p.reread) for p in plans)
    plan = Plan(documents, "retry", iter(plans), needs_materialising=True)
    plan.unit_ids = {p.unit_id for p in plans}
    return plan


def reread_plan(footer: Footer, generation: int, pages: dict[int, str], base_version: str) -> UnitPlan:
    """Read these pages of a sealed unit again, by document index; the unit counts as read as it was."""
    documents = tuple(as_sealed(sealed.document, sealed.version) for sealed in footer.documents)
    return UnitPlan(
        footer.unit_id, generation, documents, pages, base_version, footer.variants, footer.fingerprint
    )


def materialise(store: Store, plans: Iterable[UnitPlan], others: Iterable[UnitPlan] = ()) -> list[UnitPlan]:
    """Write every plan, also other shards', before any is worked on: whoever comes next sees this cut.

    Returns ``plans``.
    """
    mine = list(plans)
    for plan in [*mine, *others]:
        store.create(plan_path(plan.unit_id, plan.generation), encode_plan(plan))
    return mine
