"""Render jobs whose sources do not answer, laid aside until they are to be asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cluster.fleet import UnitKey
from jobs.driver.outages import SourceOutage, Waiting
from jobs.driver.render_calls import RenderJob


class PausedJobs:
    """Jobs by document; when each is asked again is ``SourceOutage``'s to say."""

    def __init__(self, outage_s: float) -> None:
        self._outage = SourceOutage(outage_s)
        self._jobs: dict[tuple[UnitKey, int], list[RenderJob]] = {}
        self._free: list[RenderJob] = []

    def __len__(self) -> int:
        """How many documents wait for their source, those just being asked again included."""
        return len(self._outage)

    @property
    def jobs(self) -> int:
        """How many jobs are laid aside."""
        return sum(map(len, self._jobs.values())) + len(self._free)

    @property
    def units(self) -> set[UnitKey]:
        return {unit for unit, _ in self._jobs}

    @property
    def waiting(self) -> Waiting | None:
        """The outage as it stands, None when there is none."""
        return self._outage.waiting

    def overdue(self, now: float) -> str:
        """Why the job must stop when nothing else is left to do, '' while it may wait."""
        return self._outage.overdue(now)

    def must_wait(self, job: RenderJob, now: float) -> bool:
        """Lay a job aside if its place does not answer; whether that was done."""
        if not len(self._outage) or job.asked_again or not self._outage.is_down(job.place):
            return False
        self._outage.hold(job.key, job.place, now)
        self._jobs.setdefault(job.key, []).append(job)
        return True

    def unavailable(self, job: RenderJob, message: str, now: float) -> None:
        """A job's source did not answer."""
        self._outage.unavailable(job.key, job.place, message, now)
        self._jobs.setdefault(job.key, []).append(job)

    def answered(self, job: RenderJob) -> None:
        """A job's source did answer: what else was laid aside of it is free."""
        if len(self._outage):
            self._outage.answered(job.key, job.place)
            self._free += self._jobs.pop(job.key, ())

    def due(self, now: float) -> list[RenderJob]:
        """Jobs to try again now."""
        if not len(self._outage) and not self._free:
            return []
        free, self._free = self._free, []
        jobs = (job for key in self._outage.due(now) for job in self._jobs.pop(key, ()))
        return free + [replace(job, asked_again=True) for job in jobs]

    def drop(self, is_gone: Callable[[tuple[UnitKey, int]], bool]) -> None:
        """Forget documents that are nobody's any more."""
        self._outage.drop(is_gone)
        self._jobs = {key: jobs for key, jobs in self._jobs.items() if not is_gone(key)}
        self._free = [job for job in self._free if not is_gone(job.key)]
