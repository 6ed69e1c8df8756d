"""The claim of an output for one set of inputs and settings: who may plan, write and read here.

It stands in ``job.json`` itself, which is replaced only under its version: of any two processes that
would enter, leave or plan at once, one comes first and the other looks again. Together with the objects
of ``results.participants`` it is exact, whatever is killed or paused when:

- A process is seen (``claims/job/<name>.json``) before it enters, and entering changes ``job.json``. Who
  changes the purpose lists those at work after reading ``job.json``: either it sees the other, or the
  other's entering has spoiled the version it would replace.
- Who changes the purpose first deletes the objects of those that are gone. If such a process was only
  paused, all it may still do is what it asked for (``is_current``) before that: so a unit's plan is stored
  *before* the process asks, and whoever comes next finds it and leaves its documents to that unit.
- Each purpose has an epoch of its own, whose claims of units lie in a folder of their own: what a late
  process creates or deletes there is nobody's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any

from manifests.errors import JobError, OutputRefused, PagefleetError
from results.claims import Claims, blocks_for, epoch_of
from results.owner import Owner
from results.participants import LEASE_S, Life, Peer, Peers, Presence, Purpose, list_participants
from results.store import Created, Store, keeps_conditions

PATH = "job.json"
POLL_S = 0.5
"""How often a process that waits for another looks again."""

OTHER_INPUTS = "another job is at work on this output with other inputs ({holder})"
OTHER_SETTINGS = "another job is at work on this output with other settings ({holder})"
OTHER_TASK = "another job is at work on this output ({holder}: {task})"
UNSHARED = (
    "{root} ignores the conditions of writes (If-None-Match, If-Match), so that two processes could both "
    "take the same work: such an output cannot be shared; run one job at a time, without --num-shards, or "
    "choose a server that heeds them"
)
BESIDE_UNSHARED = (
    "{holder} is at work on this output, which cannot be shared, since its server ignores If-None-Match"
)
UNSAFE = (
    "warning: {root} ignores the conditions of writes (If-None-Match, If-Match): run one job at a time on "
    "this output"
)
REMEDY = ": wait for it to end, or choose another output"
WAITING = (
    "waiting for {holder}, which may be dead: in {lease_s:g} s without a sign of life its place is taken"
)
TAKEN_OVER = (
    "this run gave no sign of life for a while, was taken for dead, and another job has taken over {root}: "
    "what was finished is stored; once that job has ended, run the same command again"
)

Settle = Callable[[bytes | None], dict[str, Any]]
"""From the stored ``job.json`` to its fields as this job wants them; raises OutputRefused."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The part of ``job.json`` that says whose the output is.

    ``serial`` counts its changes, ``epoch`` is the serial with which its purpose began, ``planner`` the
    participant that plans alone, ``cut`` how the first to plan in this epoch found the input to be cut
    ('' until then): all that follow must cut alike.
    """

    purpose: Purpose | None = None
    epoch: int = 0
    serial: int = 0
    blocks: int = 0
    planner: str = ""
    cut: str = ""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Standing:
        found = fields.get("claim")
        if not isinstance(found, dict):
            return cls()
        epoch, serial, blocks = (int(found.get(name, 0)) for name in ("epoch", "serial", "blocks"))
        planner, cut = (str(found.get(name, "")) for name in ("planner", "cut"))
        return cls(Purpose.from_json(found.get("purpose")), epoch, serial, blocks, planner, cut)

    def begun(self, purpose: Purpose | None, blocks: int = 0) -> Standing:
        """The same output for another purpose, or for none."""
        return Standing(purpose, self.serial + 1, self.serial + 1, blocks)

    def changed(self, **fields: Any) -> Standing:
        return replace(self, serial=self.serial + 1, **fields)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a process claims. ``units`` is how many there are to claim, which decides how many one claim
    covers; ``means_to_share`` that others of its purpose are expected."""

    lease_s: float = LEASE_S
    units: int = 1
    means_to_share: bool = False


