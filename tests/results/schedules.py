"""Processes on one store, stepped call by call: every order in which they may meet, and every death."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.results.memory_store import MemoryStore

STEP_WITHIN_S = 60.0


class Killed(BaseException):
    """The process ends between two calls; nothing of its code runs any more."""


@dataclass
class _Process:
    work: Callable[[], None]
    thread: threading.Thread | None = None
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_over: bool = False
    is_killed: bool = False
    error: BaseException | None = None


class Schedule:
    """Runs processes one step at a time. ``switches`` are the steps before which another process gets its
    turn, counted over all of them; otherwise whoever runs goes on, also while it waits for another.
    ``kill`` names a step before which the process at hand dies."""

    def __init__(self, switches: Sequence[int], kill: int = -1) -> None:
        self.store = MemoryStore(self._before)
        self.steps = 0
        self.dead: set[int] = set()
        self.after_step: Callable[[], None] = lambda: None
        self._switches = set(switches)
        self._kill = kill
        self._processes: list[_Process] = []
        self._here = threading.Semaphore(0)
        self._current = 0

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        """Run all to their ends. Raises what one of them, or a look after a step, raised."""
        self._processes = [_Process(work) for work in works]
        for process in self._processes:
            process.thread = threading.Thread(target=self._live, args=(process,), daemon=True)
            process.thread.start()
        while any(not process.is_over for process in self._processes):
            self._step()
            self.after_step()
        for process in self._processes:
            if process.error is not None:
                raise process.error

    def _step(self) -> None:
        if self.steps in self._switches or self._processes[self._current].is_over:
            self._turn_to_the_next()
        process = self._processes[self._current]
        if self.steps == self._kill:
            process.is_killed = True
            self.dead.add(self._current)
        self.steps += 1
        process.turn.release()
        if not self._here.acquire(timeout=STEP_WITHIN_S):
            raise TimeoutError("a process neither called the store nor ended")

    def _turn_to_the_next(self) -> None:
        count = len(self._processes)
        order = [(self._current + step) % count for step in range(1, count + 1)]
        self._current = next(number for number in order if not self._processes[number].is_over)

    def _live(self, process: _Process) -> None:
        process.turn.acquire()
        try:
            if not process.is_killed:
                process.work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the schedule was started
            process.error = error
        process.is_over = True
        self._here.release()

    def _before(self, call: str, path: str) -> None:
        """A store call: give the turn back, and go on when it comes again."""
        me = next((p for p in self._processes if p.thread is threading.current_thread()), None)
        if me is None:
            return  # the test itself looks
        if not me.is_killed:
            self._here.release()
            me.turn.acquire()
        if me.is_killed:
            raise Killed


def switches_up_to(steps: int, count: int) -> Iterator[tuple[int, ...]]:
    """Every choice of at most two, or three, steps at which the turn passes on."""
    yield ()
    for first in range(steps):
        yield (first,)
        if count < 2:
            continue
        for second in range(first + 1, steps):
            yield (first, second)
            if count < 3:
                continue
            for third in range(second + 1, steps):
                yield (first, second, third)
