"""Claims of units between the processes of one job: who holds a unit, and when another may take it over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from results.claims import ANOTHER, BLOCKS, Claims, block_of, blocks_for, epoch_of
from results.local_store import LocalStore
from results.owner import Owner
from results.participants import Life, Participant, Peers, Presence, Purpose
from results.store import Store
from tests.results.memory_store import MemoryStore

LEASE_S = 100.0
HERE = Owner.this_process("run")
FAR = replace(HERE, host="far", boot_id="another boot", run_id="far")
DEAD = replace(HERE, run_id="dead", pid=2**22 + 1)
PURPOSE = Purpose("ocr", "inputs", "settings")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """One process's claims, with a heart and eyes that only move when a test says so."""

    presence: Presence
    claims: Claims
    clock: Clock

    def acquire(self, unit_id: str) -> object | None:
        return self.claims.acquire(unit_id)

    def look(self, steps: int = 1, step_s: float = 0.0) -> None:
        for _ in range(steps):
            self.clock.now += step_s
            self.claims.look()


Make = Callable[..., Process]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(store: MemoryStore, clock: Clock) -> Make:
    return lambda owner=HERE, blocks=0: process_on(store, owner, clock, blocks)


def process_on(store: Store, owner: Owner, clock: Clock, blocks: int = 0) -> Process:
    presence = Presence(store, owner, PURPOSE, LEASE_S)
    presence.announce()
    peers = Peers(store, LEASE_S, clock)
    claims = Claims(store, presence, peers, epoch=1, blocks=blocks, look_s=1.0, rejoin=presence.announce)
    return Process(presence, claims, clock)


def test_a_unit_is_claimed_by_the_first_who_asks(make):
    mine, theirs = make(), make(FAR)
    assert mine.acquire("a1") is None
    assert mine.acquire("a1") is None, "asking again changes nothing"
    assert theirs.acquire("a1") == ANOTHER


