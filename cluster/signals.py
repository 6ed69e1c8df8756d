"""Signals that are for the driver alone.

SLURM, systemd and ``timeout`` send SIGTERM to every process of a job at once, a terminal its Ctrl-C. The
driver stops the work and stores what is finished; whoever it needs for that must not be gone by then.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = frozenset({signal.SIGINT, signal.SIGTERM})


@contextmanager
def held_back() -> Iterator[None]:
    """Processes and threads that are started meanwhile never get a stop signal: they inherit this
    thread's mask. One that is sent meanwhile to this process arrives afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def let_through() -> Iterator[None]:
    """The opposite, for what an engine starts in a process whose own signals are held back: SIGTERM is
    how its library, and Ray after a crash, end such processes."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
