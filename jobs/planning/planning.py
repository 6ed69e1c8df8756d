"""What is left to do: the input's units against what the output holds. One listing, few footers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from jobs.config import InputConfig
from jobs.planning.document_index import NOWHERE, DocumentIndex, Hashes, HeldUnit, Numbers, hashed_ids
from jobs.planning.matching import plan_for
from jobs.planning.output_listing import OutputListing
from manifests.documents import Document
from manifests.errors import StoreError
from manifests.markdown_paths import markdown_path, meeting_key, short_hash
from manifests.spool import ID, with_markdown
from manifests.survey import Survey
from manifests.units import Cut, UnitPlan, cut_units, first_generation, in_shard
from results.store import Created, Store
from results.unit_files import encode_plan, plan_path, read_plan

WRITE_THREADS = 16
AHEAD = 4 * WRITE_THREADS
UNITS_AT_ONCE = 512
"""Units whose documents are in memory at a time while they are matched with today's."""


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """A unit to work on. Its documents, so many of which are to be read, are elsewhere until its turn."""

    unit_id: str
    generation: int
    wanted: int
    load: Callable[[], UnitPlan]
    is_written: bool = False


@dataclass(slots=True)
class JobPlan:
    """The job's work: ``units``, which everybody who shares the job cuts alike.

    ``unwritten`` are plans that depend on what the output holds at this moment: they count once they are
    written down, all of them (``materialise``), while nobody else plans. The counters, too, are known then.
    """

    documents: int
    limited_documents: int = 0
    units: list[PlannedUnit] = field(default_factory=list)
    unit_ids: set[str] = field(default_factory=set)
    sealed_documents: int = 0
    changed: list[str] = field(default_factory=list)
    strays: dict[str, int] = field(default_factory=dict)
    is_natural: bool = False
    unwritten: Iterable[UnitPlan] = ()


def cut_of(config: InputConfig) -> Cut:
    """How this configuration cuts its inputs."""
    return Cut(config.unit_documents, config.unit_bytes, config.max_pages, config.limit)


@dataclass(frozen=True, slots=True)
class RunPlanner:
    """Plans to read what the inputs name and the output does not hold yet.

    With ``stale_fingerprint`` set to the job's own, sealed units of any other are read again.
    """

    overview: Survey
    config: InputConfig
    store: Store
    stale_fingerprint: str = ""
    variants: tuple[str, ...] = ("",)
    """What each page owes a row in."""

    def plan(self, listing: OutputListing) -> JobPlan:
        """By whatever cut the output allows."""
        return self.plan_naturally(listing) if self.is_natural(listing) else self.plan_against(listing)

    def is_natural(self, listing: OutputListing) -> bool:
        natural = set(self.overview.units.unit_ids)
        return not self.stale_fingerprint and natural.issuperset((*listing.sealed, *listing.open))

    def plan_naturally(self, listing: OutputListing) -> JobPlan:
        plan = self._empty()
        plan.is_natural = True
        _plan_naturally(self, listing, plan)
        return plan

    def plan_against(self, listing: OutputListing) -> JobPlan:
        plan = self._empty()
        plan.unwritten = _Planning(self, listing, plan).plans()
        return plan

    def _empty(self) -> JobPlan:
        kept = sum(self.overview.units.counts)
        return JobPlan(kept, self.overview.documents - kept)


def materialise(
    store: Store, plan: JobPlan, config: InputConfig, planning: int, stop_asked: Callable[[], bool]
) -> bool:
    """Write every unwritten plan, also other shards', before any is worked on: whoever comes next sees
    this cut. Many at a time, and few of them in memory. False when asked to stop half-way."""
    waiting: deque[Future[object]] = deque()
    with ThreadPoolExecutor(WRITE_THREADS) as threads:
        for unit_plan in plan.unwritten:
            if stop_asked():
                return False
            waiting.append(threads.submit(_write, store, unit_plan, planning))
            if _mine(unit_plan.unit_id, config):
                plan.units.append(_written_unit(store, unit_plan))
            while len(waiting) > AHEAD:
                waiting.popleft().result()
        for written in waiting:
            written.result()
    return True


