"""Sources that do not answer and engines that wait: when to ask again, when to say so, when to stop.

Pure: the time is passed in. A source's *place* is its bucket, or the first folders of its path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 20.0
DOWN_AFTER = 2
"""Documents of a place, none answering in between, before nothing more of it is asked for."""
MAX_TRIES = 4
"""Documents that are asked for again at a time while others of their place answer."""
LOCAL_DEPTH = 3
NEWS_FRESH_S = 60.0
"""How long an engine is believed to wait after it last said so."""
SAY_AGAIN_S = 60.0


def place_of(uri: str) -> str:
    """What fails together with a source: its bucket or server, or its first folders."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        return f"{scheme}://{rest.partition('/')[0]}"
    folder = (rest if separator else uri).rpartition("/")[0]
    return "/".join(folder.split("/")[:LOCAL_DEPTH])


def ask_again_after_s(attempt: int) -> float:
    """How long to wait after so many failed attempts."""
    return min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 16))


@dataclass(slots=True)
class _Place:
    """``failed`` are its documents that could not be looked at since one could."""

    since: float
    failed: set[Any] = field(default_factory=set)
    rounds: int = 0
    next_try: float = 0.0
    probing: bool = False

    @property
    def is_down(self) -> bool:
        return len(self.failed) >= DOWN_AFTER


@dataclass(slots=True)
class _Document:
    place: str
    since: float
    attempts: int = 0
    due: float = math.inf


@dataclass(frozen=True, slots=True)
class Waiting:
    """An outage as it stands: what was said last, how many wait, since when, and the next try."""

    message: str
    waiting: int
    since: float
    next_try: float


class SourceOutage:
    """Documents whose sources do not answer. Keys are whatever tells documents apart."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._places: dict[str, _Place] = {}
        self._documents: dict[Any, _Document] = {}
        self._message = ""

    def __len__(self) -> int:
        """How many documents wait, or are being asked for again."""
        return len(self._documents)

    def unavailable(self, key: Any, place: str, message: str, now: float) -> None:
        """A document could not be looked at."""
        self._message = message
        where = self._places.setdefault(place, _Place(since=now))
        where.failed.add(key)
        if where.probing or now >= where.next_try:
            where.rounds += 1
            where.next_try, where.probing = now + ask_again_after_s(where.rounds), False
        document = self._documents.setdefault(key, _Document(place, now))
        document.attempts += 1
        document.due = now + ask_again_after_s(document.attempts)

    def answered(self, key: Any, place: str) -> None:
        """A document could be looked at; with it, all of a place that was down may be asked for, except
        those that failed again and again by themselves."""
        self._documents.pop(key, None)
        where = self._places.pop(place, None)
        if where is not None and where.is_down:
            for document in self._documents.values():
                if document.place == place and document.attempts <= DOWN_AFTER:
                    document.due = 0.0

    def hold(self, key: Any, place: str, now: float) -> None:
        """A document of a place that is down waits without being asked for."""
        document = self._documents.setdefault(key, _Document(place, now))
        document.due = now + ask_again_after_s(document.attempts + 1)

    def is_down(self, place: str) -> bool:
        where = self._places.get(place)
        return where is not None and where.is_down

    def due(self, now: float) -> list[Any]:
        """Documents to ask for again now: all that are free, a few of those that failed by themselves, and
        one of a place that is down."""
        keys: list[Any] = []
        tries = sum(d.attempts > 0 and d.due == math.inf for d in self._documents.values())
        for key, document in self._documents.items():
            where = self._places.get(document.place)
            if where is not None and where.is_down:
                if now < where.next_try:
                    continue
                where.next_try, where.probing = now + MAX_PAUSE_S, True  # should the answer never come
            elif document.due > now or (document.due and tries >= MAX_TRIES):
                continue
            tries += bool(document.due)
            document.due = math.inf
            keys.append(key)
        return keys

    def drop(self, is_gone: Callable[[Any], bool]) -> None:
        """Forget documents that are nobody's any more."""
        self._documents = {key: d for key, d in self._documents.items() if not is_gone(key)}
        left = {document.place for document in self._documents.values()}
        self._places = {place: where for place, where in self._places.items() if place in left}

    @property
    def waiting(self) -> Waiting | None:
        """The outage as it stands, None when there is none."""
        if not self._documents:
            return None
        down = [where for where in self._places.values() if where.is_down]
        since = min([where.since for where in down] or [d.since for d in self._documents.values()])
        tries = [where.next_try for where in down] or [d.due for d in self._documents.values()]
        return Waiting(self._message, len(self._documents), since, min(tries))

    def overdue(self, now: float) -> str:
        """Why the job must stop when nothing else is left to do, '' while it may wait."""
        waiting = self.waiting
        if waiting is None or now - waiting.since < self._limit_s:
            return ""
        return (
            f"sources have not answered for {now - waiting.since:.0f} s: {waiting.message}. "
            f"{waiting.waiting} documents wait for them, none was condemned: see that they can be read and "
            "run the same command"
        )


class EngineWaits:
    """What engines wait for, by replica, as their reports say."""

    def __init__(self) -> None:
        self._waits: dict[str, tuple[str, float, float]] = {}

    def on_waiting(self, replica: str, message: str, now: float) -> None:
        """A replica's engine waits."""
        since = self._waits[replica][1] if replica in self._waits else now
        self._waits[replica] = (message, since, now)

    def over(self, replica: str) -> None:
        """A replica finished a page, or is gone."""
        self._waits.pop(replica, None)

    def replicas(self, now: float) -> set[str]:
        """Replicas that said of late that their engine waits."""
        return {name for name, wait in self._waits.items() if now - wait[2] < NEWS_FRESH_S}

    def waiting(self, now: float) -> Waiting | None:
        """The wait as it stands, None when no engine said of late that it waits."""
        fresh = [wait for wait in self._waits.values() if now - wait[2] < NEWS_FRESH_S]
        if not fresh:
            self._waits.clear()
            return None
        message = max(fresh, key=lambda wait: wait[2])[0]
        return Waiting(message, len(fresh), min(since for _, since, _ in fresh), math.inf)


class Announcements:
    """When a state that lasts is worth a word: at once, and every so often."""

    def __init__(self) -> None:
        self._last_at: float | None = None

    def due(self, waiting: Waiting | None, now: float) -> bool:
        """Whether to say now that it lasts."""
        if waiting is None or (self._last_at is not None and now - self._last_at < SAY_AGAIN_S):
            return False
        self._last_at = now
        return True

    def ended(self, waiting: Waiting | None) -> bool:
        """Whether to say now that it is over, which is said once."""
        if waiting is not None or self._last_at is None:
            return False
        self._last_at = None
        return True
