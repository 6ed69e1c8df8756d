"""The claim of an output for one set of inputs and settings: who gets in, who waits, who is refused."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from manifests.errors import JobError, OutputRefused
from results.job_claim import PATH, JobClaim, Standing, Terms
from results.owner import Owner
from results.participants import Peers, Presence, Purpose
from results.store import Created, keeps_conditions
from tests.results.memory_store import MemoryStore
from tests.results.schedules import Killed, Schedule, switches_up_to

T = TypeVar("T")

LEASE_S = 100.0
HERE = Owner.this_process("run")
FAR = replace(HERE, host="far", boot_id="another boot", run_id="far")
DEAD = replace(HERE, run_id="dead", pid=2**22 + 1)
A, B = Purpose("ocr", "a", "settings"), Purpose("ocr", "b", "settings")
SOAK = int(os.environ.get("PAGEFLEET_SOAK_SEEDS", "20"))


def as_it_is(stored: bytes | None) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(stored or b'{"fingerprint": "f"}')
    return fields


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(autouse=True)
def _hearts_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Presence, "start", lambda self: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of whoever looks, which moves while it waits."""
    now = [0.0]
    monkeypatch.setattr(
        "results.job_claim.Peers", lambda store, lease_s: Peers(store, lease_s, lambda: now[0])
    )
    return now


@dataclass
class Entry:
    claim: JobClaim
    said: list[str] = field(default_factory=list)
    waits: int = 0


Enter = Callable[..., Entry]


@pytest.fixture
def enter(store: MemoryStore, clock: list[float]) -> Enter:
    def go(
        owner: Owner = HERE, purpose: Purpose = A, between: Callable[[], Any] = lambda: None, **terms: Any
    ) -> Entry:
        entry = Entry(JobClaim(store, owner, purpose, Terms(LEASE_S, **terms)))

        def wait(seconds: float) -> bool:
            entry.waits += 1
            clock[0] += 0.4 * LEASE_S
            return bool(between())

        try:
            assert entry.claim.enter(as_it_is, wait, entry.said.append)
        except OutputRefused:
            entry.claim.leave()
            raise
        return entry

    return go


def standing(store: MemoryStore) -> Standing:
    return Standing.of(json.loads(store.objects[PATH][0]))


def test_a_fresh_output_is_claimed_and_given_back_without_a_trace_but_job_json(enter, store):
    entry = enter()
    assert standing(store).purpose == A
    assert entry.claim.is_current()
    entry.claim.leave()
    assert list(store.objects) == [PATH]
    assert standing(store).purpose is None


def test_jobs_with_equal_inputs_and_settings_share(enter, store):
    first, second = enter(), enter(FAR)
    assert first.claim.standing.epoch == second.claim.standing.epoch
    assert not first.claim.joined_others
    assert second.claim.joined_others
    first.claim.leave()
    assert standing(store).purpose == A, "the other is still at work"
    second.claim.leave()
    assert list(store.objects) == [PATH]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (B, "with other inputs (run run, process"),
        (replace(A, settings="x"), "with other settings (run run, process"),
        (replace(B, settings="x"), "with other settings (run run"),
        (Purpose("retry", settings="settings"), "is at work on this output (run run"),
    ],
)
def test_a_job_of_another_purpose_beside_one_that_runs_here_is_refused_at_once(enter, store, other, told):
    entry = enter()
    before = store.objects[PATH]
    with pytest.raises(OutputRefused) as caught:
        enter(FAR, other)
    assert told in str(caught.value)
    assert "wait for it to end, or choose another output" in str(caught.value)
    assert store.objects[PATH] == before
    assert entry.claim.is_current()
    entry.claim.leave()
    enter(FAR, other)


def test_beside_a_process_on_another_machine_it_is_refused_after_a_sign_of_life(enter):
    far = enter(FAR)
    with pytest.raises(OutputRefused, match="run far, process"):
        enter(HERE, B, between=far.claim._presence.beat)


