"""A wish to stop is heard at every moment, ends as 130 and never as a traceback; a second one is an order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import typer

from jobs.cli.exit import exit_with
from jobs.interrupts import AGAIN_AFTER_S, EXIT_INTERRUPTED, Interrupts, interrupts
from manifests.errors import ConfigError, EngineUnavailable, JobError, PagefleetError
from tests.cluster.harness import ROOT, Job, Runner, make_corpus, script, until

STOPS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_interrupts_what_does_not_ask_for_it(number):
    with pytest.raises(KeyboardInterrupt), interrupts() as stop:
        os.kill(os.getpid(), number)
        stop.wait(10)
    assert stop.is_set()


@pytest.mark.parametrize("number", STOPS)
def test_who_asks_is_not_interrupted(number):
    with interrupts() as stop, stop.polled():
        assert not stop.wait(0.01)
        os.kill(os.getpid(), number)
        assert stop.wait(10)


def test_signals_in_the_same_breath_are_one():
    with interrupts() as stop, stop.polled():
        for _ in range(5):
            for number in STOPS:
                os.kill(os.getpid(), number)
        assert stop.wait(10)


def test_who_asks_too_late_is_interrupted():
    with interrupts() as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            stop.wait(10)
        with pytest.raises(KeyboardInterrupt), stop.polled():
            pytest.fail("nothing is begun that would have to be stopped")


def test_handlers_are_put_back_and_nesting_listens_once():
    before = [signal.getsignal(number) for number in STOPS]
    with interrupts() as outer, interrupts() as inner:
        assert inner is outer
    assert [signal.getsignal(number) for number in STOPS] == before


@pytest.mark.parametrize(
    ("error", "status"),
    [(JobError("x"), 1), (EngineUnavailable("x"), 1), (ConfigError("x"), 2)],
    ids=["job", "engine", "usage"],
)
@pytest.mark.parametrize("travelled", [False, True])
def test_an_error_ends_with_its_status_also_when_it_travelled_from_a_worker(error, status, travelled, capsys):
    from ray.exceptions import RayTaskError

    if travelled:
        error = RayTaskError("read", "a long traceback", error).as_instanceof_cause()

    def work(stop: Interrupts) -> int:
        raise error

    with pytest.raises(typer.Exit) as ended:
        exit_with(work)
    assert isinstance(error, PagefleetError)
    assert ended.value.exit_code == status
    assert capsys.readouterr().err == "error: x\n"


SECOND = """
import sys, time
from jobs.cli.exit import exit_with
from jobs.interrupts import Interrupts

def work(stop: Interrupts) -> int:
    with stop.polled():
        print("polled", flush=True)
        while True:
            try:
                while not stop.is_set():
                    time.sleep(0.01)
                print("asked", flush=True)
                time.sleep(600)
            except BaseException as error:
                print("raised", error, flush=True)

exit_with(work)
"""
AFTERMATH = """
import os, signal
from jobs.cli.exit import exit_with
from jobs.interrupts import Interrupts

def work(stop: Interrupts) -> int:
    with stop.polled():
        os.kill(os.getpid(), signal.SIGTERM)
        stop.wait(10)
    {after}

exit_with(work)
"""


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_second_signal_ends_the_process_where_it_is():
    process = python(SECOND)
    assert process.stdout is not None
    assert process.stdout.readline() == "polled\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    time.sleep(AGAIN_AFTER_S + 0.1)  # what comes earlier is the same wish
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == EXIT_INTERRUPTED
    assert process.stdout.read() == ""


@pytest.mark.parametrize(
    "after",
    [
        "raise RuntimeError('the cluster is gone')",
        "raise SystemExit(15)",
        "raise KeyboardInterrupt",
        "from manifests.errors import JobError; raise JobError('its replicas were stopped too')",
    ],
)
def test_what_comes_of_stopping_is_no_error_of_its_own(after):
    process = python(AFTERMATH.format(after=after))
    _, said = process.communicate(timeout=30)
    assert process.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in said
    assert said


MOMENTS_S = (0.0, 0.1, 0.3, 0.7, 1.2, 1.8)
"""Into a run, from when it hears signals: imports, settings, planning, the start, reading, the end."""


def test_a_signal_to_the_whole_group_ends_as_interrupted_whenever_it_comes(
    runner: Runner, tmp_path: Path
) -> None:
    folder = make_corpus(tmp_path / "in", 2, 3)
    words = ["ocr", folder, "-o", tmp_path / "out", "--single-process"]
    sets = ["render.dpi=36", *script(seconds=0.3, concurrency=1)]
    for moment_s in MOMENTS_S:
        job = runner.start(*words, sets=sets)
        until(lambda: hears_stops(job), alive=job, every_s=0.005)  # noqa: B023
        time.sleep(moment_s)  # not a wait for anything: the moment
        for _ in range(2):  # as ``timeout`` does
            with suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGTERM)
        assert job.wait() in (0, EXIT_INTERRUPTED), (moment_s, job.said)
        assert "Traceback" not in job.said
        assert job.process.returncode == 0 or "interrupted" in job.said or "run again" in job.said
    runner.succeed(*words, sets=sets)
    runner.verify(tmp_path / "out")


def hears_stops(job: Job) -> bool:
    """Whether the process handles SIGTERM: before, while Python itself starts, it could not hear any."""
    with suppress(OSError):
        status = Path(f"/proc/{job.process.pid}/status").read_text()
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    return False