class JobClaim:
    """One process's share in the claim of an output, from ``enter`` to ``leave``."""

    def __init__(self, store: Store, owner: Owner, purpose: Purpose, terms: Terms | None = None) -> None:
        self._store = store
        self._purpose = purpose
        self._terms = terms or Terms()
        self._lease_s = lease_s = self._terms.lease_s
        self._presence = Presence(store, owner, purpose, lease_s)
        self._peers = Peers(store, lease_s)
        self.standing = Standing()
        self.joined_others = False

    def enter(self, settle: Settle, wait: Callable[[float], bool], on_message: Callable[[str], None]) -> bool:
        """Make the output ours, or share it with jobs of the same purpose.

        Waits for processes that may be dead; ``wait`` pauses and tells whether to stop, then False is
        returned. Raises OutputRefused beside a job of another purpose, or when ``settle`` does.
        """
        stored = self._store.read(PATH)
        settle(stored[0] if stored else None)  # before anything is written: what will not do leaves no trace
        if not (conditional := keeps_conditions(self._store)):
            if self._terms.means_to_share:
                raise OutputRefused(UNSHARED.format(root=self._store.root))
            on_message(UNSAFE.format(root=self._store.root))
        self._presence.announce()
        self._presence.start()
        announced: set[str] = set()
        while True:
            blocker = self._try_to_enter(settle, conditional)
            if blocker is None:
                return True
            if blocker.life is Life.ALIVE:
                raise self._refusal(blocker, conditional)
            if blocker.name not in announced:
                announced.add(blocker.name)
                on_message(WAITING.format(holder=blocker, lease_s=self._lease_s))
            if wait(min(POLL_S, self._lease_s / 4)):
                return False

    def is_current(self) -> bool:
        """Whether nobody has taken us for dead. What was stored before a yes counts for whoever is next."""
        return self._presence.is_current()

    def units(self) -> Claims:
        """Claims of the units of this job."""
        standing = self.standing
        return Claims(
            self._store,
            self._presence,
            Peers(self._store, self._lease_s),
            epoch=standing.epoch,
            blocks=standing.blocks,
            look_s=min(2.0, self._lease_s / 4),
            rejoin=self.rejoin,
        )

    @contextmanager
    def planning_alone(self, wait: Callable[[float], bool]) -> Iterator[int | None]:
        """For a cut that depends on what the output holds: nobody else of this job plans meanwhile.

        Yields the planning's number, by which a later plan of a document outranks an earlier one; None
        when ``wait`` told to stop.
        """
        while not (mine := self._update(self._take_planning)):
            if wait(min(POLL_S, self._lease_s / 4)):
                break
        try:
            yield self.standing.serial if mine else None
        finally:
            if mine:
                with suppress(PagefleetError):  # the error under way matters more
                    self._update(lambda now: now.changed(planner="") if now.planner == self._name else now)

    def planned(self, cut: str) -> bool:
        """The planning that we do alone is done; from now on everybody cuts like this. False when it does
        not count, since another process took us for dead meanwhile and plans too."""
        name = self._name
        return self._update(lambda now: now.changed(planner="", cut=cut) if now.planner == name else None)

    def rejoin(self) -> None:
        """Be seen again, under another name, after somebody took us for dead.

        Raises JobError when the output is another job's by now.
        """
        self._presence.announce()
        self._update(Standing.changed)

    def own_offset(self, size: int) -> int:
        """Where this process begins in a list of this size, so that several do not meet at once."""
        digest = blake2b(self._name.encode(), digest_size=8).digest()
        return int.from_bytes(digest) % max(1, size)

    def leave(self) -> None:
        """Let go of everything. Never raises: what a failing store keeps is cleared by the next job."""
        with suppress(Exception):  # whatever it is, an error under way matters more, and others get over it
            self._presence.leave()
            self._close_if_last()

    @property
    def _name(self) -> str:
        return self._presence.name

    # Entering

    def _try_to_enter(self, settle: Settle, conditional: bool) -> Peer | None:
        """None when we are in, otherwise who stands in the way."""
        while True:
            found = self._store.read(PATH)
            fields = settle(found[0] if found else None)
            standing = Standing.of(json.loads(found[0])) if found else Standing()
            peers = self._peers.look(list_participants(self._store), self._name)
            here = [p for p in peers if p.life is not Life.GONE]
            if conditional:
                here = [p for p in here if p.purpose == standing.purpose or p.purpose is None]
            here.sort(key=lambda peer: peer.life is not Life.ALIVE)
            self._peers.remove(p for p in peers if p.life is Life.GONE)
            if here and conditional and standing.purpose == self._purpose:
                entered = standing.changed()
            elif here:
                return here[0]
            else:
                entered = standing.begun(self._purpose, blocks_for(self._terms.units))
            if self._write(fields, entered, found[1] if found else None):
                self.joined_others = bool(here)
                if not here:
                    _clear_epochs(self._store, entered.epoch)
                return None

    def _write(self, fields: dict[str, Any], standing: Standing, version: str | None) -> bool:
        data = json.dumps(
            {**fields, "claim": asdict(standing)}, indent=2, ensure_ascii=False, default=str
        ).encode()
        if version is None:
            done = self._store.create(PATH, data) is Created.CREATED
        else:
            done = self._store.replace(PATH, data, if_match=version) is not None
        if done:
            self.standing = standing
        return done

    def _refusal(self, peer: Peer, conditional: bool) -> OutputRefused:
        theirs = peer.purpose
        if not conditional:
            text = BESIDE_UNSHARED.format(holder=peer)
        elif theirs is None or theirs.task != self._purpose.task:
            text = OTHER_TASK.format(holder=peer, task=theirs.task if theirs else "of another version")
        elif theirs.settings != self._purpose.settings:
            text = OTHER_SETTINGS.format(holder=peer)
        else:
            text = OTHER_INPUTS.format(holder=peer)
        return OutputRefused(text + REMEDY)

    # Once entered

    def _take_planning(self, now: Standing) -> Standing | None:
        if now.planner and now.planner != self._name:
            peers = self._peers.look(list_participants(self._store), self._name)
            planner = next((peer for peer in peers if peer.name == now.planner), None)
            if planner is not None and planner.life is not Life.GONE:
                return None
            self._peers.remove([planner] if planner else [])
        return now.changed(planner=self._name)

    def _update(self, change: Callable[[Standing], Standing | None]) -> bool:
        """Change our job's standing; False when ``change`` says not now. Raises JobError if the output is
        another's by now."""
        while True:
            found = self._store.read(PATH)
            fields = json.loads(found[0]) if found else {}
            standing = Standing.of(fields)
            if found is None or (standing.purpose, standing.epoch) != (self._purpose, self.standing.epoch):
                raise JobError(TAKEN_OVER.format(root=self._store.root))
            changed = change(standing)
            if changed is None:
                return False
            if changed == standing or self._write(fields, changed, found[1]):
                return True

    # Leaving

    def _close_if_last(self) -> None:
        """Mark the output as nobody's, so that what lies in this epoch's folder can be cleared away."""
        found = self._store.read(PATH)
        if found is None:
            return
        fields = json.loads(found[0])
        standing = Standing.of(fields)
        if (standing.purpose, standing.epoch) != (self._purpose, self.standing.epoch):
            return
        peers = self._peers.look(list_participants(self._store), "")
        if any(peer.life is not Life.GONE for peer in peers):
            return
        self._peers.remove(peers)
        if self._write(fields, standing.begun(None), found[1]):
            _clear_epochs(self._store, self.standing.epoch)


def _clear_epochs(store: Store, before: int) -> None:
    """Delete the claims of units of earlier epochs: nobody works by them any more."""
    for entry in list(store.list("claims/")):
        epoch = epoch_of(entry.path)
        if epoch is not None and epoch < before:
            store.delete(entry.path)