def test_it_waits_for_one_that_may_be_dead_says_so_once_and_takes_its_place_after_a_lease(enter, store):
    far = enter(FAR)
    entry = enter(HERE, B)
    assert entry.waits == 3
    assert len(entry.said) == 1
    assert "waiting for run far" in entry.said[0]
    assert "in 100 s without a sign of life its place is taken" in entry.said[0]
    assert standing(store).purpose == B
    assert not far.claim.is_current()
    with pytest.raises(JobError, match="was taken for dead, and another job has taken over memory"):
        far.claim.rejoin()


def test_the_place_of_a_process_known_to_be_dead_is_taken_at_once(enter):
    enter(DEAD)
    assert enter(HERE, B).waits == 0


def test_its_own_dead_process_costs_a_job_that_is_started_again_no_wait_and_no_old_claim(enter, store):
    dead = enter(DEAD).claim
    dead.units().acquire("a1")
    entry = enter()
    assert entry.waits == 0
    assert entry.claim.standing.epoch > dead.standing.epoch
    assert entry.claim.units().acquire("a1") is None
    assert all("/e" not in path or f"/e{entry.claim.standing.epoch:06d}/" in path for path in store.objects)


def test_one_that_is_asked_to_stop_while_it_waits_leaves_nothing(enter, store):
    enter(FAR)
    before = dict(store.objects)
    claim = JobClaim(store, HERE, B, Terms(LEASE_S))
    assert claim.enter(as_it_is, lambda seconds: True, print) is False
    claim.leave()
    assert store.objects == before


def test_what_is_refused_for_other_reasons_leaves_nothing(store):
    def refuse(stored: bytes | None) -> dict[str, Any]:
        raise OutputRefused("not ours")

    claim = JobClaim(store, HERE, A)
    with pytest.raises(OutputRefused, match="not ours"):
        claim.enter(refuse, lambda seconds: False, print)
    claim.leave()
    assert store.objects == {}


def test_one_that_was_taken_for_dead_by_its_own_kind_goes_on_under_another_name(enter):
    entry = enter()
    other = enter(FAR)
    other.claim._peers.remove(other.claim._peers.look(other.claim._store.list("claims/job/"), "far.1"))
    assert not entry.claim.is_current()
    entry.claim.rejoin()
    assert entry.claim.is_current()


def test_leaving_never_raises_whatever_the_store_does(enter, store):
    entry = enter()

    def fail(call: str, path: str) -> None:
        raise OSError("unreachable")

    store.before = fail
    entry.claim.leave()


# Planning


def test_one_process_plans_at_a_time_and_each_planning_has_a_higher_number(enter):
    first, second = enter().claim, enter(FAR).claim
    numbers = []
    with first.planning_alone(lambda seconds: False) as number:
        numbers.append(number)
        with second.planning_alone(lambda seconds: True) as none:
            assert none is None
    with second.planning_alone(lambda seconds: True) as number:
        numbers.append(number)
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 2


def test_a_planner_that_shows_no_life_is_followed_by_the_next(enter, clock):
    stuck, follower = enter(FAR).claim, enter().claim
    with suppress(JobError), stuck.planning_alone(lambda seconds: False) as first:
        waits = iter(range(10))

        def wait(seconds: float) -> bool:
            clock[0] += 0.4 * LEASE_S
            return next(waits) == 9

        with follower.planning_alone(wait) as second:
            assert second is not None
            assert second > first
            assert not stuck.is_current()


# Stores without conditions


def test_a_store_that_ignores_conditions_is_found_and_the_probe_is_gone_again():
    for heeds in (True, False):
        store = MemoryStore(heeds_conditions=heeds)
        assert keeps_conditions(store) is heeds
        assert store.objects == {}


