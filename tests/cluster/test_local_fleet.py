"""The fleet in one process, without a driver: what its events say, and that it always can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster import local_renderer
from cluster.fleet import (
    Cause,
    Event,
    ReadProgress,
    RenderDone,
    RendererLost,
    RendererUp,
    ReplicaUp,
    UnitOpened,
)
from cluster.local_fleet import LocalFleet
from cluster.restarts import restart_after_s
from manifests.errors import ConfigError, EngineUnavailable, JobError, PagefleetError, StoreError
from tests.cluster.fleet_fakes import ERRORS, SERVERS_DOWN, WAITING, FakeWorkers, call, plan
from tests.cluster.harness import stored, until

Make = Callable[..., LocalFleet]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    fleets = []

    def made(**how: str) -> LocalFleet:
        fleets.append(LocalFleet(FakeWorkers(str(tmp_path / "out"), **how).spec()))
        return fleets[-1]

    yield made
    for fleet in fleets:
        fleet.stop()
    until(lambda: not _children(), within_s=20)


def _children() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children()
        if "cluster.render_child" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    ]


def _events(fleet: LocalFleet, enough: Callable[[list[Event]], object]) -> list[Event]:
    """Poll until there are enough."""
    events: list[Event] = []
    deadline = time.monotonic() + 60
    while not enough(events):
        assert time.monotonic() < deadline, events
        events += fleet.poll(0.2)
    return events


def _of(kind: type, events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def _started(fleet: LocalFleet) -> LocalFleet:
    fleet.start()
    _events(fleet, lambda events: _of(RendererUp, events) and _of(ReplicaUp, events))
    return fleet


def test_every_read_is_told_of_with_what_the_engine_waits_for(make: Make) -> None:
    fleet = _started(make())
    fleet.read("replica-1", 1, "wait", None)
    told = _events(fleet, lambda events: len(_of(ReadProgress, events)) >= 3)
    assert {(event.read, event.report.pages, event.report.waiting) for event in told} == {(1, 0, WAITING)}


@pytest.mark.parametrize("name", ["unavailable", "job", "store"])
def test_an_error_of_a_read_reaches_the_driver_as_it_is_and_what_is_finished_is_stored(
    make: Make, tmp_path: Path, name: str
) -> None:
    fleet = _started(make())
    fleet.open_unit(plan())
    _events(fleet, lambda events: _of(UnitOpened, events))
    fleet.read("replica-1", 1, "page 1", None)
    _events(fleet, lambda events: _of(ReadProgress, events))
    fleet.read("replica-1", 2, name, None)
    with pytest.raises(PagefleetError) as raised:
        _events(fleet, lambda events: False)
    assert type(raised.value) is type(ERRORS[name])
    assert str(raised.value) == str(ERRORS[name])
    assert not stored(tmp_path / "out")
    fleet.drain()
    assert stored(tmp_path / "out") == {("d.pdf", 1)}


def test_an_engine_that_cannot_be_reached_at_the_start_says_so(make: Make) -> None:
    fleet = make(reader="unavailable")
    with pytest.raises(EngineUnavailable, match=SERVERS_DOWN):
        fleet.start()
    fleet.drain()
    fleet.stop()


@pytest.mark.parametrize(("name", "error"), [("job", JobError), ("store", StoreError)])
def test_an_error_of_a_renderer_reaches_the_driver_without_a_traceback(
    make: Make, name: str, error: type[Exception]
) -> None:
    fleet = _started(make())
    fleet.render("renderer-1", 1, call(name))
    with pytest.raises(error) as raised:
        _events(fleet, lambda events: False)
    assert str(raised.value) == str(ERRORS[name])


def test_a_bug_of_a_renderer_ends_the_job_with_its_traceback(make: Make) -> None:
    fleet = _started(make())
    fleet.render("renderer-1", 1, call("bug"))
    with pytest.raises(JobError, match=r"(?s)the renderer failed: Traceback.*KeyError"):
        _events(fleet, lambda events: False)


def test_a_renderer_that_dies_is_replaced_at_once_and_names_its_calls(make: Make) -> None:
    fleet = _started(make())
    fleet.render("renderer-1", 1, call("fine"))
    fleet.render("renderer-1", 2, call("exit"))
    fleet.render("renderer-1", 3, call("fine"))
    events = _events(fleet, lambda events: _of(RendererUp, events))
    assert [event.call for event in _of(RenderDone, events)] == [1]
    (lost,) = _of(RendererLost, events)
    assert (lost.renderer, lost.cause, lost.calls) == ("renderer-1", Cause.CRASH, (2, 3))
    assert lost.log_tail == "the rendering process ended with status 3"
    fleet.render("renderer-1", 4, call("fine"))  # too late for it: nobody's
    fleet.render("renderer-2", 5, call("fine"))
    events = _events(fleet, lambda events: _of(RenderDone, events))
    assert [event.call for event in _of(RenderDone, events)] == [5]


@pytest.mark.parametrize(
    ("renderer", "tail"), [("exit", "ended with status 3"), ("job", "the cache cannot be written")]
)
def test_a_renderer_that_never_starts_is_a_failed_start_each_time_with_growing_pauses(
    make: Make, monkeypatch: pytest.MonkeyPatch, renderer: str, tail: str
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(local_renderer, "restart_after_s", lambda failed: asked.append(failed) or 0.0)
    fleet = make(renderer=renderer)
    fleet.start()
    lost = _events(fleet, lambda events: len(_of(RendererLost, events)) >= 3)
    assert {event.cause for event in _of(RendererLost, lost)} == {Cause.START}
    assert all(tail in event.log_tail for event in _of(RendererLost, lost))
    assert asked[:3] == [0, 1, 2]
    assert [restart_after_s(n) for n in (0, 1, 2, 3, 30)] == [0.0, 1.0, 3.0, 7.0, 60.0]


def test_a_machine_without_memory_for_a_process_is_a_failed_start(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(local_renderer.subprocess, "Popen", refuse)
    fleet = make()
    fleet.start()
    (lost,) = _of(RendererLost, _events(fleet, lambda events: _of(RendererLost, events)))
    assert (lost.cause, lost.log_tail) == (Cause.START, "[Errno 12] Cannot allocate memory")


def test_a_setting_that_no_renderer_can_work_with_ends_the_job(make: Make) -> None:
    fleet = make(renderer="config")
    fleet.start()
    with pytest.raises(ConfigError, match="no such language"):
        _events(fleet, lambda events: False)


def test_it_can_be_stopped_at_any_time_and_twice(make: Make) -> None:
    never = make()
    never.stop()
    never.stop()
    failed = make(reader="config")
    with pytest.raises(ConfigError):
        failed.start()
    failed.drain()
    failed.stop()
    failed.stop()


@pytest.mark.parametrize("attempt", range(5))
def test_a_stop_in_the_middle_of_a_restart_leaves_no_process(make: Make, attempt: int) -> None:
    """``stop`` comes at another moment of the renderer's end and new start each time."""
    fleet = _started(make())
    fleet.render("renderer-1", 1, call("exit"))
    time.sleep(attempt * 0.03)  # not a wait for anything: the moment
    errors: list[BaseException] = []
    threading.excepthook, before = lambda args: errors.append(args.exc_value), threading.excepthook
    try:
        fleet.stop()
        until(lambda: not _children(), within_s=20)
    finally:
        threading.excepthook = before
    assert not errors
