"""One run's hold on an output, from entering to leaving: nothing is planned or written outside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from uuid import uuid4

from jobs.config import InputConfig
from jobs.driver.plan_queue import QueuedUnit
from jobs.interrupts import Interrupts
from jobs.job_file import Unchanged
from jobs.planning.output_listing import OutputListing, clear
from jobs.planning.planning import JobPlan, PlannedUnit, materialise, write_down
from manifests.units import UnitPlan
from results.claims import Claims, block_of
from results.job_claim import JobClaim, Settle, Terms
from results.leftovers import clear_leftovers
from results.owner import Owner
from results.participants import Purpose
from results.store import Store

Say = Callable[[str], None]


FIRST_EPOCH = 1
"""Of an output that has just got its ``job.json``: what lies there besides is of one that was deleted."""
NATURAL = "natural"
WRITTEN = "written"
"""How an input is cut: by itself, in which units nobody else has (plans that turn up beside them are late,
and nobody's); or against what the output holds, by plans that all are written down."""


class Planner(Protocol):
    """How a job plans. It looks at what the output holds, and changes nothing."""

    def is_natural(self, listing: OutputListing) -> bool:
        """Whether the output holds no unit but those the input itself is cut into."""

    def plan_naturally(self, listing: OutputListing) -> JobPlan:
        """A plan by the input's own cut; of ``listing`` only its units count."""

    def plan_against(self, listing: OutputListing) -> JobPlan:
        """A plan by what the output holds, yet to be written down."""


class Session:
    """A run that is at work on an output, beside others of the same purpose."""

    def __init__(self, store: Store, claim: JobClaim, stop_asked: Interrupts) -> None:
        self.store = store
        self.claim = claim
        self._stop_asked = stop_asked

    def plan(self, planner: Planner, config: InputConfig) -> JobPlan | None:
        """What there is to do, written down where others would cut it otherwise; None when stopped."""
        while self.claim.standing.cut != NATURAL:
            with self.claim.planning_alone(self._stop_asked.wait) as number:
                if number is None:
                    return None
                plan = self._plan_alone(planner, config, number)
                if plan is None or self.claim.planned(NATURAL if plan.is_natural else WRITTEN):
                    return plan
            self.claim.rejoin()  # taken for dead meanwhile: another has planned, or plans
        return planner.plan_naturally(OutputListing.take(self.store))

    def _plan_alone(self, planner: Planner, config: InputConfig, number: int) -> JobPlan | None:
        first = not self.claim.standing.cut
        if first and self.claim.standing.epoch == FIRST_EPOCH:
            clear_leftovers(self.store)
        listing = OutputListing.take(self.store)
        if self.claim.standing.cut == NATURAL or (first and planner.is_natural(listing)):
            clear(self.store, listing.over)
            return planner.plan_naturally(listing)
        plan = planner.plan_against(listing)
        if not materialise(self.store, plan, config, number, self._stop_asked.is_set):
            return None
        clear(self.store, {**listing.over, **plan.strays})
        return plan

    def claims(self, plan: JobPlan) -> tuple[Claims, Iterator[QueuedUnit]]:
        """Claims of the plan's units, and these in the order in which this run asks for them."""
        claims = self.claim.units()
        claims.expect(unit.unit_id for unit in plan.units)
        claims.start()
        queued = (
            QueuedUnit(unit.unit_id, unit.generation, unit.wanted, partial(self._open, unit))
            for unit in _in_turn(plan.units, self.claim)
        )
        return claims, queued

    def _open(self, unit: PlannedUnit) -> UnitPlan | None:
        """The plan, now that the unit is claimed; None when this run was taken for dead meanwhile.

        It is in the store before we ask whether we still are at work: see ``results.job_claim``.
        """
        plan = unit.load()
        if not unit.is_written:
            plan = replace(plan, planning=plan.planning or self.claim.standing.serial)
            write_down(self.store, plan)
        return plan if self.claim.is_current() else None


@contextmanager
def at_work(
    claim: JobClaim, store: Store, settle: Settle, stop_asked: Interrupts, say: Say
) -> Iterator[Session | None]:
    """Enter the output, and leave it whatever happens. Yields None when asked to stop while waiting.

    Raises OutputRefused beside a job of another purpose.
    """
    try:
        entered = claim.enter(settle, stop_asked.wait, say)
        yield Session(store, claim, stop_asked) if entered else None
    finally:
        claim.leave()


@contextmanager
def alone_in(store: Store, task: str, lease_s: float, stop_asked: Interrupts, say: Say) -> Iterator[None]:
    """For what rewrites an output that is there (assembly, repair) and is no run of its own."""
    run_id = new_run_id()
    claim = JobClaim(store, Owner.this_process(run_id), Purpose(task, inputs=run_id), Terms(lease_s))
    with at_work(claim, store, Unchanged(store), stop_asked, say) as session:
        if session is None:
            raise KeyboardInterrupt
        yield


def new_run_id() -> str:
    """Sorts by time, and is nobody else's."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def _in_turn(units: Iterable[PlannedUnit], claim: JobClaim) -> list[PlannedUnit]:
    """Block by block; beside others each process begins at a place of its own."""
    blocks: dict[str, list[PlannedUnit]] = {}
    for unit in units:
        blocks.setdefault(block_of(unit.unit_id, claim.standing.blocks), []).append(unit)
    order = list(blocks)
    first = claim.own_offset(len(order)) if claim.joined_others else 0
    return [unit for block in order[first:] + order[:first] for unit in blocks[block]]
