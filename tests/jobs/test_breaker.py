"""Whether the engine is at fault or the pages: events in, decisions out."""

from __future__ import annotations

import re

import pytest

from jobs.driver.breaker import FEW, MAX_TRIP_AFTER, TRIP_AFTER, WINDOW, Breaker, Failure


def key(page: int) -> tuple[object, ...]:
    return (("u", 1), 0, page)


def fail(breaker: Breaker, *pages: int, reason: str = "HTTP 400") -> None:
    for page in pages:
        breaker.failed(Failure(key(page), reason))


def pages(failures) -> list[int]:
    return [failure.key[-1] for failure in failures]


class Run:
    """Pages are read one by one as a word per page says, until the end: ``ok`` or ``bad``."""

    def __init__(self, words: list[str], *, control: str = "ok", proven: bool = False) -> None:
        self.words, self.control = words, control
        self.breaker = Breaker(proven=proven)
        self.written: list[int] = []
        self.reads: list[int] = []
        self.controls = 0
        self.go()

    def go(self) -> None:
        waiting = list(range(len(self.words)))
        while not self.breaker.fault:
            if waiting and not self.breaker.is_tripped:
                page = waiting.pop(0)
                self.reads.append(page)
                if self.words[page] == "ok":
                    self.breaker.answered()
                else:
                    fail(self.breaker, page)
            decided = self.breaker.decide(nothing_else=not waiting)
            self.written += pages(decided.write)
            waiting = pages(decided.again) + waiting
            if self.breaker.wants_control(nothing_else=not waiting):
                self.controls += 1
                {
                    "ok": self.breaker.control_answered,
                    "bad": lambda: self.breaker.control_refused("HTTP 400 again"),
                    "none": self.breaker.control_failed,
                }[self.control]()
            elif not waiting and not len(self.breaker):
                return


TABLE = {
    "nothing": ([], {}, []),
    "all well": (["ok"] * 50, {}, []),
    "one refused": (["ok", "bad", "ok"], {}, [1]),
    "the first refused": (["bad", "ok", "ok"], {}, [0]),
    "the last refused": (["ok", "ok", "bad"], {}, [2]),
    "the last refused, no control": (["ok", "ok", "bad"], {"control": "none"}, [2]),
    "the last ones refused, no control": (["ok"] + ["bad"] * 5, {"control": "none"}, [1, 2, 3, 4, 5]),
    "the only page": (["bad"], {}, [0]),
    "the only page, no control": (["bad"], {"control": "none"}, [0]),
    "every third": (["ok", "ok", "bad"] * 40, {}, list(range(2, 120, 3))),
    "a long document that no engine can read": (
        ["ok"] * 20 + ["bad"] * 300 + ["ok"] * 20,
        {},
        list(range(20, 320)),
    ),
    "a long document at the end": (["ok"] * 20 + ["bad"] * 300, {}, list(range(20, 320))),
    "nothing but pages no engine can read": (["bad"] * 100, {}, list(range(100))),
    "mostly pages no engine can read": (["ok", "bad", "bad"] * 60, {}, [i for i in range(180) if i % 3]),
}
FAULTS = {
    "it fails at everything": (["bad"] * 100, {"control": "bad"}),
    "it fails at everything, after many": (["ok"] * 500 + ["bad"] * 100, {"control": "bad"}),
    "it fails at everything in a small job": (["bad"] * 4, {"control": "bad"}),
    "it fails at the only page, and the built-in one": (["bad"], {"control": "bad"}),
    "many in a row and no control": (["ok"] * 50 + ["bad"] * 20, {"control": "none", "proven": True}),
    "a few, never an answer, and no control": (["bad"] * (FEW + 1), {"control": "none"}),
}


@pytest.mark.parametrize("name", TABLE)
def test_pages_that_are_to_blame_are_written_and_no_other(name: str) -> None:
    words, options, written = TABLE[name]
    run = Run(words, **options)
    assert run.breaker.fault == ""
    assert sorted(run.written) == written
    assert len(run.reads) <= 2 * len(words)


@pytest.mark.parametrize("name", FAULTS)
def test_an_engine_at_fault_stops_the_job_and_condemns_nobody(name: str) -> None:
    words, options = FAULTS[name]
    run = Run(words, **options)
    assert re.search(
        r"the engine could not read \d+ pages .*HTTP 400.*run the same command", run.breaker.fault
    )
    assert run.written == []
    assert run.reads.count(0) == 1
    assert len(run.reads) <= words.count("ok") + TRIP_AFTER


def test_failures_are_held_until_something_tells() -> None:
    breaker = Breaker()
    fail(breaker, 1, 2)
    assert (len(breaker), breaker.holds(key(1)), breaker.holds(key(3))) == (2, True, False)
    assert breaker.decide(nothing_else=False).write == []
    assert breaker.held_of(("u", 1)) == 2
    breaker.answered()
    assert pages(breaker.decide(nothing_else=False).write) == [1, 2]
    assert breaker.decide(nothing_else=False).write == []


def test_pages_that_failed_while_an_engine_was_out_of_order_are_read_once_more() -> None:
    breaker = Breaker()
    fail(breaker, *range(TRIP_AFTER))
    assert breaker.is_tripped
    breaker.control_answered()
    decided = breaker.decide(nothing_else=False)
    assert (pages(decided.again), decided.write) == (list(range(TRIP_AFTER)), [])
    fail(breaker, 3)
    breaker.answered()
    assert pages(breaker.decide(nothing_else=False).write) == [3], "twice is the page's own fault"


def test_one_refusal_of_the_control_is_not_enough() -> None:
    breaker = Breaker()
    fail(breaker, *range(TRIP_AFTER))
    breaker.control_refused("HTTP 503")
    assert not breaker.fault
    assert breaker.wants_control(nothing_else=False)
    breaker.control_answered()
    assert not breaker.fault


def test_controls_become_rarer_while_they_are_answered() -> None:
    run = Run(["bad"] * 2000)
    assert run.controls < 30
    assert TRIP_AFTER < MAX_TRIP_AFTER


def test_more_failures_than_answers_trip_the_breaker_though_none_are_in_a_row() -> None:
    breaker = Breaker()
    for page in range(WINDOW):
        fail(breaker, 2 * page, 2 * page + 1)
        tripped = breaker.is_tripped
        breaker.answered()
        if tripped:
            break
    assert tripped


def test_the_most_frequent_reason_is_the_one_that_is_told() -> None:
    breaker = Breaker()
    fail(breaker, 1, reason="too long")
    fail(breaker, *range(2, 12), reason="HTTP 402: pay")
    for _ in range(2):
        breaker.control_refused("HTTP 402: pay")
    assert "HTTP 402: pay" in breaker.fault
    assert "none of them was condemned" in breaker.fault


def test_what_is_dropped_is_forgotten() -> None:
    breaker = Breaker()
    fail(breaker, *range(TRIP_AFTER))
    breaker.control_answered()
    fail(breaker, 99)
    breaker.drop(lambda page: True)
    decided = breaker.decide(nothing_else=True)
    assert (decided.write, decided.again, len(breaker)) == ([], [], 0)
