"""Tells a page that hangs from an engine that does, by what becomes of the other pages."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from manifests.errors import EngineDead

PAGES_OUT_OF_TIME = 2
"""Different pages, one after the other, that took all their time while no page at all was answered."""


class Liveness:
    """Watches an engine that gives up requests one by one, whose hang would look like many bad pages.

    One page out of time may be the page's fault. As soon as another is out of time too, and the engine has
    answered nothing since, it is the engine's: EngineDead, and no page is blamed.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._out_of_time: set[Hashable] = set()
        self._open = 0
        self._held = 0
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

    def answered(self) -> None:
        """The engine has answered a page, be it with a refusal."""
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
        if len(self._out_of_time) >= PAGES_OUT_OF_TIME:
            raise EngineDead(
                f"the engine answers nothing: {len(self._out_of_time)} pages took {self._limit_s:g} s each, "
                "and no other was answered in that time (engine.page_timeout_s is what a page may take)"
            )
