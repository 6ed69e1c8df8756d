"""Claims between processes: who holds a unit, and when another may take it over."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from results.claims import Claim, Claims, Owner, at_work
from results.local_store import LocalStore
from results.store import Created

LEASE_S = 1000.0
HERE = Owner.this_process("run", "inputs")
FAR = replace(HERE, host="far", boot_id="another boot", run_id="far")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("results.claims.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    return LocalStore(tmp_path / "out")


Make = Callable[..., Claims]


@pytest.fixture
def make(store: LocalStore) -> Iterator[Make]:
    """Claims whose heart beats only when a test calls ``beat``."""
    made: list[Claims] = []

    def make_one(owner: Owner = HERE, lease_s: float = LEASE_S) -> Claims:
        made.append(Claims(store, owner, lease_s))
        return made[-1]

    yield make_one
    for claims in made:
        claims._stop.set()
        claims._thread.join()


def beat(claims: Claims) -> None:
    """One turn of the heartbeat thread."""
    for unit_id, (claim, version) in list(claims._held.items()):
        claims._renew(unit_id, claim, version)


def stored(store: LocalStore, unit_id: str = "u") -> Claim | None:
    found = store.read(f"claims/{unit_id}.json")
    return None if found is None else Claim.decode(found[0])


def test_a_unit_is_claimed_by_the_first_who_asks(make, store):
    mine, theirs = make(), make(FAR)
    assert mine.acquire("u") is None
    assert theirs.acquire("u") == HERE
    assert stored(store) == Claim(HERE, epoch=1, beat=0)


def test_of_many_that_ask_at_once_one_gets_the_unit(make):
    askers = [make(replace(FAR, run_id=str(i))) for i in range(6)]
    answers: list[Owner | None] = []
    threads = [threading.Thread(target=lambda c=c: answers.append(c.acquire("u"))) for c in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 1


def test_a_released_unit_can_be_claimed_again(make, store):
    mine, theirs = make(), make(FAR)
    mine.acquire("u")
    mine.release("u")
    assert stored(store) is None
    assert theirs.acquire("u") is None


def test_releasing_all_gives_every_unit_back_and_stops_the_heart(make, store):
    mine = make()
    assert (mine.acquire("u"), mine.acquire("v")) == (None, None)
    mine.release_all()
    assert list(store.list("claims/")) == []
    assert not mine._thread.is_alive()


def test_releasing_what_another_took_over_leaves_their_claim(make, store, clock):
    paused, other = make(FAR), make()
    paused.acquire("u")
    other.acquire("u")
    clock.now += LEASE_S + 1
    assert other.acquire("u") is None
    paused.release("u")
    assert stored(store).owner == HERE
    paused.release("never claimed")


# Takeover


def dead_process() -> Owner:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(HERE, run_id="dead", pid=child.pid, started=psutil.Process(child.pid).create_time())
    assert not owner.is_known_dead()
    child.kill()
    child.wait()
    return owner


def test_the_claim_of_a_dead_process_of_this_machine_is_taken_over_at_once(make, store, clock):
    assert make(dead_process()).acquire("u") is None
    assert make().acquire("u") is None
    assert stored(store) == Claim(HERE, epoch=2)


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it():
    assert replace(HERE, started=HERE.started - 100.0).is_known_dead()
    assert not HERE.is_known_dead()


def test_a_process_that_died_but_was_not_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    owner = replace(HERE, pid=child.pid, started=psutil.Process(child.pid).create_time())
    try:
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)  # nothing tells when a child has become a zombie
        assert owner.is_known_dead()
    finally:
        child.wait()


@pytest.mark.parametrize("where", [{"boot_id": "another"}, {"pid_namespace": "pid:[1]"}, {"boot_id": ""}])
def test_nobody_knows_of_a_process_elsewhere_whether_it_is_dead(where):
    assert not replace(HERE, pid=2**22 + 1, **where).is_known_dead()


def test_a_claim_that_does_not_change_for_a_lease_on_our_own_clock_is_taken_over(make, store, clock):
    make(FAR).acquire("u")
    other = make()
    assert other.acquire("u") == FAR
    clock.now += LEASE_S - 1
    assert other.acquire("u") == FAR
    clock.now += 2
    assert other.acquire("u") is None
    assert stored(store).epoch == 2


def test_a_lease_counts_from_when_we_first_saw_it_however_old_it_is(make, clock):
    make(FAR).acquire("u")
    clock.now += 100 * LEASE_S
    assert make().acquire("u") == FAR


def test_a_claim_whose_beat_moves_is_never_taken_over(make, clock):
    theirs, other = make(FAR), make()
    theirs.acquire("u")
    for _ in range(10):
        assert other.acquire("u") == FAR
        clock.now += 0.9 * LEASE_S
        beat(theirs)
    assert theirs.lost() == set()


def test_a_holder_is_alive_when_its_process_runs_here_or_its_beat_moves(make, store):
    theirs, other = make(FAR), make()
    theirs.acquire("u")
    assert not other.is_alive("u", other.acquire("u"))
    beat(theirs)
    assert other.is_alive("u", other.acquire("u"))
    assert other.is_alive("v", HERE)
    assert not other.is_alive("v", replace(HERE, pid=2**22 + 1))


def test_those_at_work_are_all_holders_but_the_dead_of_this_machine(make, store):
    make(FAR).acquire("a")
    make().acquire("b")
    make(replace(HERE, run_id="gone", pid=2**22 + 1)).acquire("c")
    assert [owner.run_id for owner in at_work(store)] == ["far", "run"]


def test_the_heart_beats_by_itself_several_times_a_lease(make, store):
    mine = make(lease_s=0.04)
    mine.acquire("u")
    deadline = time.monotonic() + 20
    while stored(store).beat < 3 and time.monotonic() < deadline:
        mine._thread.join(0.01)
    assert stored(store).beat >= 3
    assert mine.lost() == set()


def test_an_owner_that_was_paused_learns_at_its_next_beat_what_it_lost(make, clock):
    paused, other = make(FAR), make()
    paused.acquire("u")
    paused.acquire("kept")
    other.acquire("u")
    clock.now += LEASE_S + 1
    assert other.acquire("u") is None
    assert paused.lost() == set()
    beat(paused)
    assert paused.lost() == {"u"}
    assert paused.lost() == set(), "told once"
    assert paused.acquire("u") == HERE


def test_a_unit_whose_claim_was_deleted_is_lost(make, store):
    mine = make()
    mine.acquire("u")
    store.delete("claims/u.json")
    beat(mine)
    assert mine.lost() == {"u"}


def test_of_two_that_take_over_at_once_one_gets_the_unit(make, store, clock, monkeypatch):
    make(FAR).acquire("u")
    first, second = make(replace(HERE, run_id="first")), make(replace(HERE, run_id="second"))
    first.acquire("u")
    second.acquire("u")
    clock.now += LEASE_S + 1
    real = LocalStore.replace

    def second_is_quicker(self, path, data, if_match=None):
        monkeypatch.setattr(LocalStore, "replace", real)
        assert second.acquire("u") is None
        return real(self, path, data, if_match)

    monkeypatch.setattr(LocalStore, "replace", second_is_quicker)
    assert first.acquire("u") is not None
    assert stored(store).owner.run_id == "second"


def test_a_store_that_fails_for_one_beat_loses_nothing(make, store, monkeypatch):
    mine = make()
    mine.acquire("u")

    def fail(self, path, data, if_match=None):
        raise OSError("unreachable")

    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "replace", fail)
        beat(mine)
    beat(mine)
    assert mine.lost() == set()
    assert stored(store).beat == 1


def test_a_beat_that_was_under_way_when_a_unit_was_released_and_claimed_anew_loses_nothing(make):
    mine = make()
    mine.acquire("u")
    ((claim, version),) = mine._held.values()
    mine.release("u")
    assert mine.acquire("u") is None
    mine._renew("u", claim, version)
    assert mine.lost() == set()


def test_a_claim_deleted_before_it_could_be_read_back_is_not_ours(make, store, monkeypatch):
    real = LocalStore.create

    def deleted_at_once(self, path, data):
        monkeypatch.setattr(LocalStore, "create", real)
        answer = real(self, path, data)
        store.delete(path)
        return answer

    monkeypatch.setattr(LocalStore, "create", deleted_at_once)
    mine = make()
    assert mine.acquire("u") is None
    assert "u" in mine._held, "held, or asked again until it is"


def test_a_unit_released_between_two_looks_is_claimed(make, store, monkeypatch):
    theirs, mine = make(FAR), make()
    theirs.acquire("u")
    real = LocalStore.create

    def released_meanwhile(self, path, data):
        answer = real(self, path, data)
        assert answer is Created.EXISTS
        monkeypatch.setattr(LocalStore, "create", real)
        theirs.release("u")
        return answer

    monkeypatch.setattr(LocalStore, "create", released_meanwhile)
    assert mine.acquire("u") is None


def test_a_claim_survives_its_encoding_and_shows_who_it_is(make):
    claim = Claim(HERE, epoch=3, beat=7)
    assert Claim.decode(claim.encode()) == claim
    assert json.loads(claim.encode())["owner"]["pid"] == HERE.pid
