"""Units in line: each is given out once this run holds its claim."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from manifests.units import UnitPlan

ASK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class QueuedUnit:
    """A unit in line, which reads so many documents; they need not be in memory yet.

    ``open`` gives its plan, once it is claimed and not done; None when the claim did not hold after all.
    """

    unit_id: str
    generation: int
    wanted: int
    open: Callable[[], UnitPlan | None]

    @classmethod
    def of(cls, plan: UnitPlan) -> QueuedUnit:
        """A unit whose plan is at hand."""
        return cls(plan.unit_id, plan.generation, len(plan.wanted_indexes()), lambda: plan)


class UnitClaims(Protocol):
    """Who may work on a unit."""

    def acquire(self, unit_id: str) -> object | None:
        """Try to claim a unit: None when it is ours now, otherwise who holds it."""

    def release(self, unit_id: str) -> None:
        """The unit is done."""

    def lost(self) -> set[str]:
        """Units that another process took over since the last call."""


class PlanQueue:
    """The units of a run, then those that another process held, for as long as it has not sealed them.

    ``is_done`` asks the store whether a unit is sealed; ``on_done`` hears how many documents such a one
    had. Asking again for what another process holds costs no request: ``results.claims`` looks.
    """

    def __init__(
        self,
        units: Iterable[QueuedUnit],
        claims: UnitClaims,
        is_done: Callable[[QueuedUnit], bool],
        on_done: Callable[[int], None],
    ) -> None:
        self._units = iter(units)
        self._claims = claims
        self._is_done = is_done
        self._on_done = on_done
        self._exhausted = False
        self._elsewhere: deque[QueuedUnit] = deque()
        self._given: dict[str, QueuedUnit] = {}
        self._ask_again = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no unit is left to this run, nor to wait for."""
        return self._exhausted and not self._elsewhere

    @property
    def waits_for_others(self) -> bool:
        """Whether all that is left is held by other processes."""
        return self._exhausted and bool(self._elsewhere)

    def take(self) -> UnitPlan | None:
        """The next unit to work on, claimed; None when there is none for now."""
        for unit in self._units:
            if plan := self._claim(unit):
                return plan
        self._exhausted = True
        if time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + ASK_AGAIN_S
            for _ in range(len(self._elsewhere)):
                if plan := self._claim(self._elsewhere.popleft()):
                    self._ask_again = 0.0  # the rest was not asked for
                    return plan
        return None

    def lost(self, plan: UnitPlan) -> None:
        """Another process took the unit over: it will seal it, we wait for that."""
        self._elsewhere.append(self._given.pop(plan.unit_id))

    def _claim(self, unit: QueuedUnit) -> UnitPlan | None:
        if self._claims.acquire(unit.unit_id) is None:
            if self._is_done(unit):
                self._claims.release(unit.unit_id)
                self._on_done(unit.wanted)
                return None
            if plan := unit.open():
                self._given[unit.unit_id] = unit
                return plan
        self._elsewhere.append(unit)
        return None
