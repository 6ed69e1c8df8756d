"""The fleet on real Ray without a driver: what its events and errors say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import SharedCluster
from tests.cluster.fleet_fakes import SERVERS_DOWN, WAITING
from tests.cluster.harness import Runner, stored

ROOM_BYTES = 3 * 2**29
"""What may be taken above what the machine uses when the test begins, before Ray kills."""


def _probe(runner: Runner, scenario: str, out: Path, address: str = "", **env: str) -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "tests.cluster.fleet_probe", scenario, str(out)]
    job = runner.start(*words, *([address] if address else []), raw=True, env=env)
    assert job.wait() == 0, job.said
    return [json.loads(line) for line in job.said.splitlines() if line.startswith("{")]


def test_workers_that_ray_kills_for_memory_are_lost_for_that(runner: Runner, tmp_path: Path) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 4 * ROOM_BYTES:
        pytest.skip("too little memory here to take some of it")
    threshold = 1 - (memory.available - ROOM_BYTES) / memory.total
    told = _probe(
        runner,
        "memory",
        tmp_path / "out",
        RAY_memory_usage_threshold=f"{threshold:.4f}",
        RAY_memory_monitor_refresh_ms="100",
    )
    *losses, held = told
    # Where others take memory meanwhile, what replaces them may be killed at its start as well.
    losses = [loss for loss in losses if loss["cause"] != "START"]
    assert {(loss["lost"], loss["cause"]) for loss in losses} == {
        ("RendererLost", "MEMORY"),
        ("ReplicaLost", "MEMORY"),
    }
    assert all("running low on memory" in loss["log_tail"] for loss in losses)
    assert all(len(loss["log_tail"].splitlines()) <= 2 for loss in losses)
    assert held == {"calls": [1], "reads": [2]}


def test_a_server_outage_is_told_while_it_lasts_and_ends_the_job_as_what_it_is(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = _probe(runner, "unavailable", out, cluster.address)
    assert told == [
        {"waiting": WAITING},
        {"error": "EngineUnavailable", "message": SERVERS_DOWN},
        {"drained": True},
    ]
    assert stored(out) == {("d.pdf", 1)}


def test_an_engine_that_cannot_reach_its_servers_at_the_start_is_not_started_again_and_again(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    told = _probe(runner, "no_start", tmp_path / "out", cluster.address)
    assert told == [{"error": "EngineUnavailable", "message": SERVERS_DOWN}]


def test_a_replica_that_dies_in_a_server_outage_is_started_until_the_servers_are_back(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    """What would be a mistake of the user's at the first start is none where a start went well before."""
    dead, *silent, up = _probe(runner, "restart", tmp_path / "out", cluster.address)
    assert (dead["cause"], dead["log_tail"]) == ("CRASH", "engine dead: the engine died")
    assert [(lost["cause"], lost["loading"]) for lost in silent] == [("START", 1), ("START", 1)]
    assert all("no server answers" in lost["log_tail"] for lost in silent)
    assert up == {"up": True}


def test_rows_never_wait_behind_units_that_are_being_sealed(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    assert _probe(runner, "sealing", tmp_path / "out", cluster.address) == [{"sealed": 32, "written": 1}]


def test_a_fleet_without_its_cluster_can_be_drained_and_stopped(runner: Runner, tmp_path: Path) -> None:
    told = _probe(runner, "half_a_start", tmp_path / "out")
    assert told == [{"error": "JobError"}, {"stopped": True}]
