"""SIGTERM or SIGINT to every process of a job at once, as SLURM, systemd, ``timeout`` and terminals do."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.cluster.harness import (
    QUICK,
    Job,
    Runner,
    make_corpus,
    page_keys,
    processes_of,
    rows,
    script,
    stored,
    until,
)

SETS = [
    *QUICK,
    *script(seconds=0.1, concurrency=2, window=8),
    "output.flush_s=60",
    "cluster.replicas=1",
    "cluster.renderers=2",
    "cluster.num_cpus=2",
    f"cluster.object_store_bytes={100 * 2**20}",
]
MODES = {"single process": ["--single-process"], "ray": []}
SOAK_TRIES = 12


def _tries(mode: str, everyday: int) -> list[object]:
    tries = [(mode, i, signal.SIGTERM if i % 3 != 1 else signal.SIGINT) for i in range(SOAK_TRIES)]
    return [
        pytest.param(*each, marks=[pytest.mark.soak] if each[1] >= everyday else [], id=f"{mode} {each[1]}")
        for each in tries
    ]


@pytest.mark.parametrize(("mode", "number", "stop"), _tries("single process", 1) + _tries("ray", 1))
def test_a_stop_signal_to_all_processes_of_a_job_costs_nothing(
    runner: Runner, tmp_path: Path, mode: str, number: int, stop: int
) -> None:
    folder, out = make_corpus(tmp_path / "in", 6, 16), tmp_path / "out"
    job = runner.start("ocr", folder, "-o", out, *MODES[mode], sets=SETS)
    until(lambda: len(runner.faults.reads("done")) >= 4, within_s=120, alive=job)
    time.sleep(random.Random(number).random() / 2)  # not a wait for anything: the moment
    finished = set(runner.faults.reads("done"))
    job.send_to_all(stop)
    _ended_in_order(job)
    assert finished <= stored(out)
    until(lambda: not processes_of(runner.mine))
    before = stored(out)
    runner.faults.clear()
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=SETS)
    assert not set(runner.faults.reads()) & before
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    runner.verify(out)


@pytest.mark.parametrize(
    "after_s", [0.5, *(pytest.param(s, marks=pytest.mark.soak) for s in (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0))]
)
def test_a_stop_signal_while_ray_starts_stops_the_job_in_order(
    runner: Runner, tmp_path: Path, after_s: float
) -> None:
    folder, out = make_corpus(tmp_path / "in", 1, 2), tmp_path / "out"
    job = runner.start("ocr", folder, "-o", out, sets=SETS)
    until(lambda: "1 documents to" in job.said, alive=job)
    time.sleep(after_s)  # not a wait for anything: the moment
    job.send_to_all(signal.SIGTERM)
    _ended_in_order(job)
    until(lambda: not processes_of(runner.mine))


@pytest.mark.parametrize("mode", MODES)
def test_a_driver_that_is_killed_takes_all_it_started_along(
    runner: Runner, tmp_path: Path, mode: str
) -> None:
    """Although stop signals are held back from them."""
    folder, out = make_corpus(tmp_path / "in", 6, 16), tmp_path / "out"
    job = runner.start("ocr", folder, "-o", out, *MODES[mode], sets=SETS)
    until(lambda: len(runner.faults.reads("done")) >= 4, within_s=120, alive=job)
    job.kill()
    until(lambda: not processes_of(runner.mine))


def _ended_in_order(job: Job) -> None:
    assert job.wait() == 130, job.said
    assert "to go on, run again" in job.said
    for word in (" is gone (", "Traceback", "Error"):
        assert word not in job.said, job.said
