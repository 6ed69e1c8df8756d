"""Claims of units: who reads what. One mechanism for a job submitted twice, shards, and clusters.

A claim covers a block of units: ``claims/e<epoch>/<block>.json``, created once, naming a participant, and
never changed but by a takeover. What keeps it alive is the participant's own object, whatever the number
of units it holds; a claim whose participant is gone may be taken by anybody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from manifests.errors import PagefleetError
from results.participants import Life, Peers, Presence, participant_name
from results.store import Created, Entry, Store

ANOTHER = "another process"
FEW_UNITS = 1024
BLOCKS = 2520
"""Divided by every number of shards up to 10, so that a block is of one shard."""
MANY_UNITS = 100_000
MANY_BLOCKS = 27_720
"""Divided by every number of shards up to 12."""
READ_THREADS = 8


def blocks_for(units: int) -> int:
    """Into how many blocks so many units fall; 0: each is one of its own."""
    if units <= FEW_UNITS:
        return 0
    return BLOCKS if units <= MANY_UNITS else MANY_BLOCKS


def block_of(unit_id: str, blocks: int) -> str:
    """The block of a unit: of its id alone, so that every process of a job agrees."""
    return f"{int(unit_id, 16) % blocks:05d}" if blocks else unit_id


def epoch_folder(epoch: int) -> str:
    return f"claims/e{epoch:06d}/"


def epoch_of(path: str) -> int | None:
    """The epoch of a unit's claim, None for other objects. Claims as earlier versions wrote them count as
    of before the first."""
    parts = path.split("/")
    if len(parts) == 2:
        return -1
    number = parts[1].removeprefix("e")
    return int(number) if len(parts) == 3 and number.isdigit() and parts[1].startswith("e") else None


class Claims:
    """The claims of one process.

    What others hold is looked up in the background, by one listing of ``claims/`` every ``look_s``, and
    only while there is something to wait for: asking again for a unit that is held costs no request.
    A takeover can be wrong (an owner that was paused): sealing is create-once, so that does no harm.
    """

    def __init__(
        self,
        store: Store,
        presence: Presence,
        peers: Peers,
        *,
        epoch: int,
        blocks: int,
        look_s: float,
        rejoin: Callable[[], None],
    ) -> None:
        self._store = store
        self._presence = presence
        self._peers = peers
        self._folder = epoch_folder(epoch)
        self._blocks = blocks
        self._look_s = look_s
        self._rejoin = rejoin
        self._planned: dict[str, set[str]] = {}
        self._held: dict[str, set[str]] = {}
        self._elsewhere: set[str] = set()
        self._passed: set[str] = set()
        self._asked: set[str] = set()
        self._abandoned: dict[str, str] = {}
        self._holders: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def expect(self, unit_ids: Iterable[str]) -> None:
        """The units this process means to work on: a block is given back when all of its are done."""
        for unit_id in unit_ids:
            self._planned.setdefault(block_of(unit_id, self._blocks), set()).add(unit_id)

    def start(self) -> None:
        """Look at what others hold now, and from then on while something is waited for."""
        self.look()
        self._thread = threading.Thread(target=self._look_on, name="claims", daemon=True)
        self._thread.start()

    def acquire(self, unit_id: str) -> str | None:
        """Try to claim a unit: None when it is ours now, otherwise who holds it.

        A unit that was asked for before is waited for: from then on its holder is watched.
        """
        block = block_of(unit_id, self._blocks)
        with self._lock:
            if block in self._held:
                self._held[block].add(unit_id)
                return None
            if block in self._elsewhere:
                if unit_id in self._passed and block not in self._asked:
                    self._asked.add(block)
                    self._due.set()
                self._passed.add(unit_id)
                return ANOTHER
            abandoned = self._abandoned.pop(block, None)
        if self._take(block, abandoned):
            with self._lock:
                self._held[block] = {unit_id, *self._planned.get(block, ())}
            return None
        with self._lock:
            self._elsewhere.add(block)
            self._passed.add(unit_id)
        return ANOTHER

    def release(self, unit_id: str) -> None:
        """The unit is done. Its block is given back with the last of them; should the store fail, that
        is left to whoever clears up."""
        block = block_of(unit_id, self._blocks)
        with self._lock:
            left = self._held.get(block)
            if left is None:
                return
            left.discard(unit_id)
            if left:
                return
            del self._held[block]
        with suppress(PagefleetError):
            self._store.delete(self._path(block))

    def lost(self) -> set[str]:
        """Units that are no longer ours, since this process was taken for dead.

        Raises JobError when the whole output is another job's by now.
        """
        if not self._presence.is_lost:
            return set()
        with self._lock:
            lost = {unit_id for units in self._held.values() for unit_id in units}
            self._elsewhere.update(self._held)
            self._held.clear()
        self._rejoin()
        return lost

    def release_all(self) -> None:
        """Stop looking. What is not done yet is free once the participant left. Never raises."""
        self._stop.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """See what became free, and whose owner is gone. Raises StoreError."""
        with self._lock:
            asked = set(self._asked)
        entries = list(self._store.list("claims/"))
        blocks = {b: e for e in entries if (b := self._block(e)) is not None}
        peers = self._peers.look(entries, self._presence.name)
        gone = [peer for peer in peers if peer.life is Life.GONE]
        self._peers.remove(gone)
        # Units sort before participants: who was listed with a claim and not after it has left.
        here = {name for entry in entries if (name := participant_name(entry))} - {p.name for p in gone}
        wanted = [(block, entry) for block, entry in blocks.items() if block in asked]
        self._read_holders(wanted)
        with self._lock:
            self._elsewhere.update(blocks.keys() - self._held.keys() - self._abandoned.keys())
            for block in [block for block in self._elsewhere if block not in blocks]:
                self._forget(block)
            for block, entry in wanted:
                version, holder = self._holders.get(block, ("", ""))
                if version == entry.version and holder not in here and block in self._elsewhere:
                    self._forget(block)
                    self._abandoned[block] = version

    def _forget(self, block: str) -> None:
        self._elsewhere.discard(block)
        self._asked.discard(block)

    def _take(self, block: str, abandoned: str | None) -> bool:
        data = json.dumps({"participant": self._presence.name}).encode()
        if abandoned is not None:
            return self._store.replace(self._path(block), data, if_match=abandoned) is not None
        return self._store.create(self._path(block), data) is Created.CREATED

    def _read_holders(self, wanted: Iterable[tuple[str, Entry]]) -> None:
        """A claim does not change under its version, so each is read once."""
        unknown = [(b, e) for b, e in wanted if self._holders.get(b, ("", ""))[0] != e.version]
        if not unknown:
            return
        with ThreadPoolExecutor(READ_THREADS) as threads:
            for (block, _), found in zip(
                unknown, threads.map(lambda item: self._store.read(item[1].path), unknown), strict=True
            ):
                if found is not None:
                    self._holders[block] = (found[1], _participant_in(found[0]))

    def _block(self, entry: Entry) -> str | None:
        inside = entry.path.removeprefix(self._folder)
        return None if inside == entry.path else inside.removesuffix(".json")

    def _path(self, block: str) -> str:
        return f"{self._folder}{block}.json"

    def _look_on(self) -> None:
        while not self._stop.is_set():
            self._due.wait()
            self._due.clear()
            while not self._stop.is_set() and self._waits():
                with suppress(Exception):  # a look that fails is made again
                    self.look()
                self._stop.wait(self._look_s)

    def _waits(self) -> bool:
        with self._lock:
            return bool(self._asked)


def _participant_in(data: bytes) -> str:
    try:
        return str(json.loads(data)["participant"])
    except (ValueError, KeyError, TypeError):
        return ""
