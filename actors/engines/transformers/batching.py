"""From requests that wait to batches: chosen for little padding, prepared ahead, generated one by one."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from actors.engines.base import Completion, Request
from actors.engines.transformers.inputs import PromptRow
from manifests.errors import EngineDead, EngineError

CLOSE_S = 10.0
"""A batch that takes longer to end is left behind: its thread may hang in the library, for good."""
LINGER_S = 0.05
"""An idle model waits so long for one more request before it takes fewer than a batch holds."""
PATIENCE = 4
"""Batches that may pass over a request because most of those that wait are of another kind."""

Prepared = TypeVar("Prepared")


@dataclass(eq=False, slots=True)
class Pending:
    """A request on its way, as ``row``. Kinds are never mixed in a batch.

    Cancelling ``answer`` takes the request out of its batch at the next token.
    """

    request: Request
    row: PromptRow
    kind: Hashable
    answer: Future[Completion] = field(default_factory=Future)
    passed_over: int = 0

    def settle(self, outcome: Completion | Exception) -> None:
        """Hand over the outcome, unless there is one already or nobody waits for it any more."""
        if self.answer.done() or not self.answer.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


def choose_batch(waiting: Sequence[Pending], size: int) -> list[Pending]:
    """At most ``size`` of the jobs, oldest first in ``waiting``: of one kind, and of like length.

    Of the commonest kind, unless the oldest job was passed over too often; with the oldest job of that
    kind, so that nobody waits for ever. Shortest first.
    """
    kind = waiting[0].kind
    if waiting[0].passed_over < PATIENCE:
        kind = Counter(job.kind for job in waiting).most_common(1)[0][0]  # of equals the oldest
    same = [job for job in waiting if job.kind == kind]
    ranked = sorted(same, key=lambda job: job.row.tokens)
    index = ranked.index(same[0])
    last = max(0, len(ranked) - size)
    starts = range(min(last, max(0, index - size + 1)), min(last, index) + 1)
    start = min(
        starts, key=lambda at: ranked[min(at + size, len(ranked)) - 1].row.tokens - ranked[at].row.tokens
    )
    return ranked[start : start + size]


class Batcher(Generic[Prepared]):
    """Runs ``prepare`` in threads ahead of ``generate``, which has one thread of its own.

    ``prepare`` returns nothing (empty, None) where it leaves no job to generate. Jobs settle in either; what
    they raise is settled for all jobs of the batch that have no outcome, and an EngineDead for all that come
    after.
    """

    def __init__(
        self,
        size: Callable[[], int],
        prepare: Callable[[list[Pending]], Prepared | None],
        generate: Callable[[Prepared], None],
        threads: int,
    ) -> None:
        self._size, self._prepare, self._generate = size, prepare, generate
        self._changed = threading.Condition()
        self._waiting: list[Pending] = []
        self._ready: deque[tuple[list[Pending], Prepared]] = deque()
        self._ahead, self._most_ahead = 0, threads
        self._idle, self._closed = True, False
        self._last_came = 0.0
        self._dead: EngineDead | None = None
        targets = [self._keep_generating, *[self._keep_preparing] * threads]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Pending) -> None:
        """Let a job wait for its batch. Raises EngineDead."""
        with self._changed:
            if self._dead:
                raise EngineDead(str(self._dead))
            self._waiting.append(job)
            self._last_came = time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Finish the batch being generated, if it does; what waits is told that it will not be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for job in [*self._waiting, *(job for jobs, _ in self._ready for job in jobs)]:
            job.settle(EngineError("the engine was closed"))

    def _keep_preparing(self) -> None:
        while jobs := self._take():
            prepared: Prepared | None = None
            with self._settling(jobs):
                prepared = self._prepare(jobs)
            with self._changed:
                if prepared:
                    self._ready.append((jobs, prepared))
                else:
                    self._ahead -= 1
                self._changed.notify_all()

    def _keep_generating(self) -> None:
        while batch := self._next_ready():
            jobs, prepared = batch
            with self._settling(jobs):
                self._generate(prepared)
            for job in jobs:  # nobody may wait for ever
                job.settle(EngineError("the model ended the batch without an answer to this page"))

    @contextmanager
    def _settling(self, jobs: list[Pending]) -> Iterator[None]:
        """No job is left without an outcome, whatever is raised."""
        try:
            yield
        except EngineDead as error:
            with self._changed:
                self._dead, waiting = error, self._waiting
                self._waiting = []
            for job in [*jobs, *waiting]:
                job.settle(EngineDead(str(error)))
        except Exception as error:  # noqa: BLE001 - the boundary of a batch: each page learns of it
            for job in jobs:
                job.settle(EngineError(f"{type(error).__name__}: {error}"))

    def _take(self) -> list[Pending] | None:
        """The next batch to prepare, as soon as one is full or the model would wait; None when closed."""
        with self._changed:
            while not self._closed:
                self._waiting = [job for job in self._waiting if not job.answer.cancelled()]
                pause = self._pause_s()
                if pause == 0:
                    return self._chosen()
                self._changed.wait(pause)
            return None

    def _pause_s(self) -> float | None:
        """How long to wait before a batch is taken; None: until something changes."""
        if not self._waiting or self._ahead >= self._most_ahead:
            return None
        if max(Counter(job.kind for job in self._waiting).values()) >= self._size():
            return 0.0
        if self._ahead or not self._idle:
            return None
        return max(0.0, self._last_came + LINGER_S - time.monotonic())

    def _chosen(self) -> list[Pending]:
        jobs = choose_batch(self._waiting, self._size())
        self._waiting = [job for job in self._waiting if job not in jobs]
        for job in self._waiting:
            job.passed_over += job.kind != jobs[0].kind
        self._ahead += 1
        return jobs

    def _next_ready(self) -> tuple[list[Pending], Prepared] | None:
        with self._changed:
            self._idle = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ready or self._closed)
            if self._closed:
                return None
            self._idle = False
            self._ahead -= 1
            self._changed.notify_all()
            return self._ready.popleft()