@pytest.mark.parametrize("call", ["create", "replace"])
def test_one_condition_that_does_not_hold_is_enough(store, monkeypatch, call):
    if call == "create":
        monkeypatch.setattr(store, "create", lambda path, data: (store._put(path, data), Created.CREATED)[1])
    else:
        monkeypatch.setattr(store, "replace", lambda path, data, if_match=None: store._put(path, data))
    assert not keeps_conditions(store)


def test_such_a_store_is_for_one_job_at_a_time(clock):
    store = MemoryStore(heeds_conditions=False)
    first = JobClaim(store, HERE, A, Terms(LEASE_S))
    said: list[str] = []
    assert first.enter(as_it_is, lambda seconds: False, said.append)
    assert "ignores the conditions of writes (If-None-Match, If-Match)" in said[0]
    for purpose in (A, B):
        second = JobClaim(store, FAR, purpose, Terms(LEASE_S))
        with pytest.raises(OutputRefused, match="cannot be shared"):
            second.enter(as_it_is, lambda seconds: False, said.append)
        second.leave()
    assert first.is_current()
    sharing = JobClaim(store, FAR, A, Terms(LEASE_S, means_to_share=True))
    with pytest.raises(OutputRefused, match="without --num-shards"):
        sharing.enter(as_it_is, lambda seconds: False, said.append)
    first.leave()


# Every order in which processes may meet


@dataclass
class Job:
    """A process that reads documents 1 and 2: cut into one unit, or into two."""

    number: int
    purpose: Purpose
    schedule: Schedule
    is_in: bool = False
    now: float = 0.0
    claim: JobClaim = field(init=False)

    def run(self) -> None:
        store = self.schedule.store
        owner = replace(FAR, run_id=f"p{self.number}", pid=self.number)
        self.claim = JobClaim(store, owner, self.purpose, Terms(LEASE_S))
        self.claim._peers = Peers(store, LEASE_S, lambda: self.now)
        try:
            self.claim.enter(as_it_is, self._wait, lambda text: None)
            self.is_in = True
            while not self._work():
                self.is_in = False
                self.claim.rejoin()
                self.is_in = True
        except (OutputRefused, JobError):
            pass
        except Killed:
            self.is_in = False
            raise
        self.is_in = False
        self.claim.leave()

    def _wait(self, seconds: float) -> bool:
        self.now += 0.4 * LEASE_S
        return False

    def _work(self) -> bool:
        """Plan, write down, ask, seal: the order in which a run goes about it. False when taken for dead."""
        store = self.schedule.store
        units = self._plan()
        if units is None:
            return False
        for unit, documents in units.items():
            store.create(f"partial/{unit}", json.dumps([self.claim.standing.serial, documents]).encode())
            if not self.claim.is_current():
                return False
            store.create(f"pages/{unit}", json.dumps(documents).encode())
            store.delete(f"partial/{unit}")
        return True

    def _plan(self) -> dict[str, list[int]] | None:
        """As ``jobs.planning.session`` has it; None when that does not count."""
        if self.claim.standing.cut == "natural":
            return self._natural()
        with self.claim.planning_alone(self._wait) as number:
            first = not self.claim.standing.cut
            if self.claim.standing.cut == "natural" or (first and self._is_natural()):
                units, cut = self._natural(), "natural"
            else:
                units, cut = self._against(), "written"
                for unit, documents in units.items():
                    self.schedule.store.create(f"partial/{unit}", json.dumps([number, documents]).encode())
            return units if self.claim.planned(cut) else None

    def _natural(self) -> dict[str, list[int]]:
        return {f"u{part}": part for part in ([[1, 2]] if self.purpose == A else [[1], [2]])}

    def _is_natural(self) -> bool:
        found = [listed(self.schedule.store, prefix) for prefix in ("partial/", "pages/")]
        return all(unit in self._natural() for units in found for unit in units)

    def _against(self) -> dict[str, list[int]]:
        store = self.schedule.store
        under_way, sealed = listed(store, "partial/"), listed(store, "pages/")
        taken = {document for documents in sealed.values() for document in documents}
        units: dict[str, list[int]] = {}
        for unit, (_, documents) in sorted(under_way.items(), key=lambda item: item[1][0], reverse=True):
            if unit not in sealed and not taken & set(documents):
                units[unit] = documents
                taken |= set(documents)
        left = [document for document in (1, 2) if document not in taken]
        parts = [left] if self.purpose == A else [[document] for document in left]
        return units | {f"u{part}": part for part in parts if part}


