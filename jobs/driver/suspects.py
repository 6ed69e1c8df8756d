"""Who is to blame for the deaths of workers: one policy for renderers and for replicas.

Events in, decisions out: no fleet, no clock, no store. What a worker held when it died is *suspected* and
tried alone, one at a time, on one worker set aside. What ends its worker alone often enough is *accused*.
Guilt is proven by others that were answered after that; where no other work can tell, a *control* does, a
built-in page that is known to be good. What is proven never counts against the environment; a control that
ends its worker does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from cluster.fleet import Cause

CRASHES_ALONE = 2
MEMORY_KILLS_TOGETHER = 2
"""Kills for memory after which what the worker held is tried alone: one may have met whoever was next."""
MEMORY_KILLS_ALONE = 3
CONTROL_AFTER = 4
"""Deaths in a row without an answer after which a control is due whatever else waits."""
CONTROL_DEATHS = 2
TRIES_PER_TURN = 4
"""Suspects in a row that are answered before an only worker goes on with ordinary work."""
MAX_BLAMELESS_LOSSES = 20
MAX_DEATHS_WITHOUT_CONTROL = 24
MAX_ON_OLD_PROOF = 8
"""What may be condemned, with no control to be had, because others were answered before."""
MAX_LOG_TAIL = 300

T = TypeVar("T")


class Death(StrEnum):
    """How a worker ended with one suspect alone."""

    CRASH = "crash"
    HANG = "hang"
    MEMORY = "memory"


class Turn(StrEnum):
    """What the worker that is set aside does next."""

    SUSPECT = "suspect"
    CONTROL = "control"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class Role:
    """Whose deaths are judged, and how messages name it; ``runs`` is what a worker runs.

    With ``max_guilty`` (a number and a share of what was answered) more guilty than both is the
    environment's or the model's fault.
    """

    worker: str
    runs: str
    works_on: str
    max_failed_starts: int
    max_guilty: tuple[int, float] | None = None


@dataclass(slots=True, eq=False)
class Suspect(Generic[T]):
    """Something a worker held when it died, and what came of trying it alone."""

    item: T
    crashes: int = 0
    memory_kills: int = 0
    answers_before: int = 0
    """How many answers there were when it first ended a worker alone."""
    death: Death = Death.CRASH
    log_tail: str = ""

    @property
    def is_accused(self) -> bool:
        return self.crashes >= CRASHES_ALONE or self.memory_kills >= MEMORY_KILLS_ALONE


def speaks_against(cause: Cause, memory_kills: int) -> bool:
    """Whether the loss of a worker makes suspects of what it held, which was held ``memory_kills`` times
    by workers that were killed for memory, this time included."""
    return cause is Cause.CRASH or (cause is Cause.MEMORY and memory_kills >= MEMORY_KILLS_TOGETHER)


class Suspects(Generic[T]):
    """The suspects of one kind of worker. ``fault`` says why the environment is at fault, once it is.

    ``proven`` tells that an earlier run was answered.
    """

    def __init__(self, role: Role, *, proven: bool = False) -> None:
        self._role = role
        self._proven = proven
        self._waiting: deque[Suspect[T]] = deque()
        self._accused: list[Suspect[T]] = []
        self._hung: list[Suspect[T]] = []
        self._proofs = 0
        self._answers = 0
        self._deaths_in_a_row = 0
        self._control_deaths = 0
        self._has_control = True
        self._tries = 0
        self._on_old_proof = 0
        self._failed_starts = 0
        self._blameless_losses = 0
        self._log_tail = ""
        self.condemned = 0
        self.fault = ""

    # Events

    def answered(self, count: int = 1) -> None:
        """Work was answered well: workers can do it, in this environment."""
        if count > 0:
            self._answers += count
            self._proofs += count
            self._deaths_in_a_row = self._control_deaths = 0

    def progressed(self) -> None:
        """Something was finished, if not by the worker's skill: a blank page, a page without an answer."""
        self._blameless_losses = 0

    def found_in_store(self, answers: int) -> None:
        """An earlier run was answered so many times."""
        self._proven = self._proven or answers > 0

    def died(self, items: Iterable[T], log_tail: str) -> None:
        """A worker died with these, which are now suspected."""
        suspects = [Suspect(item) for item in items]
        self._waiting.extend(suspects)
        if suspects:
            self._tries = 0
            self._count_death(log_tail)

    def died_alone(self, suspect: Suspect[T], death: Death, log_tail: str) -> None:
        """A suspect ended its worker alone. A hang is proof by itself."""
        self._tries = TRIES_PER_TURN
        suspect.death, suspect.log_tail = death, log_tail
        if death is Death.HANG:
            self._hung.append(suspect)
            return
        if not suspect.crashes + suspect.memory_kills:
            suspect.answers_before = self._proofs
        suspect.crashes += death is Death.CRASH
        suspect.memory_kills += death is Death.MEMORY
        self._count_death(log_tail)
        # The others first: one of them may prove that the worker is able.
        (self._accused if suspect.is_accused else self._waiting).append(suspect)

    def put_back(self, suspect: Suspect[T]) -> None:
        """A suspect was not answered for no fault of its own: it is still the next."""
        self._waiting.appendleft(suspect)

    def suspect_further(self, item: T) -> None:
        """More of what a suspect stood for, to be tried alone and next."""
        self._waiting.appendleft(Suspect(item))

    def control_answered(self) -> None:
        """The built-in page was answered: whoever ended a worker before is to blame for it."""
        self._proofs += 1
        self._deaths_in_a_row = self._control_deaths = 0

    def control_died(self, log_tail: str) -> None:
        """The built-in page, alone, ended its worker: no page is to blame for that."""
        self._control_deaths += 1
        if self._control_deaths >= CONTROL_DEATHS:
            deaths = self._deaths_in_a_row + self._control_deaths
            self._blame_environment(
                f"{deaths} {self._role.worker}s died in a row, {self._control_deaths} of them with a "
                "built-in page that is known to be good",
                self._log_tail or log_tail,
            )

    def control_failed(self) -> None:
        """There is no control to be had: the built-in page cannot be opened, or was not answered well."""
        self._has_control = False

    def lost(self, cause: Cause, log_tail: str) -> None:
        """A worker at work is gone and nothing it held is to blame (its node was lost)."""
        self._blameless_losses += 1
        if self._blameless_losses >= MAX_BLAMELESS_LOSSES:
            self._blame_environment(
                f"{self._blameless_losses} {self._role.worker}s in a row were lost ({cause}) and no page "
                "was finished in between",
                log_tail,
            )

    def started(self) -> None:
        """A worker is up."""
        self._failed_starts = 0

    def start_failed(self, log_tail: str, others: int) -> None:
        """A worker did not come up, while ``others`` are up or may well come up."""
        self._failed_starts += 1
        if self._failed_starts >= self._role.max_failed_starts and not others:
            self.fault = (
                f"the {self._role.runs} did not start, {self._failed_starts} times in a row. "
                f"The end of its log:\n{log_tail}"
            )

    def drop(self, is_gone: Callable[[T], bool]) -> None:
        """Forget those that are nobody's any more."""
        self._waiting = deque(s for s in self._waiting if not is_gone(s.item))
        self._accused = [s for s in self._accused if not is_gone(s.item)]
        self._hung = [s for s in self._hung if not is_gone(s.item)]

    # Decisions

    def __len__(self) -> int:
        """How many wait to be tried alone."""
        return len(self._waiting)

    @property
    def total(self) -> int:
        """All that are suspected or accused, those being tried left out."""
        return len(self._waiting) + len(self._accused) + len(self._hung)

    @property
    def is_active(self) -> bool:
        """Whether a worker is to be set aside."""
        return bool(self._waiting or self._accused)

    def items(self) -> Iterable[T]:
        """What is suspected or accused."""
        return (suspect.item for suspect in (*self._waiting, *self._accused))

    def next_turn(self, *, work_waits: bool, only_worker: bool) -> Turn | None:
        """What the worker set aside, which holds nothing, is to do now. None: nothing for now.

        An only worker does ordinary work in between, so that there are answers and the job moves on.
        """
        if not self.is_active:
            return None
        if self._has_control and self._deaths_in_a_row >= CONTROL_AFTER:
            return Turn.CONTROL
        if work_waits and only_worker and self._tries >= TRIES_PER_TURN:
            return Turn.WORK
        if self._waiting:
            return Turn.SUSPECT
        if work_waits:
            return Turn.WORK
        return Turn.CONTROL if self._has_control else None

    def take(self) -> Suspect[T]:
        """The suspect whose turn it is."""
        self._tries += 1
        return self._waiting.popleft()

    def gave_way(self) -> None:
        """Ordinary work had its turn."""
        self._tries = 0

    def guilty(self, *, nothing_else: bool) -> list[Suspect[T]]:
        """Those now proven, which are no longer suspected. With ``nothing_else`` no work is left that
        could prove them: where there is no control either, answers before must do, for a few."""
        guilty, self._hung = self._hung, []
        proven = [s for s in self._accused if self._proofs > s.answers_before]
        if nothing_else and self._accused and not self._has_control and not self._waiting:
            proven = self._by_old_proof()
        self._accused = [s for s in self._accused if s not in proven]
        guilty += proven
        self.condemned += len(guilty)
        if proven and self._role.max_guilty is not None:
            number, share = self._role.max_guilty
            if self.condemned > max(number, share * self._answers):
                self._blame_environment(
                    f"{self.condemned} pages ended their {self._role.runs} and {self._answers} were "
                    f"{self._role.works_on}",
                    proven[-1].log_tail,
                )
        return guilty

    def _by_old_proof(self) -> list[Suspect[T]]:
        """All that are accused, where it is known that others were answered before."""
        log_tail = self._accused[-1].log_tail
        self._on_old_proof += len(self._accused)
        if not (self._proofs or self._proven):
            self._blame_environment(
                f"every page that was {self._role.works_on} ended its {self._role.runs} and none was ever "
                "finished",
                log_tail,
            )
        elif self._on_old_proof > MAX_ON_OLD_PROOF:
            self._blame_environment(
                f"{self._on_old_proof} pages ended their {self._role.runs} and no other was "
                f"{self._role.works_on} since",
                log_tail,
            )
        else:
            return list(self._accused)
        return []

    def _count_death(self, log_tail: str) -> None:
        self._log_tail = log_tail
        self._deaths_in_a_row += 1
        if not self._has_control and self._deaths_in_a_row >= MAX_DEATHS_WITHOUT_CONTROL:
            self._blame_environment(
                f"{self._deaths_in_a_row} {self._role.worker}s died in a row and no page was finished in "
                "between",
                log_tail,
            )

    def _blame_environment(self, what: str, log_tail: str) -> None:
        condemned = (
            f"{self.condemned} pages that were proven to do so are recorded as failed, no other"
            if self.condemned
            else "no page was condemned"
        )
        self.fault = self.fault or (
            f"{what}: the environment is at fault; {condemned}. "
            f"The end of the {self._role.runs}'s log:\n{log_tail}"
        )


def in_one_line(log_tail: str) -> str:
    """The end of a log as part of a reason."""
    return " ".join(log_tail.split())[-MAX_LOG_TAIL:]
