"""Logs in the store: worth having, never worth a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from manifests.errors import StoreError
from results.store import Store

PAUSE_S = 60.0
_LOGGER = logging.getLogger("pagefleet")


class BestEffortLog:
    """Writes log objects; where the store does not take one it says so, and goes on without for a while.

    A store that is down is asked once in ``PAUSE_S``, since each attempt may take as long as its retries.
    """

    def __init__(self, store: Store, warn: Callable[[str], None] = _LOGGER.warning) -> None:
        self._store = store
        self._warn = warn
        self._again = 0.0

    def write(self, path: str, data: bytes) -> bool:
        """Write over what is there; tells whether it was written."""
        if time.monotonic() < self._again:
            return False
        try:
            self._store.replace(path, data)
        except StoreError as error:
            self._again = time.monotonic() + PAUSE_S
            self._warn(f"log {path} was not written, the run goes on without it: {error}")
            return False
        return True
