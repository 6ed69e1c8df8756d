"""Ends a replica's process when its engine makes no progress; the driver then finds the culprit."""

from __future__ import annotations

import faulthandler
import sys
from typing import TextIO


class PageWatchdog:
    """A hard limit on the time without a finished page while pages are being read.

    It needs no GIL (faulthandler's timer is a C thread), so an engine stuck in native code dies too,
    all stacks printed as the end of its log. ``limit_s`` 0 turns it off.
    """

    def __init__(self, limit_s: float, file: TextIO | None = None) -> None:
        self._limit_s = limit_s
        self._file = file or sys.stderr
        self._reading = 0

    def started(self) -> None:
        self._reading += 1
        if self._reading == 1:
            self._arm()

    def finished(self) -> None:
        self._reading -= 1
        if self._reading:
            self._arm()
        elif self._limit_s:
            faulthandler.cancel_dump_traceback_later()

    def _arm(self) -> None:
        if self._limit_s:
            faulthandler.dump_traceback_later(self._limit_s, exit=True, file=self._file)
