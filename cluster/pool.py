"""Actors of one kind: each has a place, and whoever dies is replaced there."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup

from cluster.calls import Calls, OnAnswer
from cluster.failures import cause_of, death_of, is_loss, own_error
from cluster.fleet import Cause, Event
from cluster.logs import log_tail_on, stacks_on
from cluster.restarts import restart_after_s
from cluster.workers import WorkerInfo
from manifests.errors import EngineUnavailable, JobError, PagefleetError, UserError

NO_SECOND_TRY = UserError | EngineUnavailable
"""Errors of a start that another start would only repeat, unless one at that place went well before."""


@dataclass(slots=True)
class Slot:
    """A place for a worker, which whatever replaces it inherits: a renderer's node, a replica's group."""

    node: str = ""
    group: PlacementGroup | None = None
    failures: int = 0
    """Starts that failed in a row."""
    was_up: bool = False
    out_since: float | None = None
    """Since when starts fail there for want of something that was there before (servers)."""

    def is_promising(self, outage_s: float) -> bool:
        """Whether the next start may well succeed."""
        out = self.out_since is not None and time.monotonic() - self.out_since < outage_s
        return out or not self.failures


@dataclass(slots=True)
class Worker:
    """An actor and what it has been given, oldest first."""

    name: str
    slot: Slot
    actor: Any
    calls: list[int] = field(default_factory=list)
    info: WorkerInfo | None = None
    up: bool = False

    @property
    def node(self) -> str:
        return self.info.node if self.info else self.slot.node


class WorkerPool(ABC):
    """Workers by name, and the places where one is to be started."""

    kind: str

    def __init__(self, calls: Calls, outage_s: float = 0.0) -> None:
        """``outage_s``: how long a place that was up may fail to start for want of something outside."""
        self._outage_s = outage_s
        self.workers: dict[str, Worker] = {}
        self._calls = calls
        self._names = itertools.count(1)
        self._due: list[tuple[float, Slot]] = []

    def plan(self, slot: Slot, in_s: float = 0.0) -> None:
        """Have a worker started at this place, after a while."""
        self._due.append((time.monotonic() + in_s, slot))

    def start_due(self) -> None:
        """Start the workers whose time has come."""
        now = time.monotonic()
        due = [slot for when, slot in self._due if when <= now]
        self._due = [(when, slot) for when, slot in self._due if when > now]
        for slot in due:
            self._start(slot, f"{self.kind}-{next(self._names)}")

    def stop(self) -> None:
        """End all workers and start no more."""
        self._due.clear()
        for worker in self.workers.values():
            ray.kill(worker.actor)
        self.workers.clear()

    def stacks(self) -> list[str]:
        """The stacks of every worker that still answers."""
        return [
            f"--- {worker.name} (pid {info.pid})\n{stacks_on(info.node, info.pid, info.log)}"
            for worker in self.workers.values()
            if (info := worker.info) is not None and info.log
        ]

    @abstractmethod
    def _start(self, slot: Slot, name: str) -> None:
        """Start a worker at this place, unless the place is gone."""

    @abstractmethod
    def _lost(self, worker: Worker, cause: Cause, log_tail: str) -> Event:
        """The event that tells of a loss."""

    def _expect(self, worker: Worker, ref: Any, on_answer: OnAnswer, number: int = 0) -> None:
        """Await what a worker answers; ``number`` is the call's, where it is one of the driver's."""
        self._calls.expect(ref, on_answer, lambda error: self._failed(worker, number, error), worker.name)

    def _failed(self, worker: Worker, number: int, error: Exception) -> Event | None:
        """A call failed: the worker is gone, or what it raised ends the job."""
        own = own_error(error)
        if own is not None and worker.up:
            raise own
        if isinstance(own, NO_SECOND_TRY):
            self._wait_out(worker.slot, own)
        if worker.up and not is_loss(error):
            raise JobError(f"{worker.name} failed: {error}") from error
        return self._lose(worker, error)

    def _wait_out(self, slot: Slot, own: PagefleetError) -> None:
        """A start said that it cannot work: so it is, or an outage where it has worked before."""
        if not slot.was_up:
            raise own
        slot.out_since = slot.out_since or time.monotonic()
        if time.monotonic() - slot.out_since > self._outage_s:
            raise JobError(str(own)) from own

    def _lose(self, worker: Worker, error: Exception) -> Event:
        del self.workers[worker.name]
        self._calls.forget(worker.name)
        death = death_of(error)
        cause = cause_of(error, death, worker.node, started=worker.up)
        log_tail = death.memory_report or _log_tail(worker, error, cause)
        ray.kill(worker.actor)
        slot = worker.slot
        slot.failures = 0 if worker.up else slot.failures + 1
        self.plan(slot, restart_after_s(slot.failures))
        return self._lost(worker, cause, log_tail)


def _log_tail(worker: Worker, error: Exception, cause: Cause) -> str:
    """What helps most to see why a worker is gone."""
    info = worker.info
    if info is not None and info.log and cause is not Cause.NODE:
        found = log_tail_on(info.node, info.log)
        if found:
            return found
    return str(own_error(error) or error)
