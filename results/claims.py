"""Claims: who is at work on a unit. One mechanism for a job submitted twice, shards, and clusters."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from results.store import Created, Store

LEASE_S = 60.0
BEATS_PER_LEASE = 4


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that claims. ``inputs`` digests what it was asked to read."""

    run_id: str
    inputs: str
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: float

    @classmethod
    def this_process(cls, run_id: str, inputs: str) -> Owner:
        return cls(
            run_id=run_id,
            inputs=inputs,
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
        )

    def __str__(self) -> str:
        return f"run {self.run_id}, process {self.pid} on {self.host}"

    def is_known_dead(self) -> bool:
        """True only when this machine can tell: same boot, same process namespace, no such process."""
        return self._is_of_this_machine() and not self._runs()

    def is_known_alive(self) -> bool:
        """True only when this machine can tell."""
        return self._is_of_this_machine() and self._runs()

    def _is_of_this_machine(self) -> bool:
        return bool(self.boot_id) and (self.boot_id, self.pid_namespace) == (_boot_id(), _pid_namespace())

    def _runs(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            started_then = abs(process.create_time() - self.started) <= 1.0
            return bool(started_then and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, slots=True)
class Claim:
    """The content of ``claims/<unit>.json``. ``epoch`` grows with every takeover, ``beat`` with time."""

    owner: Owner
    epoch: int = 1
    beat: int = 0

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Claim:
        fields: dict[str, Any] = json.loads(data)
        return cls(Owner(**fields["owner"]), fields["epoch"], fields["beat"])


class Claims:
    """The claims one process holds, kept alive by a heartbeat thread.

    A claim of another process is taken over when its process is known to be dead, or when nothing
    about it changed for ``lease_s`` on our own clock; clocks are never compared between machines.
    A takeover can be wrong (a paused owner): sealing is create-once, so that does no harm.
    """

    def __init__(self, store: Store, owner: Owner, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._owner = owner
        self._lease_s = lease_s
        self._held: dict[str, tuple[Claim, str]] = {}
        self._seen: dict[str, tuple[str, float]] = {}
        self._beating: set[str] = set()
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="claims", daemon=True)
        self._thread.start()

    def acquire(self, unit_id: str) -> Owner | None:
        """Try to claim a unit: None when it is ours now, otherwise who holds it."""
        path = _path(unit_id)
        claim = Claim(self._owner)
        if self._store.create(path, claim.encode()) is Created.CREATED:
            found = self._store.read(path)
            if found is None:  # someone took us for dead and released it again
                return self.acquire(unit_id)
            holder = Claim.decode(found[0]).owner
            if holder != self._owner:
                return holder
            self._hold(unit_id, claim, found[1])
            return None
        found = self._store.read(path)
        if found is None:  # released between the two calls
            return self.acquire(unit_id)
        theirs = Claim.decode(found[0])
        if not self._is_abandoned(unit_id, theirs, found[1]):
            return theirs.owner
        claim = Claim(self._owner, epoch=theirs.epoch + 1)
        version = self._store.replace(path, claim.encode(), if_match=found[1])
        if version is None:
            return theirs.owner
        self._hold(unit_id, claim, version)
        return None

    def is_alive(self, unit_id: str, holder: Owner) -> bool:
        """Whether the holder that ``acquire`` told of is known to be at work: its process runs here, or
        its claim changed since we first asked. If neither, its claim may yet turn out to be abandoned."""
        return unit_id in self._beating or holder.is_known_alive()

    def release(self, unit_id: str) -> None:
        """Give a unit back. Leaves the file alone when another process has taken it over."""
        with self._lock:
            if self._held.pop(unit_id, None) is None:
                return
        found = self._store.read(_path(unit_id))
        if found is not None and Claim.decode(found[0]).owner == self._owner:
            self._store.delete(_path(unit_id))

    def release_all(self) -> None:
        """Stop the heartbeat and give everything back."""
        self._stop.set()
        self._thread.join()
        for unit_id in list(self._held):
            self.release(unit_id)

    def lost(self) -> set[str]:
        """Units another process took over since the last call."""
        with self._lock:
            lost, self._lost = self._lost, set()
        return lost

    def _hold(self, unit_id: str, claim: Claim, version: str) -> None:
        with self._lock:
            self._held[unit_id] = (claim, version)
            self._seen.pop(unit_id, None)

    def _is_abandoned(self, unit_id: str, claim: Claim, version: str) -> bool:
        if claim.owner == self._owner or claim.owner.is_known_dead():
            return True
        now = time.monotonic()
        seen_version, since = self._seen.get(unit_id, ("", now))
        if seen_version != version:
            self._seen[unit_id] = (version, now)
            if seen_version:
                self._beating.add(unit_id)
            return False
        return now - since > self._lease_s

    def _beat(self) -> None:
        while not self._stop.wait(self._lease_s / BEATS_PER_LEASE):
            with self._lock:
                held = dict(self._held)
            for unit_id, (claim, version) in held.items():
                self._renew(unit_id, claim, version)

    def _renew(self, unit_id: str, claim: Claim, version: str) -> None:
        renewed = replace(claim, beat=claim.beat + 1)
        try:
            now_at = self._store.replace(_path(unit_id), renewed.encode(), if_match=version)
        except Exception:  # noqa: BLE001 - a missed beat is harmless; the next one tries again
            return
        with self._lock:
            if self._held.get(unit_id) != (claim, version):
                return  # released, or released and claimed anew, since this beat began
            if now_at is not None:
                self._held[unit_id] = (renewed, now_at)
            else:
                del self._held[unit_id]
                self._lost.add(unit_id)


def at_work(store: Store) -> Iterator[Owner]:
    """Who holds a claim in this output, but for processes known to be dead."""
    for entry in store.list("claims/"):
        if (found := store.read(entry.path)) is not None:
            owner = Claim.decode(found[0]).owner
            if not owner.is_known_dead():
                yield owner


def _path(unit_id: str) -> str:
    return f"claims/{unit_id}.json"


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _pid_namespace() -> str:
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""
