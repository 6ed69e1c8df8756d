"""Units in line: each is given out once this run holds its claim."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from manifests.errors import OutputRefused
from manifests.units import UnitPlan
from results.claims import Claims

OTHER_INPUTS = (
    "another job is at work on this output with other inputs ({holder}): wait for it to end, or choose "
    "another output"
)
ASK_AGAIN_S = 2.0


class PlanQueue:
    """The plans of a run, then those that another process held, for as long as it has not sealed them.

    ``is_done`` asks the store whether a unit is sealed; ``on_done`` hears of those that are.
    """

    def __init__(
        self,
        plans: Iterator[UnitPlan],
        claims: Claims,
        inputs_digest: str,
        is_done: Callable[[UnitPlan], bool],
        on_done: Callable[[UnitPlan], None],
    ) -> None:
        self._plans = plans
        self._claims = claims
        self._inputs_digest = inputs_digest
        self._is_done = is_done
        self._on_done = on_done
        self._exhausted = False
        self._elsewhere: deque[UnitPlan] = deque()
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
        """The next unit to work on, claimed; None when there is none for now.

        Raises OutputRefused when another job with other inputs is at work on the output.
        """
        for plan in self._plans:
            if self._claim(plan):
                return plan
        self._exhausted = True
        if time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + ASK_AGAIN_S
            for _ in range(len(self._elsewhere)):
                if self._claim(plan := self._elsewhere.popleft()):
                    self._ask_again = 0.0  # the rest was not asked for
                    return plan
        return None

    def lost(self, plan: UnitPlan) -> None:
        """Another process took the unit over: it will seal it, we wait for that."""
        self._elsewhere.append(plan)

    def _claim(self, plan: UnitPlan) -> bool:
        holder = self._claims.acquire(plan.unit_id)
        if holder is None:
            if not self._is_done(plan):
                return True
            self._claims.release(plan.unit_id)
            self._on_done(plan)
            return False
        others = holder.inputs != self._inputs_digest
        if others and self._claims.is_alive(plan.unit_id, holder):
            raise OutputRefused(OTHER_INPUTS.format(holder=holder))
        self._elsewhere.append(plan)
        return False