def test_of_many_that_ask_at_once_one_gets_the_unit(tmp_path: Path, clock: Clock, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda fd: None)
    store = LocalStore(tmp_path / "out")
    askers = [process_on(store, replace(FAR, run_id=str(i)), clock) for i in range(6)]
    answers: list[object] = []
    threads = [threading.Thread(target=lambda c=c: answers.append(c.acquire("a1"))) for c in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 1


def test_a_unit_that_is_done_can_be_claimed_again_once_it_was_looked_at(make, store):
    mine, theirs = make(), make(FAR)
    mine.acquire("a1")
    assert theirs.acquire("a1") is not None
    mine.claims.release("a1")
    assert theirs.acquire("a1") is not None
    theirs.look()
    assert theirs.acquire("a1") is None
    mine.claims.release("never claimed")


def test_asking_again_for_what_others_hold_costs_no_request(make, store):
    mine, theirs = make(), make(FAR)
    units = [f"{number:x}" for number in range(100)]
    for unit_id in units:
        mine.acquire(unit_id)
    theirs.look()
    store.calls.clear()
    for _ in range(50):
        assert all(theirs.acquire(unit_id) for unit_id in units)
    assert store.calls.total() == 0
    theirs.look()
    assert store.calls["list"] == 1
    store.calls.clear()
    theirs.look()
    assert store.calls == {"list": 1}, "whose claim it is was read once"


def test_one_object_keeps_any_number_of_claims_alive(make, store):
    mine = make()
    for number in range(500):
        mine.acquire(f"{number:x}")
    store.calls.clear()
    mine.presence.beat()
    assert store.calls == {"replace": 1}


# Blocks


def test_a_claim_covers_a_block_which_is_given_back_with_the_last_of_its_units(make, store):
    mine, theirs = make(blocks=10), make(FAR, blocks=10)
    units = ["5", "f", "19"]  # 5, 15 and 25
    mine.claims.expect(units)
    assert [mine.acquire(unit_id) for unit_id in units] == [None] * 3
    assert store.calls["create"] == 1 + 2  # one claim, two participants
    mine.claims.release("5")
    mine.claims.release("19")
    theirs.look()
    assert theirs.acquire("5") == ANOTHER
    mine.claims.release("f")
    theirs.look()
    assert theirs.acquire("5") is None


@pytest.mark.parametrize(("units", "blocks"), [(1, 0), (1024, 0), (1025, BLOCKS), (10**6, 27_720)])
def test_few_units_are_claimed_one_by_one_and_many_in_blocks(units, blocks):
    assert blocks_for(units) == blocks


@pytest.mark.parametrize("shards", range(2, 11))
def test_a_block_is_of_one_shard(shards):
    for number in range(0, 10**6, 977):
        block = int(block_of(f"{number:x}", BLOCKS))
        assert number % shards == block % shards


def test_the_epoch_of_a_claim_is_in_its_path():
    paths = ["claims/e000007/00012.json", "claims/job/run.1.json", "claims/0123456789abcdef.json"]
    assert [epoch_of(path) for path in paths] == [7, None, -1]


# Takeover


def test_what_a_dead_process_of_this_machine_held_is_taken_over_at_once(make):
    make(DEAD).acquire("a1")
    mine = make()
    mine.look()
    assert mine.acquire("a1") is not None
    assert mine.acquire("a1") is not None, "asked for again: now it is looked into"
    mine.look()
    assert mine.acquire("a1") is None


def test_a_process_that_shows_no_life_for_a_lease_on_our_own_clock_is_gone(make):
    make(FAR).acquire("a1")
    mine = make()
    mine.acquire("a1")
    mine.acquire("a1")
    mine.look(9, step_s=11)
    assert mine.acquire("a1") == ANOTHER
    mine.look(2, step_s=11)
    assert mine.acquire("a1") is None


def test_a_lease_counts_from_when_we_first_saw_the_process_and_only_while_we_look(make, clock):
    make(FAR).acquire("a1")
    clock.now += 100 * LEASE_S
    mine = make()
    mine.acquire("a1")
    mine.acquire("a1")
    mine.look()
    mine.look(5, step_s=100 * LEASE_S)  # the store did not answer in between: silence proves nothing
    assert mine.acquire("a1") == ANOTHER


def test_a_process_whose_heart_beats_is_never_taken_for_dead(make):
    theirs, mine = make(FAR), make()
    theirs.acquire("a1")
    mine.acquire("a1")
    for _ in range(40):
        mine.look(step_s=0.4 * LEASE_S)
        theirs.presence.beat()
        assert mine.acquire("a1") == ANOTHER
    assert theirs.claims.lost() == set()


def test_an_owner_that_was_paused_learns_what_it_lost_and_goes_on_under_another_name(make):
    paused, mine = make(FAR), make()
    for unit_id in ("a1", "a2"):
        paused.acquire(unit_id)
        mine.acquire(unit_id)
        mine.acquire(unit_id)
    mine.look(11, step_s=11)
    assert mine.acquire("a1") is None
    assert not paused.presence.is_current()
    name = paused.presence.name
    assert paused.claims.lost() == {"a1", "a2"}
    assert paused.claims.lost() == set(), "told once"
    assert paused.presence.is_current()
    assert paused.presence.name != name
    for _ in range(2):
        assert paused.acquire("a1") == ANOTHER
        assert paused.acquire("a2") == ANOTHER
    paused.look()
    assert paused.acquire("a1") == ANOTHER
    assert paused.acquire("a2") is None, "nobody had taken it"


def test_of_two_that_take_over_at_once_one_gets_the_unit(make):
    make(DEAD).acquire("a1")
    first, second = make(replace(HERE, run_id="first")), make(replace(HERE, run_id="second"))
    for each in (first, second):
        each.acquire("a1")
        each.acquire("a1")
    first.look()
    second.look()
    assert [first.acquire("a1"), second.acquire("a1")] == [None, ANOTHER]


def test_a_claim_that_was_left_by_a_process_that_is_gone_is_taken_over(make):
    left = make(FAR)
    left.acquire("a1")
    left.presence.leave()
    mine = make()
    mine.acquire("a1")
    mine.acquire("a1")
    mine.look()
    assert mine.acquire("a1") is None


# The heart


def test_the_heart_beats_by_itself_several_times_a_lease(store):
    presence = Presence(store, HERE, PURPOSE, 0.04)
    presence.announce()
    presence.start()
    deadline = time.monotonic() + 20
    while beats(store, presence) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    presence.leave()
    assert presence.name == "run.1"
    assert not presence.is_lost
    assert store.objects == {}


def beats(store: MemoryStore, presence: Presence) -> int:
    found = Participant.decode(store.objects[f"claims/job/{presence.name}.json"][0])
    return found.beat if found else -1


def test_a_store_that_fails_for_one_beat_loses_nothing(make, store):
    mine = make()

    def fail(call: str, path: str) -> None:
        raise OSError("unreachable")

    store.before = fail
    mine.presence.beat()
    store.before = lambda call, path: None
    mine.presence.beat()
    assert mine.presence.is_current()
    assert beats(store, mine.presence) == 1


def test_a_process_whose_object_is_gone_notices_at_its_next_beat(make, store):
    mine = make()
    store.delete(f"claims/job/{mine.presence.name}.json")
    mine.presence.beat()
    assert mine.presence.is_lost


def test_giving_back_never_raises_whatever_the_store_does(make, store):
    mine = make()
    mine.acquire("a1")
    mine.claims.start()

    def fail(call: str, path: str) -> None:
        raise OSError("unreachable")

    store.before = fail
    mine.claims.release_all()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"owner": 1, "purpose": {}, "beat": 0}'])
