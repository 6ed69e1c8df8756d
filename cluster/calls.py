"""Calls to actors that are under way: their answers, and their failures, become events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from cluster.fleet import Event

IDLE_S = 0.05
OnAnswer = Callable[[Any], Event | None]
OnError = Callable[[Exception], Event | None]
"""May raise what ends the job."""


@dataclass(frozen=True, slots=True)
class _Call:
    on_answer: OnAnswer
    on_error: OnError
    worker: str


class Calls:
    """References whose values are awaited, and what to make of each."""

    def __init__(self) -> None:
        self._under_way: dict[Any, _Call] = {}

    def expect(self, ref: Any, on_answer: OnAnswer, on_error: OnError, worker: str = "") -> None:
        """Await an answer; ``worker`` names who gives it."""
        self._under_way[ref] = _Call(on_answer, on_error, worker)

    def forget(self, worker: str = "") -> None:
        """Await nothing more of a worker, or (without one) of anybody."""
        if not worker:
            self._under_way.clear()
        for ref in [ref for ref, call in self._under_way.items() if call.worker == worker]:
            del self._under_way[ref]

    def poll(self, timeout_s: float) -> list[Event]:
        """Events of all answers there are; waits up to ``timeout_s`` for a first."""
        if not self._under_way:
            time.sleep(min(timeout_s, IDLE_S))
            return []
        ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready:
            waiting = list(self._under_way)
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
        events = []
        for ref in ready:
            call = self._under_way.pop(ref, None)  # None: of a worker whose loss an earlier one told
            if call is not None and (event := _event(ref, call)) is not None:
                events.append(event)
        return events


def _event(ref: Any, call: _Call) -> Event | None:
    try:
        answer = ray.get(ref)
    except Exception as error:  # noqa: BLE001 - every failure of a worker becomes an event, or ends the job
        return call.on_error(error)
    return call.on_answer(answer)
