"""Workers, drivers and nodes killed on real Ray: the result is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.cluster.conftest import SharedCluster
from tests.cluster.harness import (
    QUICK,
    STOPS,
    Job,
    Runner,
    make_corpus,
    markdown,
    page_keys,
    parquet_files,
    readable,
    rows,
    script,
    stored,
    timeless,
    until,
    workers,
)

SLOW = [
    *QUICK,
    *script(seconds=0.1, concurrency=2, window=8),
    "input.unit_documents=3",
    "cluster.replicas=2",
    "cluster.renderers=1",
]
SOAK_SEEDS = int(os.environ.get("PAGEFLEET_SOAK_SEEDS", "20"))
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, SOAK_SEEDS))]


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_and_drivers_killed_at_random_moments(
    runner: Runner, cluster: SharedCluster, tmp_path: Path, seed: int
) -> None:
    """Two of replica, renderer and writer die in one run, then its driver; a second run loses the
    third and finishes."""
    dice = random.Random(seed)
    folder = make_corpus(tmp_path / "in", 6, 12)
    pages = len(page_keys(folder))
    plain, out = tmp_path / "plain", tmp_path / "out"
    undisturbed = runner.start("ocr", folder, "-o", plain, "--single-process", sets=SLOW)
    undisturbed.wait()
    kinds = ["Replica", "Renderer", "Writer"]
    dice.shuffle(kinds)
    moments = sorted(dice.randrange(pages * 3 // 4) for _ in range(3))

    runner.faults.clear()
    job = runner.start("ocr", folder, "-o", out, "--address", cluster.address, sets=SLOW)
    for kind, moment in zip(kinds[:2], moments[:2], strict=True):
        _at(job, out, moment)
        _kill_one(cluster, kind, dice, job)
    _at(job, out, moments[-1])
    time.sleep(dice.random() / 3)  # not a wait for anything: the random part of the moment
    job.kill()
    before = stored(out)
    until(lambda: not cluster.workers("Replica"))
    runner.faults.clear()

    job = runner.start("ocr", folder, "-o", out, "--address", cluster.address, sets=SLOW)
    if len(before) < pages:
        until(lambda: len(stored(out)) > len(before) or not job.running)
        _kill_one(cluster, kinds[2], dice, job)
    assert job.wait() == 0, job.said
    assert not set(runner.faults.reads()) & before
    assert timeless(rows(out)) == timeless(rows(plain))
    assert markdown(out) == markdown(plain)
    runner.verify(out)


def _replicas(out: Path) -> set[str]:
    """The replicas whose rows are stored, sealed or not."""
    names: set[str] = set()
    for path in parquet_files(out):
        with suppress(FileNotFoundError):  # partials go when their unit is sealed
            names.update(pq.read_table(path, columns=["replica"])["replica"].to_pylist())
    return names - {""}


def _at(job: Job, out: Path, pages: int) -> None:
    until(lambda: len(stored(out)) >= pages or not job.running)


def _kill_one(cluster: SharedCluster, kind: str, dice: random.Random, job: Job) -> psutil.Process | None:
    found = until(lambda: cluster.workers(kind) or not job.running)
    if found is True:
        return None
    victim = dice.choice(found)
    victim.send_signal(signal.SIGKILL)
    return victim


def test_a_node_that_joins_is_used_and_its_loss_costs_nothing(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 6, 20), tmp_path / "out"
    sets = [
        *QUICK,
        *script(seconds=0.8, concurrency=2, window=8, num_cpus=1),
        "cluster.renderers=1",
    ]
    job = runner.start("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    until(lambda: cluster.workers("Replica"), alive=job)
    node = cluster.add_node(num_cpus=2)
    raylet = node.all_processes["raylet"][0].process.pid
    try:
        until(lambda: workers("Replica", [raylet]) and workers("Renderer", [raylet]), alive=job)
        until(lambda: len(_replicas(out)) > 2, alive=job)
    finally:
        cluster.kill_node(node)
    assert job.running
    assert job.wait() == 0, job.said
    assert [row["status"] for row in rows(out) if row["status"] not in ("ok", "blank")] == []
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    runner.verify(out)


@STOPS
def test_a_stopped_run_stores_what_is_finished(
    runner: Runner, cluster: SharedCluster, tmp_path: Path, number: int, within_s: float
) -> None:
    folder, out = make_corpus(tmp_path / "in", 6, 16), tmp_path / "out"
    words = ["ocr", folder, "-o", out]
    sets = [*SLOW, "output.flush_s=60"]
    job = runner.start(*words, "--address", cluster.address, sets=sets)
    until(lambda: len(runner.faults.reads("done")) >= 8, alive=job)
    finished = set(runner.faults.reads("done"))
    job.send(number)
    until(lambda: finished <= stored(out), within_s=within_s, every_s=0.02)
    assert job.wait() == 130
    assert "to go on, run again" in job.said
    before = stored(out)
    assert len(before) < len(page_keys(folder))
    runner.faults.clear()
    runner.succeed(*words, "--single-process", sets=sets)
    assert not set(runner.faults.reads()) & before
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    runner.verify(out)


@pytest.mark.soak
def test_two_drivers_on_one_output_of_a_cluster(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 8, 8), tmp_path / "out"
    sets = [*SLOW, "input.unit_documents=1", "cluster.replicas=1"]
    words = ["ocr", folder, "-o", out, "--address", cluster.address]
    both = [runner.start(*words, sets=sets) for _ in range(2)]
    for job in both:
        assert job.wait() == 0, job.said
    assert sorted(runner.faults.reads()) == sorted(readable(folder))
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    runner.verify(out)
