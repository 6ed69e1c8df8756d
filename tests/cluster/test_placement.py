"""Where replicas go, and what is refused before one is started. No cluster: only what Ray tells of it."""

from __future__ import annotations

import pytest

from cluster import fleet
from cluster.config import ClusterConfig, FleetSpec
from cluster.fleet import RayFleet
from manifests.errors import JobError

GIB = 2.0**30
CORES = {"CPU": 16.0, "memory": 64 * GIB}


def on(
    monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float], joined: bool = True, **spec: object
) -> RayFleet:
    """A fleet on these nodes, not started."""
    monkeypatch.setattr(fleet, "live_nodes", lambda: {f"n{i}": node for i, node in enumerate(nodes)})
    replicas = spec.pop("replicas", "auto")
    maker = dict.fromkeys(("make_renderer", "make_reader", "make_writer"), lambda: None)
    made = RayFleet(FleetSpec(**maker, **spec), ClusterConfig(replicas=replicas))
    made._joined = joined
    return made


@pytest.mark.parametrize(
    ("gpus", "nodes", "count"),
    [(1, (4, 4), 8), (2, (4, 4), 4), (4, (4, 8), 3), (2, (1, 3), 1), (8, (8, 0), 1)],
)
def test_a_replica_for_every_group_of_gpus_that_fits_a_node(monkeypatch, gpus, nodes, count):
    made = on(monkeypatch, *({**CORES, "GPU": float(n)} for n in nodes), num_gpus=gpus)
    made._check_gpus()
    assert made.replica_count() == count


def test_a_cpu_engine_takes_what_cores_and_memory_hold(monkeypatch):
    assert on(monkeypatch, CORES, num_cpus=1, memory_bytes=int(8 * GIB)).replica_count() == 8
    assert on(monkeypatch, CORES, num_cpus=4).replica_count() == 4
    assert on(monkeypatch, CORES, num_cpus=1, replicas=3).replica_count() == 3


@pytest.mark.parametrize(
    ("nodes", "have"), [((CORES,), "it has none"), (({**CORES, "GPU": 1.0},) * 2, "its widest node has 1")]
)
def test_an_engine_that_finds_too_few_gpus_is_refused_with_ways_on(monkeypatch, nodes, have):
    with pytest.raises(JobError, match=rf"2 GPUs on one node.*{have}.*tensor_parallel_size.*device=cpu"):
        on(monkeypatch, *nodes, num_gpus=2)._check_gpus()


def test_a_cluster_that_grows_may_have_no_gpu_yet_but_a_local_one_may_not(monkeypatch):
    on(monkeypatch, CORES, num_gpus=1, replicas=4)._check_gpus()
    with pytest.raises(JobError, match="it has none"):
        on(monkeypatch, CORES, num_gpus=1, replicas=4, joined=False)._check_gpus()


def test_gpus_are_not_left_idle_by_an_engine_that_nobody_chose(monkeypatch):
    gpu = {**CORES, "GPU": 4.0}
    with pytest.raises(JobError, match="the cluster has GPUs and rapidocr would"):
        on(monkeypatch, CORES, gpu, idle_gpus="rapidocr would")._check_gpus()
    on(monkeypatch, gpu, idle_gpus="")._check_gpus()
    on(monkeypatch, CORES, idle_gpus="rapidocr would")._check_gpus()
    on(monkeypatch, gpu, idle_gpus="rapidocr would", joined=False)._check_gpus()
