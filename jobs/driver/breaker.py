"""Whether pages that an engine could not read are to blame, or the engine: a pure circuit breaker for each.

A failure is held until something tells. A page that is answered later proves the engine, and the failures
before it are the pages' own. Several failures in a row with no answer in between *trip* the breaker: no
more pages are given out, and a *control* is read, a built-in page that is known to be good. Fails that
too, the engine is at fault and nothing held is written. Is it answered, then pages that failed
while the breaker was tripped get a second try, since what was wrong may have passed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

TRIP_AFTER = 8
MAX_TRIP_AFTER = 256
WINDOW = 64
MAX_SHARE = 0.5
CONTROL_FAILURES = 2
FEW = 3
"""Failures that are taken for the pages' own where nothing tells otherwise."""


Key = tuple[Any, ...]
"""A page's identity, which begins with its unit."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A page that the engine could not read, and the rows to write if that is the page's own fault: one for
    each variant that it failed in."""

    key: Key
    reason: str
    rows: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of failures that were held: rows to write, and pages to read once more."""

    write: Sequence[Failure] = ()
    again: Sequence[Failure] = ()


class Breaker:
    """Events in, decisions out, for one engine. ``fault`` says why it is at fault, once it is.

    ``proven`` tells that an earlier run was answered; ``had_second_try`` is common to the engines of a job.
    """

    def __init__(self, *, proven: bool = False, had_second_try: set[Key] | None = None) -> None:
        self._proven = proven
        self._held: dict[Key, Failure] = {}
        self._cleared = Decision([], [])
        self._had_second_try: set[Key] = set() if had_second_try is None else had_second_try
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._trip_after = TRIP_AFTER
        self._control_failures = 0
        self._has_control = True
        self.is_tripped = False
        self.fault = ""

    # Events

    def failed(self, failure: Failure) -> None:
        """The engine could not read a page."""
        self._held[failure.key] = failure
        self._in_a_row += 1
        self._recent.append(False)
        is_many = len(self._recent) == WINDOW and MAX_SHARE * WINDOW < self._recent.count(False) < WINDOW
        if self._in_a_row >= self._trip_after or is_many:
            self.is_tripped = True
            if not self._has_control and self._in_a_row >= self._trip_after:
                self._blame_engine("")

    def answered(self, count: int = 1) -> None:
        """The engine read pages well."""
        if count > 0:
            self._proven = True
            self._recent.extend([True] * min(count, WINDOW))
            self._trip_after = TRIP_AFTER
            self._clear()

    def control_answered(self) -> None:
        """The engine reads the built-in page: what it cannot read is the pages' fault."""
        self._trip_after = min(2 * self._trip_after, MAX_TRIP_AFTER)
        self._recent.clear()
        self._clear()

    def control_refused(self, reason: str) -> None:
        """The engine cannot read the built-in page either."""
        if not self._held:
            return
        self.is_tripped = True
        self._control_failures += 1
        if self._control_failures >= CONTROL_FAILURES:
            self._blame_engine(reason)

    def control_failed(self) -> None:
        """There is no control to be had."""
        self._has_control = False
        if self.is_tripped:
            self._blame_engine("")

    def drop(self, is_gone: Callable[[Key], bool]) -> None:
        """Forget pages that are nobody's any more."""
        self._held = {key: failure for key, failure in self._held.items() if not is_gone(key)}
        self._cleared = Decision(
            [failure for failure in self._cleared.write if not is_gone(failure.key)],
            [failure for failure in self._cleared.again if not is_gone(failure.key)],
        )

    def give_back(self) -> list[Failure]:
        """Pages to be read by another engine, since this one is gone or at fault."""
        failures = [*self._held.values(), *self._cleared.again, *self._cleared.write]
        self._held, self._cleared = {}, Decision([], [])
        return failures

    # Decisions

    def __len__(self) -> int:
        """How many failures are held."""
        return len(self._held)

    def holds(self, key: Key) -> bool:
        """Whether a page's failure is held."""
        return key in self._held

    def held_of(self, unit: Any) -> int:
        """How many failures of a unit are held, or decided on and not yet collected."""
        every = (*self._held, *(f.key for f in (*self._cleared.write, *self._cleared.again)))
        return sum(key[0] == unit for key in every)

    def wants_control(self, *, nothing_else: bool) -> bool:
        """Whether the built-in page is to be read; ``nothing_else``: no other page will tell."""
        may_tell = self._has_control and not self.fault
        return bool(self._held) and may_tell and (self.is_tripped or nothing_else)

    def decide(self, *, nothing_else: bool) -> Decision:
        """What has been decided since the last time."""
        if nothing_else and self._held and not self._has_control and not self.fault:
            if self._proven or len(self._held) <= FEW:
                self._clear()
            else:
                self._blame_engine("")
        decided, self._cleared = self._cleared, Decision([], [])
        return decided

    @property
    def main_reason(self) -> str:
        """The most frequent reason of what is held, the first of equals."""
        reasons = Counter(failure.reason for failure in self._held.values())
        return reasons.most_common(1)[0][0] if reasons else ""

    def _clear(self) -> None:
        """All that is held now was followed by an answer."""
        write, again = list(self._cleared.write), list(self._cleared.again)
        for key, failure in self._held.items():
            if self.is_tripped and key not in self._had_second_try:
                self._had_second_try.add(key)
                again.append(failure)
            else:
                write.append(failure)
        self._cleared = Decision(write, again)
        self._held = {}
        self._in_a_row = self._control_failures = 0
        self.is_tripped = False

    def _blame_engine(self, control_reason: str) -> None:
        also = f", nor a built-in page that is known to be good ({control_reason})" if control_reason else ""
        self.fault = (
            f"the engine could not read {len(self._held)} pages one after the other{also}: it is at fault, "
            f"not the pages, and none of them was condemned. The reason it gives: {self.main_reason}. "
            "Mend that and run the same command: those pages are read again"
        )