def write_down(store: Store, plan: UnitPlan) -> None:
    """Let whoever comes next see the plan of a unit that is about to be opened."""
    store.create(plan_path(plan.unit_id, plan.generation), encode_plan(plan))


def _write(store: Store, plan: UnitPlan, planning: int) -> None:
    numbered = replace(plan, planning=planning)
    path = plan_path(plan.unit_id, plan.generation)
    if store.create(path, encode_plan(numbered)) is Created.CREATED:
        return
    stored = read_plan(store, plan.unit_id, plan.generation)
    if stored != replace(numbered, planning=stored.planning if stored else 0):
        store.replace(path, encode_plan(numbered))  # the same unit, as today's input wants it


def _written_unit(store: Store, plan: UnitPlan) -> PlannedUnit:
    unit_id, generation = plan.unit_id, plan.generation

    def load() -> UnitPlan:
        stored = read_plan(store, unit_id, generation)
        if stored is None:
            raise StoreError(
                f"{store.root}/{plan_path(unit_id, generation)} is gone before its unit was read: run the "
                "same command again"
            )
        return stored

    return PlannedUnit(unit_id, generation, len(plan.wanted_indexes()), load, is_written=True)


def _mine(unit_id: str, config: InputConfig) -> bool:
    return in_shard(unit_id, config.shard_index, config.num_shards)


# The input's own cut


def _plan_naturally(planner: RunPlanner, listing: OutputListing, plan: JobPlan) -> None:
    overview = planner.overview
    for index, (unit_id, count) in enumerate(
        zip(overview.units.unit_ids, overview.units.counts, strict=True)
    ):
        if not _mine(unit_id, planner.config):
            continue
        plan.unit_ids.add(unit_id)
        under_way = listing.open.get(unit_id, 0)
        if unit_id in listing.sealed and not under_way:
            plan.sealed_documents += count
            continue
        load = _loader(planner, index, under_way)
        plan.units.append(PlannedUnit(unit_id, under_way or 1, count, load))


def _loader(planner: RunPlanner, index: int, under_way: int) -> Callable[[], UnitPlan]:
    def load() -> UnitPlan:
        unit = planner.overview.assigned(planner.overview.units[index])
        stored = read_plan(planner.store, unit.unit_id, under_way) if under_way else None
        if stored is None:
            return first_generation(unit, planner.variants)
        return replace(_refreshed(stored, unit.documents), variants=planner.variants)

    return load


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


# The input against what earlier runs cut


