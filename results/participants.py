"""Who is at work on an output: one object for each process, kept alive by one heartbeat.

``claims/job/<name>.json`` says who a process is and what it wants of the output. A process that was
taken for dead finds its object deleted and never gets that name back: what hangs on the name (the claims
of units, the right to open one) is over from that moment, on any number of machines.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from typing import Any

from results.owner import Owner
from results.store import Created, Entry, Store

LEASE_S = 60.0
BEATS_PER_LEASE = 4
FOLDER = "claims/job/"

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a job does to an output. Jobs with equal purposes share it, others wait or are refused.

    ``inputs`` digests what is read and how it is cut into units, ``settings`` is the fingerprint.
    """

    task: str
    inputs: str = ""
    settings: str = ""

    @classmethod
    def from_json(cls, fields: Any) -> Purpose | None:
        """None for what is not ours, or of another version."""
        try:
            return cls(**fields) if fields else None
        except TypeError:
            return None


@dataclass(frozen=True, slots=True)
class Participant:
    """The content of ``claims/job/<name>.json``. ``beat`` grows with time."""

    owner: Owner
    purpose: Purpose
    beat: int = 0

    def encode(self) -> bytes:
        fields = {"owner": asdict(self.owner), "purpose": asdict(self.purpose), "beat": self.beat}
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, data: bytes) -> Participant | None:
        """None for what is not ours, or of another version."""
        try:
            fields = json.loads(data)
            purpose = Purpose.from_json(fields["purpose"])
            return None if purpose is None else cls(Owner(**fields["owner"]), purpose, fields["beat"])
        except (ValueError, KeyError, TypeError):
            return None


class Presence:
    """This process among those at work. Its heart beats off the caller's thread, once ``start`` is called."""

    def __init__(self, store: Store, owner: Owner, purpose: Purpose, lease_s: float) -> None:
        self._store = store
        self._participant = Participant(owner, purpose)
        self._lease_s = lease_s
        self._names = 0
        self._version = ""
        self._lost = threading.Event()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The name we are at work under; another one after each announcement."""
        return f"{self._participant.owner.run_id}.{self._names}"

    @property
    def is_lost(self) -> bool:
        """Whether somebody took us for dead, as far as we know. ``is_current`` asks the store."""
        return self._lost.is_set()

    def announce(self) -> None:
        """Be seen by the others, under a name of its own."""
        with self._lock:
            while True:
                self._names += 1
                self._participant = replace(self._participant, beat=0)
                created = self._store.create(self._path, self._participant.encode())
                found = self._store.read(self._path) if created is Created.CREATED else None
                if found is not None:
                    self._version = found[1]
                    self._lost.clear()
                    return

    def start(self) -> None:
        """Let the heart beat by itself."""
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._thread.start()

    def is_current(self) -> bool:
        """Ask the store whether nobody has taken us for dead."""
        if not self._lost.is_set() and self._store.read(self._path) is None:
            self._lost.set()
        return not self._lost.is_set()

    def beat(self) -> None:
        """Give a sign of life. One that cannot be stored is harmless: the next one tries again."""
        with self._lock:
            if self._lost.is_set():
                return
            renewed = replace(self._participant, beat=self._participant.beat + 1)
            try:
                version = self._store.replace(self._path, renewed.encode(), if_match=self._version)
            except Exception:  # noqa: BLE001 - whatever it is, the job's own writes will tell
                return
            if version is None:
                self._lost.set()
            else:
                self._participant, self._version = renewed, version

    def leave(self) -> None:
        """Stop the heart and be seen no more. Raises StoreError."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._names:
            self._store.delete(self._path)

    @property
    def _path(self) -> str:
        return f"{FOLDER}{self.name}.json"

    def _beat_on(self) -> None:
        while not self._stop.wait(self._lease_s / BEATS_PER_LEASE):
            self.beat()


class Life(Enum):
    """What an observer knows of another process."""

    ALIVE = auto()
    UNSURE = auto()
    """It shows no sign of life yet, and may be dead on another machine."""
    GONE = auto()
    """Its process is known to be dead, or nothing was heard of it for a whole lease."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another process at work on the output."""

    name: str
    owner: Owner | None
    purpose: Purpose | None
    life: Life

    def __str__(self) -> str:
        return str(self.owner or f"run {self.name}")


@dataclass(slots=True)
class _Seen:
    version: str
    since: float
    participant: Participant | None
    moved: bool = False


class Peers:
    """The other processes, judged on our own clock: clocks are never compared between machines.

    Silence counts only while we look: a store that answers nobody for an hour makes nobody dead.
    """

    def __init__(self, store: Store, lease_s: float, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._last_look = clock()

    def look(self, entries: Iterable[Entry], mine: str) -> list[Peer]:
        """Who else is there, by a listing of ``claims/``."""
        now = self._clock()
        if now - self._last_look > self._lease_s / 2:
            for seen in self._seen.values():
                seen.since = now
        self._last_look = now
        listed = {name: entry.version for entry in entries if (name := participant_name(entry)) != ""}
        self._seen = {name: seen for name, seen in self._seen.items() if name in listed}
        found = [self._peer(name, version, now) for name, version in listed.items() if name != mine]
        return [peer for peer in found if peer is not None]

    def remove(self, gone: Iterable[Peer]) -> None:
        """Delete the objects of those who are gone: should one live after all, it learns that it lost."""
        for peer in gone:
            self._store.delete(f"{FOLDER}{peer.name}.json")
            self._seen.pop(peer.name, None)

    def _peer(self, name: str, version: str, now: float) -> Peer | None:
        seen = self._seen.get(name)
        if seen is None:
            found = self._store.read(f"{FOLDER}{name}.json")
            if found is None:
                return None  # it left since it was listed
            seen = self._seen[name] = _Seen(version, now, Participant.decode(found[0]))
        elif seen.version != version:
            seen.version, seen.since, seen.moved = version, now, True
        participant = seen.participant
        owner = participant.owner if participant else None
        purpose = participant.purpose if participant else None
        return Peer(name, owner, purpose, self._life(seen, owner, now))

    def _life(self, seen: _Seen, owner: Owner | None, now: float) -> Life:
        if now - seen.since > self._lease_s or (owner is not None and owner.is_known_dead()):
            return Life.GONE
        if seen.moved or (owner is not None and owner.is_known_alive()):
            return Life.ALIVE
        return Life.UNSURE


def participant_name(entry: Entry) -> str:
    """The participant an object below ``claims/`` stands for, or ''."""
    inside = entry.path.removeprefix(FOLDER)
    return inside.removesuffix(".json") if inside != entry.path and "/" not in inside else ""


def list_participants(store: Store) -> Iterator[Entry]:
    """The objects of all processes that say they are at work."""
    return store.list(FOLDER)
