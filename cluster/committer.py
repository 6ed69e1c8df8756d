"""The committer: the writer actor of a run, and what the driver asks of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import Calls
from cluster.failures import own_error
from cluster.fleet import RowsWritten, UnitKey, UnitOpened, UnitSealed
from cluster.workers import WriterActor
from manifests.errors import JobError
from manifests.units import UnitPlan
from results.rows import ResultRow
from results.writer import SEALS_AT_ONCE, UnitWriter

CHECK_EVERY_S = 1.0
ANSWER_WITHIN_S = 300.0
CALLS_AT_ONCE = 8
SEAL_CALLS = {"seal": SEALS_AT_ONCE}
"""Seals have threads of their own: those that wait for their turn must not keep rows from being taken."""


class Committer:
    """Starts the writer beside the driver and turns its answers into events."""

    def __init__(self, make_writer: Callable[[], UnitWriter], node: str, calls: Calls) -> None:
        self._calls = calls
        self._next_check = 0.0
        self._has_units = False
        actor_of: Any = ray.remote  # whose types know no concurrency groups
        self.actor: Any = (
            actor_of(concurrency_groups=SEAL_CALLS)(WriterActor)
            .options(
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=CALLS_AT_ONCE,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(make_writer)
        )

    def open_unit(self, plan: UnitPlan) -> None:
        key = (plan.unit_id, plan.generation)
        self._has_units = True
        self._expect(self.actor.open.remote(plan), lambda states: UnitOpened(key, states))

    def seal_unit(self, unit: UnitKey, page_counts: dict[int, int]) -> None:
        self._expect(self.actor.seal.remote(*unit, page_counts), lambda report: UnitSealed(unit, report))

    def write_rows(self, unit: UnitKey, rows: Sequence[ResultRow]) -> None:
        self._expect(self.actor.add_rows.remote(*unit, list(rows)), lambda count: RowsWritten(unit, count))

    def abandon_unit(self, unit: UnitKey) -> None:
        self._expect(self.actor.abandon.remote(*unit), _nothing)

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        answer: list[bool] = self._answer(self.actor.stored.remote(*unit, list(pages)))
        return answer

    def restart_document(self, unit: UnitKey, doc_index: int, version: str) -> None:
        self._answer(self.actor.restart_document.remote(*unit, doc_index, version))

    def flush(self) -> None:
        """Nothing to do, and no writer to wait for, before any unit was opened."""
        if self._has_units:
            self._answer(self.actor.flush.remote())

    def check(self) -> None:
        """Ask every so often for a write that failed in the background."""
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_EVERY_S
            self._expect(self.actor.check.remote(), _nothing)

    def stop(self) -> None:
        ray.kill(self.actor)

    def _expect(self, ref: Any, on_answer: Callable[[Any], Any]) -> None:
        self._calls.expect(ref, on_answer, _failed)

    def _answer(self, ref: Any) -> Any:
        try:
            return ray.get(ref, timeout=ANSWER_WITHIN_S)
        except Exception as error:
            raise own_error(error) or JobError(f"the writer does not answer: {error}") from error


def _nothing(answer: object) -> None:
    return None


def _failed(error: Exception) -> None:
    raise own_error(error) or JobError(f"the writer failed: {error}") from error
