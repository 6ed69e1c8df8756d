"""When sources that do not answer are asked again, and when the job stops for them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from jobs.driver.outages import (
    DOWN_AFTER,
    MAX_PAUSE_S,
    MAX_TRIES,
    NEWS_FRESH_S,
    SAY_AGAIN_S,
    Announcements,
    EngineWaits,
    SourceOutage,
    Waiting,
    ask_again_after_s,
    place_of,
)

S3 = "s3://bucket"


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/a/b.pdf", "s3://bucket"),
        ("/mnt/scans/1926/a.pdf", "/mnt/scans"),
        ("/mnt/scans/a.pdf", "/mnt/scans"),
        ("file:///mnt/scans/a%FF.pdf", "/mnt/scans"),
        ("/scans/a.pdf", "/scans"),
        ("/a.pdf", ""),
    ],
)
def test_a_place_is_what_fails_together(uri: str, place: str) -> None:
    assert place_of(uri) == place


def test_pauses_grow_to_a_limit() -> None:
    pauses = [ask_again_after_s(attempt) for attempt in range(1, 12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.5, MAX_PAUSE_S)


def test_one_document_that_does_not_answer_is_asked_again_later_and_its_siblings_go_on() -> None:
    outage = SourceOutage(600.0)
    outage.unavailable("a", S3, "timeout", 0.0)
    assert not outage.is_down(S3)
    assert outage.due(0.1) == []
    assert outage.due(0.6) == ["a"]
    assert outage.due(99.0) == [], "it is being asked"
    outage.unavailable("a", S3, "timeout", 100.0)
    outage.answered("b", S3)
    assert outage.due(100.6) == []
    assert outage.due(101.1) == ["a"]
    outage.answered("a", S3)
    assert (len(outage), outage.waiting) == (0, None)


def test_a_place_that_is_down_is_asked_for_one_document_at_a_time_ever_more_rarely() -> None:
    outage = SourceOutage(600.0)
    for name in "abcdef":
        outage.unavailable(name, S3, "503", 0.0)
    assert outage.is_down(S3)
    outage.hold("g", S3, 0.0)
    now, asked = 0.0, []
    while now < 300.0:
        now += 0.1
        for name in outage.due(now):
            asked.append(now)
            outage.unavailable(name, S3, "503", now)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert 12 <= len(asked) <= 25
    assert gaps[0] < 2.0 < MAX_PAUSE_S - 0.5 < gaps[-1] < MAX_PAUSE_S + 1.0
    outage.answered("a", S3)
    assert set(outage.due(now)) == set("bcdefg"), "all that waited goes on at once"


def test_a_probe_whose_answer_never_comes_is_followed_by_another() -> None:
    outage = SourceOutage(600.0)
    for name in "ab":
        outage.unavailable(name, S3, "503", 0.0)
    assert len(outage.due(1.0)) == 1
    assert outage.due(2.0) == []
    assert len(outage.due(2.0 + MAX_PAUSE_S)) == 1


def test_places_are_down_each_by_itself() -> None:
    outage = SourceOutage(600.0)
    for name in "ab":
        outage.unavailable(name, S3, "503", 0.0)
    outage.answered("x", "/mnt/scans")
    assert outage.is_down(S3)
    assert not outage.is_down("/mnt/scans")


def test_documents_that_fail_by_themselves_are_asked_again_a_few_at_a_time() -> None:
    outage = SourceOutage(600.0)
    for i in range(40):
        outage.unavailable(i, S3, "timeout", 0.0)
        outage.answered("good", S3)
    assert len(outage.due(50.0)) == MAX_TRIES
    assert outage.due(50.0) == []
    outage.answered(0, S3)
    assert len(outage.due(50.0)) == 1


def test_the_job_stops_after_its_limit_with_what_was_said_and_what_to_do() -> None:
    outage = SourceOutage(600.0)
    for name in "ab":
        outage.unavailable(name, S3, "403 ExpiredToken", 0.0)
    assert outage.overdue(599.0) == ""
    said = outage.overdue(600.0)
    assert "sources have not answered for 600 s: 403 ExpiredToken" in said
    assert "none was condemned" in said
    assert "run the same command" in said
    assert SourceOutage(600.0).overdue(1e9) == ""


def test_a_document_alone_that_stays_unavailable_among_good_ones_is_overdue_by_its_own_clock() -> None:
    outage = SourceOutage(600.0)
    for now in range(0, 700, 10):
        outage.unavailable("a", S3, "500", float(now))
        outage.answered("b", S3)
    assert outage.overdue(650.0)


def test_what_is_dropped_is_waited_for_no_longer() -> None:
    outage = SourceOutage(600.0)
    for i in range(DOWN_AFTER + 1):
        outage.unavailable(("u", i), S3, "503", 0.0)
    outage.drop(lambda key: key[0] == "u")
    assert (len(outage), outage.is_down(S3), outage.waiting) == (0, False, None)


def test_an_engine_waits_as_long_as_it_says_so_of_late() -> None:
    waits = EngineWaits()
    waits.on_waiting("r1", "no server answers", 10.0)
    waits.on_waiting("r2", "no server answers", 20.0)
    waits.on_waiting("r1", "still none", 30.0)
    assert waits.waiting(31.0) == Waiting("still none", 2, 10.0, float("inf"))
    waits.over("r1")
    assert waits.replicas(31.0) == {"r2"}
    assert waits.waiting(20.0 + NEWS_FRESH_S) is None


def test_a_state_that_lasts_is_told_at_once_and_every_so_often_and_its_end_once() -> None:
    announcements, state = Announcements(), Waiting("503", 1, 0.0, 0.0)
    assert not announcements.ended(None)
    told = [now for now in range(200) if announcements.due(state, float(now))]
    assert told == [0, int(SAY_AGAIN_S), 2 * int(SAY_AGAIN_S), 3 * int(SAY_AGAIN_S)]
    assert not announcements.ended(state)
    assert [announcements.ended(None), announcements.ended(None)] == [True, False]