@dataclass(slots=True)
class _Planning:
    """Plans when the input is not what earlier runs cut: a document stays in the unit that holds it, the
    others are cut into new units. In memory: two numbers a document, and the units at hand."""

    planner: RunPlanner
    listing: OutputListing
    plan: JobPlan

    def plans(self) -> Iterator[UnitPlan]:
        natural = set(self.planner.overview.units.unit_ids)
        sealed = [
            unit_id
            for unit_id in self.listing.sealed
            if self.planner.stale_fingerprint or unit_id not in natural
        ]
        loaded = dict.fromkeys([*sealed, *self.listing.open])
        held = DocumentIndex.build(self._read, loaded, self._known(loaded))
        self.plan.strays = {unit_id: self.listing.open[unit_id] for unit_id in held.strays}
        self.listing = self.listing.without(held.strays)
        places = self._places(held)
        yield from self._again(held, places)
        yield from self._fresh(held, places)

    def _known(self, loaded: Container[str]) -> Iterator[Hashes]:
        """The documents of sealed units that are as the input cuts them, where plans may conflict."""
        units = self.planner.overview.units
        for index, unit_id in enumerate(units.unit_ids if self.listing.open else ()):
            if unit_id in self.listing.sealed and unit_id not in loaded:
                yield hashed_ids(units.rows(index))

    def _read(self, unit_id: str) -> HeldUnit:
        return HeldUnit.read(self.planner.store, self.listing, unit_id, self.planner.stale_fingerprint)

    def _places(self, held: DocumentIndex) -> dict[int, Numbers]:
        """For each unit of the input's own cut, by its index, which unit holds each of its documents."""
        loaded = set(held.unit_ids)
        places: dict[int, Numbers] = {}
        touched: set[int] = set()
        units = self.planner.overview.units
        for index, unit_id in enumerate(units.unit_ids):
            if unit_id in self.listing and unit_id not in loaded:
                self.plan.sealed_documents += units.counts[index]
                self._count(unit_id)
                continue
            found = places[index] = held.find(units.rows(index))
            touched.update(found[found != NOWHERE].tolist())
            self.plan.sealed_documents += int(np.count_nonzero(found != NOWHERE))
        for number in touched:
            self._count(held.unit_ids[number])
        return places

    def _count(self, unit_id: str) -> None:
        if _mine(unit_id, self.planner.config):
            self.plan.unit_ids.add(unit_id)

    def _again(self, held: DocumentIndex, places: dict[int, Numbers]) -> Iterator[UnitPlan]:
        """Units that are under way, and those of which something is to be read again."""
        numbers = np.flatnonzero(held.closely).astype(np.int32)
        for start in range(0, len(numbers), UNITS_AT_ONCE):
            batch = numbers[start : start + UNITS_AT_ONCE]
            today = self._todays(batch, places)
            for number in batch.tolist():
                unit = self._read(held.unit_ids[number])
                version = self.listing.sealed.get(unit.unit_id, "")
                unit_plan, changed = plan_for(
                    unit,
                    today.get(number, {}),
                    version,
                    self.planner.variants,
                    is_whole=not self.plan.limited_documents,
                )
                self.plan.changed += changed
                if unit_plan is not None:
                    wanted = len(unit_plan.wanted_indexes())
                    self.plan.sealed_documents = max(0, self.plan.sealed_documents - wanted)
                    self._count(unit.unit_id)
                    yield unit_plan

    def _todays(self, batch: Numbers, places: dict[int, Numbers]) -> dict[int, dict[str, Document]]:
        """Today's documents of these units, by unit and id."""
        today: dict[int, dict[str, Document]] = {}
        for index, found in places.items():
            rows = np.flatnonzero(np.isin(found, batch))
            if not len(rows):
                continue
            fields = self.planner.overview.units.rows(index)
            for row in rows.tolist():
                document = self.planner.overview.assign(Document(*fields[row]))
                today.setdefault(int(found[row]), {})[document.doc_id] = document
        return today

    def _fresh(self, held: DocumentIndex, places: dict[int, Numbers]) -> Iterator[UnitPlan]:
        """Units of the documents that no unit holds."""
        config = self.planner.config
        for unit in cut_units(self._left(held, places), config.unit_documents, config.unit_bytes):
            self._count(unit.unit_id)
            yield first_generation(unit, self.planner.variants)

    def _left(self, held: DocumentIndex, places: dict[int, Numbers]) -> Iterator[Document]:
        renamed = set[int]()
        for index, found in places.items():
            rows = np.flatnonzero(found == NOWHERE)
            fields = self.planner.overview.units.rows(index) if len(rows) else []
            for row in rows.tolist():
                markdown = self._own_markdown(fields[row][ID], held, renamed)
                yield with_markdown(fields[row], markdown)

    def _own_markdown(self, doc_id: str, held: DocumentIndex, renamed: set[int]) -> str:
        """A Markdown file for a new document that is no earlier one's."""
        markdown = self.planner.overview.markdown_of(doc_id)
        if meeting_key(markdown) not in held.markdown:
            return markdown
        full = markdown_path(doc_id, keep_extension=True)
        last = f"{full}-{short_hash(doc_id)}"
        free = (
            name
            for name in (full, last)
            if (key := meeting_key(name)) not in held.markdown
            and key not in renamed
            and not self.planner.overview.takes(name)
        )
        markdown = next(free, last)
        renamed.add(meeting_key(markdown))
        return markdown
