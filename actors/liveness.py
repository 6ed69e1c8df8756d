"""Tells a page that hangs from an engine that does, by what becomes of the other pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from manifests.errors import EngineDead

PAGES_OUT_OF_TIME = 2
"""Different pages that took all their time, and no page at all was answered meanwhile."""
QUIET_SHARE = 0.5
"""Of a page's time, in which nothing was answered: what was asked before the engine hung is out of time a
little less than all of it later."""


class Liveness:
    """Watches an engine that gives up requests one by one, whose hang would look like many bad pages.

    One page out of time may be the page's fault. As soon as another is out of time too, and the engine has
    answered nothing for long, it is the engine's: EngineDead, and no page is blamed.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._out_of_time: set[Hashable] = set()
        self._open = 0
        self._held = 0
        self._asked = 0
        self._quiet_since = time.monotonic()
        self._changed = asyncio.Event()

    @contextmanager
    def page(self) -> Iterator[None]:
        """Around everything that is done about one page, waiting for its turn included."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._changed.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one question to the engine. An answer, be it a refusal, is told of by ``answered``."""
        if not self._asked:
            self._quiet_since = time.monotonic()
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    def answered(self) -> None:
        """The engine has answered something."""
        self._quiet_since = time.monotonic()
        self._out_of_time.clear()
        self._changed.set()

    def timed_out(self, page: Hashable) -> None:
        """An attempt at a page took all its time. Raises EngineDead."""
        self._out_of_time.add(page)
        self._changed.set()
        self._check()

    async def blame(self, page: Hashable) -> None:
        """Return when a page that is out of time may be blamed for it: when the engine answers another, or
        no other is there to tell. Raises EngineDead.

        The other pages must be able to go on meanwhile; it lasts no longer than one of them may take.
        """
        self._held += 1
        try:
            while page in self._out_of_time and self._open > self._held:
                self._changed.clear()
                await self._changed.wait()
                self._check()
        finally:
            self._held -= 1

    def _check(self) -> None:
        quiet_s = time.monotonic() - self._quiet_since
        if len(self._out_of_time) >= PAGES_OUT_OF_TIME and quiet_s >= QUIET_SHARE * self._limit_s:
            raise EngineDead(
                f"the engine answers nothing: several pages took {self._limit_s:g} s each, and none was "
                f"answered for {quiet_s:.3g} s (engine.page_timeout_s is what a page may take)"
            )
