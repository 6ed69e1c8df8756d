"""How many workers go where, and what is refused before one is started. Pure: only what Ray tells of
its nodes (``failures.live_nodes``) goes in."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.settings import ClusterConfig, FleetSpec
from manifests.errors import JobError

Node = Mapping[str, float]
"""What a node has in all: ``CPU``, ``GPU``, ``memory`` (bytes)."""

CPUS_PER_RENDERER = 4
LIGHT_ENGINE_CPUS = 0.5


def check_gpus(spec: FleetSpec, config: ClusterConfig, nodes: Mapping[str, Node], *, joined: bool) -> None:
    """Raise JobError where the engine needs GPUs that are not there, or leaves idle those that are."""
    needed = spec.num_gpus
    widest = max((int(node.get("GPU", 0)) for node in nodes.values()), default=0)
    grows = joined and config.replicas != "auto"  # an autoscaler may add nodes
    if widest < needed and not grows:
        have = f"its widest node has {widest}" if widest else "it has none"
        raise JobError(
            f"each replica needs {needed} GPU{'s' * (needed > 1)} on one node, but of this cluster "
            f"{have}. Add one, set engine.tensor_parallel_size, let the engine compute on the CPU "
            "(--set engine.device=cpu, slow), or read with --engine rapidocr or --server-url"
        )
    if widest and not needed and joined and spec.idle_gpus:
        raise JobError(f"the cluster has GPUs and {spec.idle_gpus}")


def replica_count(spec: FleetSpec, config: ClusterConfig, nodes: Mapping[str, Node]) -> int:
    """Replicas asked for, or what the cluster's GPUs (else cores and memory) hold."""
    if config.replicas != "auto":
        return config.replicas
    return max(1, sum(_replicas_on(node, spec) for node in nodes.values()))


def replica_bundle(spec: FleetSpec, nodes: Mapping[str, Node]) -> dict[str, float]:
    """What one replica takes of a node; of cores never more than the widest has: one core must do."""
    widest = max((node.get("CPU", 0.0) for node in nodes.values()), default=1.0)
    cpus = min(spec.num_cpus, widest)
    return {"CPU": cpus, **({"GPU": spec.num_gpus} if spec.num_gpus else {})}


def renderer_counts(
    spec: FleetSpec, config: ClusterConfig, nodes: Mapping[str, Node], writer_node: str
) -> dict[str, int]:
    """Renderers for each node with a core (else the writer's).

    They ask Ray for no core: that nothing can deadlock on one core matters more, and their number is
    chosen from the cores anyway. A heavy CPU engine leaves them a quarter.
    """
    hosts = [name for name, node in nodes.items() if node.get("CPU", 0.0) >= 1] or [writer_node]
    if config.renderers != "auto":
        return dict.fromkeys(hosts, config.renderers)
    heavy = not spec.num_gpus and spec.num_cpus >= LIGHT_ENGINE_CPUS
    cores = {name: int(nodes.get(name, {}).get("CPU", 1.0)) for name in hosts}
    return {name: max(1, count // CPUS_PER_RENDERER if heavy else count) for name, count in cores.items()}


def _replicas_on(node: Node, spec: FleetSpec) -> int:
    if spec.num_gpus:
        return int(node.get("GPU", 0.0) // spec.num_gpus)
    if spec.num_cpus < LIGHT_ENGINE_CPUS:
        return 1
    by_memory = node.get("memory", 0.0) // spec.memory_bytes if spec.memory_bytes else 10**6
    return int(min(node.get("CPU", 0.0) // spec.num_cpus, by_memory))