SHARES = pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.soak)])
"""How many of all orders are tried; every day a tenth, drawn anew from a fixed seed."""


def some(orders: Iterable[T], share: float) -> Iterator[T]:
    dice = random.Random(0)
    return (order for order in orders if dice.random() < share)


def listed(store: MemoryStore, prefix: str) -> dict[str, Any]:
    found = {entry.path: store.read(entry.path) for entry in store.list(prefix)}
    return {path.removeprefix(prefix): json.loads(data[0]) for path, data in found.items() if data}


def check_schedule(
    purposes: list[Purpose], switches: tuple[int, ...], kill: int, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Run one order of events; nothing is doubled in it, nothing is lost. Tells how many steps it took."""
    schedule = Schedule(switches, kill)
    jobs = [Job(number, purpose, schedule) for number, purpose in enumerate(purposes)]
    dead = schedule.dead
    monkeypatch.setattr(Owner, "is_known_dead", lambda self: self.pid in dead)
    monkeypatch.setattr(Owner, "is_known_alive", lambda self: False)
    monkeypatch.setattr("results.job_claim.keeps_conditions", lambda store: True)

    def look() -> None:
        objects = schedule.store.objects
        active = {
            job.purpose
            for job in jobs
            if job.is_in and job.number not in dead and f"claims/job/{job.claim._name}.json" in objects
        }
        assert len(active) <= 1, (switches, kill, active)

    schedule.after_step = look
    schedule.run([job.run for job in jobs])
    sealed = [document for documents in listed(schedule.store, "pages/").values() for document in documents]
    assert len(sealed) == len(set(sealed)), ("doubled", [p.inputs for p in purposes], switches, kill, sealed)
    if not dead:
        assert sorted(sealed) == [1, 2], ("lost", switches, sealed)
    return schedule.steps


@SHARES
@pytest.mark.parametrize("purposes", [[A, B], [B, A], [A, A], [B, B]], ids=["ab", "ba", "aa", "bb"])
def test_two_processes_that_meet_in_any_order_double_nothing(purposes, share, monkeypatch):
    """Every order with up to two turns passed on: a process is paused at any step, for any time."""
    steps = check_schedule(purposes, (), -1, monkeypatch)
    for switches in some(switches_up_to(steps + 10, 2), share):
        check_schedule(purposes, switches, -1, monkeypatch)


@SHARES
@pytest.mark.parametrize("purposes", [[A, B], [B, A], [A, A]], ids=["ab", "ba", "aa"])
def test_a_process_that_dies_at_any_step_leaves_nothing_that_doubles(purposes, share, monkeypatch):
    steps = check_schedule(purposes, (), -1, monkeypatch)
    orders = ((switches, kill) for kill in range(steps) for switches in switches_up_to(steps, 1))
    for switches, kill in some(orders, share):
        check_schedule(purposes, switches, kill, monkeypatch)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, SOAK))]
)
def test_three_processes_paused_and_killed_at_random_double_nothing(seed, monkeypatch):
    dice = random.Random(seed)
    for _ in range(150):
        purposes = [dice.choice([A, B]) for _ in range(3)]
        switches = tuple(sorted(dice.sample(range(70), dice.randrange(2, 10))))
        check_schedule(purposes, switches, dice.choice([-1, dice.randrange(70)]), monkeypatch)
