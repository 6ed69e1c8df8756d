"""The policy on who is to blame, as a table: a small world of items and workers, and who ends up guilty.

The world below obeys ``Suspects`` as the queues do, one step at a time, without any of their machinery.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

import pytest

from cluster.fleet import Cause
from jobs.driver.suspects import (
    MAX_BLAMELESS_LOSSES,
    MAX_ON_OLD_PROOF,
    Death,
    Role,
    Suspects,
    Turn,
    in_one_line,
    speaks_against,
)

RENDERERS = Role("renderer", "renderer", "rendered", max_failed_starts=8)
REPLICAS = Role("replica", "engine", "read", max_failed_starts=3, max_guilty=(50, 0.1))
TOO_LONG = 20_000


@dataclass
class World:
    """Items are words, one per page: what happens when it is tried. ``ok`` answers, ``blank`` is finished
    without an answer, ``crash``, ``hang`` and ``memory`` end their worker; ``flaky`` crashes together with
    others, and answers alone.

    ``breaks_after`` answers everything crashes, the control too. ``control`` is ``ok``, ``none`` where there
    is no built-in page, or ``crash``.
    """

    items: list[str]
    workers: int = 1
    batch: int = 4
    role: Role = RENDERERS
    proven: bool = False
    control: str = "ok"
    breaks_after: int = TOO_LONG
    answered: int = 0
    deaths: int = 0
    controls: int = 0
    steps: int = 0
    kills: dict[int, int] = field(default_factory=dict)
    guilty: dict[int, Death] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)

    def run(self) -> Suspects[int]:
        """To the end, or until the environment is at fault."""
        suspects: Suspects[int] = Suspects(self.role, proven=self.proven)
        waiting = deque(range(len(self.items)))
        while not suspects.fault:
            self.steps += 1
            assert self.steps < TOO_LONG, "does not end"
            others = self.workers - suspects.is_active
            for _ in range(others):
                if waiting and not suspects.fault:
                    self._work(suspects, waiting)
            turn = suspects.next_turn(work_waits=bool(waiting), only_worker=self.workers == 1)
            if turn is Turn.SUSPECT:
                self._alone(suspects)
            elif turn is Turn.CONTROL:
                self._control(suspects)
            elif turn is Turn.WORK:
                suspects.gave_way()
                self._work(suspects, waiting)
            for suspect in suspects.guilty(nothing_else=not waiting and not len(suspects)):
                self.guilty[suspect.item] = suspect.death
            if not waiting and not suspects.is_active:
                break
        return suspects

    def _what(self, item: int) -> str:
        return "crash" if self.answered >= self.breaks_after else self.items[item]

    def _work(self, suspects: Suspects[int], waiting: deque[int]) -> None:
        batch = [waiting.popleft() for _ in range(min(self.batch, len(waiting)))]
        for place, item in enumerate(batch):
            what = self._what(item)
            if what in ("ok", "blank"):
                self._finish(suspects, item, what)
                continue
            self.deaths += 1
            left = batch[place:]
            if what == "memory":
                kills = max(self.kills.get(one, 0) for one in left) + 1
                self.kills |= dict.fromkeys(left, kills)
                if not speaks_against(Cause.MEMORY, kills):
                    waiting.extendleft(reversed(left))
                    return
            suspects.died(left, f"log of {item}")
            return

    def _alone(self, suspects: Suspects[int]) -> None:
        suspect = suspects.take()
        what = self._what(suspect.item)
        if what in ("ok", "blank", "flaky"):
            self._finish(suspects, suspect.item, what)
            return
        self.deaths += 1
        suspects.died_alone(suspect, Death(what), f"log of {suspect.item}")

    def _finish(self, suspects: Suspects[int], item: int, what: str) -> None:
        assert item not in self.done, "worked on twice"
        self.done.add(item)
        suspects.progressed()
        if what != "blank":
            self.answered += 1
            suspects.answered()

    def _control(self, suspects: Suspects[int]) -> None:
        self.controls += 1
        if self.control == "none":
            suspects.control_failed()
        elif self.control == "crash" or self.answered >= self.breaks_after:
            self.deaths += 1
            suspects.control_died("log of the control")
        else:
            suspects.control_answered()


def corpus(*parts: tuple[int, str]) -> list[str]:
    return [what for count, what in parts for _ in range(count)]


GOOD = (200, "ok")
FAULTLESS = ""
TABLE = {
    # Nobody to blame
    "all answered": (corpus((20, "ok")), {}, FAULTLESS),
    "all blank": (corpus((20, "blank")), {}, FAULTLESS),
    "nothing to do": ([], {}, FAULTLESS),
    "a page that crashes only beside others is answered alone": (
        corpus((3, "ok"), (1, "flaky"), (9, "ok")),
        {},
        FAULTLESS,
    ),
    "every page crashes beside others, none alone": (corpus((12, "flaky")), {}, FAULTLESS),
    # One guilty page, anywhere
    "first": (corpus((1, "crash"), (9, "ok")), {}, FAULTLESS),
    "last": (corpus((9, "ok"), (1, "crash")), {}, FAULTLESS),
    "in the middle": (corpus((9, "ok"), (1, "crash"), (9, "ok")), {}, FAULTLESS),
    "the only page there is": (corpus((1, "crash")), {}, FAULTLESS),
    "the only page left of a proven job": (corpus((1, "crash")), {"proven": True}, FAULTLESS),
    "the only page of a proven job, no control": (
        corpus((1, "crash")),
        {"proven": True, "control": "none"},
        FAULTLESS,
    ),
    "the only one among blank pages": (corpus((9, "blank"), (1, "crash")), {}, FAULTLESS),
    "one that hangs": (corpus((9, "ok"), (1, "hang")), {}, FAULTLESS),
    "the only page hangs": (corpus((1, "hang")), {}, FAULTLESS),
    "one that needs too much memory": (corpus((9, "ok"), (1, "memory")), {}, FAULTLESS),
    "the only page needs too much memory": (corpus((1, "memory")), {}, FAULTLESS),
    # Many guilty pages in a row
    "30 in a row among good ones": (corpus(GOOD, (30, "crash"), GOOD), {}, FAULTLESS),
    "30 in a row, two workers": (corpus(GOOD, (30, "crash"), GOOD), {"workers": 2}, FAULTLESS),
    "30 in a row, eight workers": (corpus(GOOD, (30, "crash"), GOOD), {"workers": 8}, FAULTLESS),
    "30 first": (corpus((30, "crash"), (9, "ok")), {}, FAULTLESS),
    "30 first, two workers": (corpus((30, "crash"), (9, "ok")), {"workers": 2}, FAULTLESS),
    "10 last": (corpus(GOOD, (10, "crash")), {}, FAULTLESS),
    "10 last, two workers": (corpus(GOOD, (10, "crash")), {"workers": 2}, FAULTLESS),
    "30 that hang, last": (corpus(GOOD, (30, "hang")), {}, FAULTLESS),
    "30 that hang and nothing else": (corpus((30, "hang")), {}, FAULTLESS),
    "10 that need too much memory, last": (corpus(GOOD, (10, "memory")), {}, FAULTLESS),
    "10 that need too much memory, two workers": (
        corpus(GOOD, (10, "memory")),
        {"workers": 2},
        FAULTLESS,
    ),
    "of every kind, last": (corpus(GOOD, (9, "crash"), (9, "hang"), (9, "memory")), {}, FAULTLESS),
    "a corpus of nothing but crashes": (corpus((200, "crash")), {}, FAULTLESS),
    "a corpus of nothing but crashes, two workers": (corpus((200, "crash")), {"workers": 2}, FAULTLESS),
    "half and half": (["ok", "crash"] * 60, {}, FAULTLESS),
    "replicas: 30 in a row among good ones": (
        corpus(GOOD, (30, "crash"), GOOD),
        {"role": REPLICAS, "batch": 16},
        FAULTLESS,
    ),
    "replicas: 30 first": (corpus((30, "crash"), GOOD), {"role": REPLICAS, "batch": 16}, FAULTLESS),
    "replicas: 40 and nothing else, proven": (
        corpus((40, "crash")),
        {"role": REPLICAS, "proven": True, "workers": 3},
        FAULTLESS,
    ),
    "8 last, no control": (corpus(GOOD, (8, "crash")), {"control": "none", "batch": 8}, FAULTLESS),
    # The environment
    "everything crashes, the control too": (
        corpus((40, "ok")),
        {"breaks_after": 0},
        "renderers died in a row, 2 of them with a built-in page.*no page was condemned.*log of",
    ),
    "everything crashes, two workers": (corpus((40, "ok")), {"breaks_after": 0, "workers": 2}, "built-in"),
    "everything crashes, eight workers": (corpus((90, "ok")), {"breaks_after": 0, "workers": 8}, "built-in"),
    "everything crashes in a proven job": (
        corpus((40, "ok")),
        {"breaks_after": 0, "proven": True},
        "no page was condemned",
    ),
    "one page and the control crash": (corpus((1, "ok")), {"breaks_after": 0}, "built-in"),
    "it breaks after 50 answers": (corpus(GOOD), {"breaks_after": 50}, "no page was condemned"),
    "it breaks with pages condemned before": (
        corpus((9, "ok"), (1, "crash"), GOOD),
        {"breaks_after": 50},
        "1 pages that were proven to do so are recorded as failed, no other",
    ),
    "it breaks for replicas": (
        corpus(GOOD),
        {"breaks_after": 50, "role": REPLICAS, "batch": 16, "workers": 3},
        "replicas died in a row, 2 of them",
    ),
    "everything crashes and there is no control": (
        corpus((40, "ok")),
        {"breaks_after": 0, "control": "none"},
        "24 renderers died in a row and no page was finished in between.*no page was condemned",
    ),
    "the only page crashes, no control, never any answer": (
        corpus((1, "crash")),
        {"control": "none"},
        "every page that was rendered ended its renderer and none was ever finished",
    ),
    "the model cannot take these pages": (
        ["ok", "crash"] * 100,
        {"role": REPLICAS},
        "51 pages ended their engine and .* were read: the environment is at fault; 51 pages",
    ),
}
"""Items, how the world differs, and the fault that must come of it ('': none, and exactly the bad items
are guilty)."""


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    items, options, fault = TABLE[name]
    world = World(items, **options)
    suspects = world.run()
    if fault:
        assert re.search(fault, suspects.fault, re.DOTALL), suspects.fault
        assert suspects.condemned == len(world.guilty)
        assert all(items[i] == "crash" for i in world.guilty), "a good page was condemned"
        return
    assert suspects.fault == ""
    bad = {i: Death(what) for i, what in enumerate(items) if what in ("crash", "hang", "memory")}
    assert world.guilty == bad
    assert world.done == set(range(len(items))) - bad.keys()


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_guilty_pages_cost_few_deaths_each(workers: int) -> None:
    world = World(corpus(GOOD, (30, "crash"), GOOD), workers=workers)
    world.run()
    assert world.deaths <= 3 * 30
    assert world.controls <= 30


def test_an_environment_at_fault_is_found_after_a_handful_of_deaths() -> None:
    for workers in (1, 2, 8):
        world = World(corpus((400, "ok")), workers=workers, breaks_after=0)
        world.run()
        assert world.deaths <= 8 + 3 * workers


def test_an_only_worker_does_ordinary_work_between_suspects() -> None:
    suspects: Suspects[int] = Suspects(RENDERERS)
    suspects.died(range(20), "")
    turns = []
    while len(suspects):
        turn = suspects.next_turn(work_waits=True, only_worker=True)
        turns.append(turn)
        if turn is Turn.WORK:
            suspects.gave_way()
        else:
            suspects.take()
            suspects.answered()
    assert turns.count(Turn.WORK) == 4


def test_suspects_do_not_wait_for_work_where_others_do_it() -> None:
    suspects: Suspects[int] = Suspects(RENDERERS)
    suspects.died(range(9), "")
    for _ in range(9):
        assert suspects.next_turn(work_waits=True, only_worker=False) is Turn.SUSPECT
        suspects.take()


def test_losses_of_nodes_blame_nobody_until_they_never_end() -> None:
    suspects: Suspects[int] = Suspects(REPLICAS)
    for _ in range(3):
        for _ in range(MAX_BLAMELESS_LOSSES - 1):
            suspects.lost(Cause.NODE, "")
        suspects.progressed()
    assert not suspects.fault
    for _ in range(MAX_BLAMELESS_LOSSES):
        suspects.lost(Cause.NODE, "the tail")
    assert "20 replicas in a row were lost (node lost)" in suspects.fault
    assert "no page was condemned" in suspects.fault


@pytest.mark.parametrize(("others", "at_fault"), [(0, True), (1, False)])
def test_failed_starts_are_a_fault_only_where_no_other_worker_is_there(others: int, at_fault: bool) -> None:
    suspects: Suspects[int] = Suspects(REPLICAS)
    for _ in range(2):
        suspects.start_failed("no CUDA", 0)
    suspects.started()
    for _ in range(3):
        suspects.start_failed("no CUDA", others)
    assert ("did not start, 3 times in a row" in suspects.fault) is at_fault


def test_without_a_control_old_proof_condemns_a_few_only() -> None:
    world = World(corpus(GOOD, (MAX_ON_OLD_PROOF + 1, "crash")), control="none", batch=1, workers=2)
    suspects = world.run()
    assert "no other was rendered since" in suspects.fault or "died in a row" in suspects.fault


def test_one_kill_for_memory_speaks_against_nobody() -> None:
    assert [speaks_against(Cause.MEMORY, kills) for kills in (1, 2, 3)] == [False, True, True]
    assert [speaks_against(cause, 9) for cause in (Cause.NODE, Cause.START)] == [False, False]
    assert speaks_against(Cause.CRASH, 0)


def test_what_is_dropped_is_neither_tried_nor_condemned() -> None:
    suspects: Suspects[int] = Suspects(RENDERERS)
    suspects.died([1, 2, 3], "")
    hung, accused = suspects.take(), suspects.take()
    suspects.died_alone(hung, Death.HANG, "")
    for _ in range(2):
        suspects.died_alone(accused, Death.CRASH, "")
        suspects.drop(lambda item: item == 3)
        if not accused.is_accused:
            assert suspects.take() is accused
    suspects.drop(lambda item: item in (1, 2))
    suspects.control_answered()
    assert suspects.guilty(nothing_else=True) == []
    assert not suspects.is_active


def test_a_log_becomes_a_reason_of_one_short_line() -> None:
    assert in_one_line("a\n  b\n") == "a b"
    assert len(in_one_line("x" * 5000)) == 300
