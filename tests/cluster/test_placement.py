"""Where replicas go, and what is refused before one is started. No cluster: only what Ray tells of it."""

from __future__ import annotations

import pytest

from cluster.placement import check_gpus, renderer_counts, replica_bundle, replica_count
from cluster.settings import ClusterConfig, FleetSpec
from manifests.errors import JobError

GIB = 2.0**30
CORES = {"CPU": 16.0, "memory": 64 * GIB}


class Cluster:
    """Nodes, and a fleet that is to go there."""

    def __init__(
        self, *nodes: dict[str, float], joined: bool = True, replicas: object = "auto", **spec: object
    ):
        self.nodes = {f"n{i}": node for i, node in enumerate(nodes)}
        self.joined = joined
        maker = dict.fromkeys(("make_renderer", "make_reader", "make_writer"), lambda: None)
        self.spec, self.config = FleetSpec(**maker, **spec), ClusterConfig(replicas=replicas)

    def check(self) -> None:
        check_gpus(self.spec, self.config, self.nodes, joined=self.joined)

    def replicas(self) -> int:
        return replica_count(self.spec, self.config, self.nodes)

    def renderers(self) -> dict[str, int]:
        return renderer_counts(self.spec, self.config, self.nodes, "writer")


@pytest.mark.parametrize(
    ("gpus", "nodes", "count"),
    [(1, (4, 4), 8), (2, (4, 4), 4), (4, (4, 8), 3), (2, (1, 3), 1), (8, (8, 0), 1)],
)
def test_a_replica_for_every_group_of_gpus_that_fits_a_node(gpus, nodes, count):
    made = Cluster(*({**CORES, "GPU": float(n)} for n in nodes), num_gpus=gpus)
    made.check()
    assert made.replicas() == count


def test_a_cpu_engine_takes_what_cores_and_memory_hold():
    assert Cluster(CORES, num_cpus=1, memory_bytes=int(8 * GIB)).replicas() == 8
    assert Cluster(CORES, num_cpus=4).replicas() == 4
    assert Cluster(CORES, num_cpus=1, replicas=3).replicas() == 3


@pytest.mark.parametrize(
    ("nodes", "have"), [((CORES,), "it has none"), (({**CORES, "GPU": 1.0},) * 2, "its widest node has 1")]
)
def test_an_engine_that_finds_too_few_gpus_is_refused_with_ways_Cluster(nodes, have):
    with pytest.raises(JobError, match=rf"2 GPUs on one node.*{have}.*tensor_parallel_size.*device=cpu"):
        Cluster(*nodes, num_gpus=2).check()


def test_a_cluster_that_grows_may_have_no_gpu_yet_but_a_local_one_may_not():
    Cluster(CORES, num_gpus=1, replicas=4).check()
    with pytest.raises(JobError, match="it has none"):
        Cluster(CORES, num_gpus=1, replicas=4, joined=False).check()


def test_gpus_are_not_left_idle_by_an_engine_that_nobody_chose():
    gpu = {**CORES, "GPU": 4.0}
    with pytest.raises(JobError, match="the cluster has GPUs and rapidocr would"):
        Cluster(CORES, gpu, idle_gpus="rapidocr would").check()
    Cluster(gpu, idle_gpus="").check()
    Cluster(CORES, idle_gpus="rapidocr would").check()
    Cluster(gpu, idle_gpus="rapidocr would", joined=False).check()


def test_renderers_get_all_cores_of_each_node_beside_gpus_and_a_quarter_beside_a_heavy_cpu_engine():
    gpu = {**CORES, "GPU": 4.0}
    assert Cluster(gpu, {"CPU": 4.0}, num_gpus=1).renderers() == {"n0": 16, "n1": 4}
    assert Cluster(CORES, {"CPU": 2.0}, num_cpus=1).renderers() == {"n0": 4, "n1": 1}
    assert Cluster(CORES, num_cpus=0.1).renderers() == {"n0": 16}


def test_a_cluster_without_a_whole_core_still_gets_a_renderer():
    assert Cluster({"CPU": 0.5}, num_cpus=1).renderers() == {"writer": 1}


def test_a_replica_never_asks_for_more_cores_than_a_node_has():
    cluster = Cluster({"CPU": 1.0, "GPU": 2.0}, num_cpus=8, num_gpus=2)
    assert replica_bundle(cluster.spec, cluster.nodes) == {"CPU": 1.0, "GPU": 2}
