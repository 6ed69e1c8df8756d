"""SIGINT and SIGTERM as a wish to stop: heard from the first moment on, obeyed where it does no harm."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 0.1
AGAIN_AFTER_S = 1.0
"""Signals that follow within this time are the same wish: ``timeout`` and schedulers signal a process and
then its whole group."""


class Interrupts:
    """Whether this process was asked to stop.

    The first signal raises KeyboardInterrupt where the main thread is; while ``polled`` it only sets
    itself, and whoever works there looks. Another one, later than in the same breath, ends the
    process at once with 130: what was flushed is stored.
    """

    def __init__(self) -> None:
        self._asked = False  # no Event: its lock could be held by whatever the handler interrupts
        self._polled = 0
        self._asked_at = 0.0

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Wait for so long; whether a stop was asked for."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_S))
        return self._asked

    @contextmanager
    def polled(self) -> Iterator[None]:
        """While this lasts nothing is raised. Raises KeyboardInterrupt at once when already asked."""
        self._polled += 1
        try:
            if self.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            self._polled -= 1

    def on_signal(self, number: int, frame: Any) -> None:
        """The handler. Signals that come while nothing polls, and after the first, raise nothing more: what
        ends the work is under way."""
        if self.is_set():
            if time.monotonic() - self._asked_at >= AGAIN_AFTER_S:
                os._exit(EXIT_INTERRUPTED)
            return
        self._asked_at = time.monotonic()
        self._asked = True
        if not self._polled:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Listen to both signals, once however often it is nested. Elsewhere than in the main thread nothing is
    ever heard."""
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    listening = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(listening, Interrupts):
        yield listening
        return
    stop = Interrupts()
    before = {number: signal.signal(number, stop.on_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) == stop.on_signal:
                signal.signal(number, handler)