def test_a_participant_that_cannot_be_read_counts_until_it_was_silent_for_a_lease(store, clock, content):
    store.create("claims/job/x.json", content)
    peers = Peers(store, LEASE_S, clock)
    lives = []
    for _ in range(12):
        (peer,) = peers.look(store.list("claims/"), "me")
        lives.append(peer.life)
        clock.now += 10
    assert lives == [Life.UNSURE] * 11 + [Life.GONE]
    assert str(peer) == "run x"


def test_what_is_held_elsewhere_is_looked_for_in_the_background(make, store):
    theirs, mine = make(FAR), make()
    theirs.acquire("a1")
    mine.claims.start()
    try:
        mine.acquire("a1")
        assert mine.acquire("a1") == ANOTHER
        theirs.claims.release("a1")
        mine.claims._look_s = 0.01
        deadline = time.monotonic() + 20
        while mine.acquire("a1") is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert mine.acquire("a1") is None
    finally:
        mine.claims.release_all()


def test_a_thousand_blocks_held_by_ourselves_and_by_others_cost_the_loop_next_to_nothing(store, clock):
    """10,000 units held on each side: a round of the loop, which asks for each, in under 50 ms."""
    units = [f"{number:016x}" for number in range(20_000)]
    mine, theirs = process_on(store, HERE, clock, BLOCKS), process_on(store, FAR, clock, BLOCKS)
    held = [unit_id for unit_id in units if int(block_of(unit_id, BLOCKS)) % 2 == 0]
    others = [unit_id for unit_id in units if int(block_of(unit_id, BLOCKS)) % 2]
    for process, part in ((mine, held), (theirs, others)):
        process.claims.expect(part)
        assert all(process.acquire(unit_id) is None for unit_id in part)
    mine.look()
    rounds: list[float] = []
    for _ in range(5):
        store.calls.clear()
        started = time.process_time()
        mine.claims.lost()
        assert all(mine.acquire(unit_id) for unit_id in others)
        rounds.append(time.process_time() - started)
        assert store.calls.total() == 0
    assert min(rounds) < 0.05, rounds
    mine.presence.beat()
    assert store.calls == {"replace": 1}


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name in ("claims", "heartbeat")]
