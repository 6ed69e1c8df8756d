"""Reading a selection of an output's pages again: as a rule those that failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.planning.document_index import as_sealed
from jobs.planning.output_listing import OutputListing
from jobs.planning.planning import JobPlan
from manifests.units import UnitPlan
from results.output import Output
from results.selection import FAILED, Selection
from results.store import Store
from results.unit_files import Footer, read_plan


@dataclass(frozen=True, slots=True)
class RetryPlanner:
    """Plans to read the pages of a selection again."""

    store: Store
    fingerprint: str
    selection: Selection = FAILED

    def is_natural(self, listing: OutputListing) -> bool:
        return False

    def plan_naturally(self, listing: OutputListing) -> JobPlan:
        raise NotImplementedError("what to read again depends on what is there")

    def plan_against(self, listing: OutputListing) -> JobPlan:
        return plan_retry(self.store, listing, self.fingerprint, self.selection)


def plan_retry(
    store: Store, listing: OutputListing, fingerprint: str, selection: Selection = FAILED
) -> JobPlan:
    """Plan the next generation of every unit with rows of a selection: their pages, nothing else.

    A retry that was killed goes on: while a generation is under way, only units older than it are
    taken, so that no page is retried twice by what the user meant as one retry. Units that a new
    generation with other settings will read anyway (another ``fingerprint``) are left to it.
    """
    footers = list(Output(store).units())
    newest = max((footer.generation for footer in footers), default=0)
    generation = max(listing.open.values(), default=0)
    if generation < 2:
        generation = newest + 1
    again = [
        footer
        for footer in footers
        if footer.unit_id not in listing.open
        and footer.generation < generation
        and footer.fingerprint == fingerprint
        and selection.may_meet(footer)
    ]
    plan = JobPlan(0)
    plan.unwritten = _plans(store, listing, again, generation, plan, selection)
    return plan


def _plans(
    store: Store,
    listing: OutputListing,
    again: list[Footer],
    generation: int,
    plan: JobPlan,
    selection: Selection,
) -> Iterator[UnitPlan]:
    for unit_id, under_way in listing.open.items():
        stored = read_plan(store, unit_id, under_way)
        if stored is not None:
            yield _counted(stored, plan)
    for footer in again:
        if pages := Output(store).pages_of(footer, selection):
            yield _counted(reread_plan(footer, generation, pages, listing.sealed[footer.unit_id]), plan)


def _counted(unit_plan: UnitPlan, plan: JobPlan) -> UnitPlan:
    plan.documents += len(unit_plan.wanted_indexes())
    plan.unit_ids.add(unit_plan.unit_id)
    return unit_plan


def reread_plan(footer: Footer, generation: int, pages: dict[int, str], base_version: str) -> UnitPlan:
    """Read these pages of a sealed unit again, by document index; the unit counts as read as it was."""
    documents = tuple(as_sealed(sealed.document, sealed.version) for sealed in footer.documents)
    return UnitPlan(
        footer.unit_id,
        generation,
        documents,
        pages,
        base_version,
        variants=footer.variants,
        fingerprint=footer.fingerprint,
    )
