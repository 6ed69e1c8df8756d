"""The fleet on Ray: renderers, replicas and the committer, on the nodes there are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import ray

from cluster.calls import Calls
from cluster.committer import Committer
from cluster.connection import Connection
from cluster.failures import live_nodes
from cluster.fleet import Event, UnitKey
from cluster.placement import check_gpus, renderer_counts, replica_count
from cluster.renderers import Renderers
from cluster.replicas import Replicas
from cluster.roles import Chunk
from cluster.settings import ClusterConfig, FleetSpec
from manifests.units import UnitPlan
from manifests.work import RenderCall
from results.rows import ResultRow

LOOK_FOR_NODES_S = 2.0
DRAIN_PATIENCE_S = (1.0, 3.0)
"""What others have finished is stored before more patience goes to a replica that does not answer."""


class RayFleet:
    """Implements ``cluster.fleet.Fleet`` on a Ray cluster."""

    _committer: Committer
    _renderers: Renderers
    _replicas: Replicas

    def __init__(self, spec: FleetSpec, config: ClusterConfig) -> None:
        self._spec = spec
        self._config = config
        self._connection = Connection(spec, config)
        self._calls = Calls()
        self._node = ""
        self._nodes_seen: set[str] = set()
        self._next_look = 0.0
        self._started = False

    # Life

    def start(self) -> None:
        joined = self._connection.open()
        check_gpus(self._spec, self._config, live_nodes(), joined=joined)
        self._node = ray.get_runtime_context().get_node_id()
        self._committer = Committer(self._spec.make_writer, self._node, self._calls)
        self._renderers = Renderers(self._spec.make_renderer, self._calls)
        self._replicas = Replicas(self._spec, self._config, self._committer.actor, self._calls)
        self._started = True
        self._use_new_nodes()
        self._start_due()

    def stop(self) -> None:
        self._calls.forget()
        if self._started:
            self._started = False
            for role in (self._replicas, self._renderers, self._committer):
                with suppress(Exception):  # a cluster that is gone has ended them
                    role.stop()
        self._connection.close()

    @property
    def asked_for(self) -> int:
        """How many renderers and replicas there are to be, as far as they have been started."""
        return len(self._renderers.workers) + len(self._replicas.workers)

    # What the driver asks for

    def render(self, renderer: str, call: int, request: RenderCall) -> None:
        self._renderers.render(renderer, call, request)

    def read(self, replica: str, read: int, chunk: Chunk, only: tuple[int, ...] | None) -> None:
        self._replicas.read(replica, read, chunk, only)

    def open_unit(self, plan: UnitPlan) -> None:
        self._committer.open_unit(plan)

    def seal_unit(self, unit: UnitKey, page_counts: dict[int, int]) -> None:
        self._committer.seal_unit(unit, page_counts)

    def write_rows(self, unit: UnitKey, rows: Sequence[ResultRow]) -> None:
        self._committer.write_rows(unit, rows)

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        return self._committer.stored(unit, pages)

    def restart_document(self, unit: UnitKey, doc_index: int, version: str) -> None:
        self._committer.restart_document(unit, doc_index, version)

    def abandon_unit(self, unit: UnitKey) -> None:
        self._committer.abandon_unit(unit)

    def drain(self) -> None:
        if not self._started:
            return
        draining = self._replicas.drain()
        for patience_s in DRAIN_PATIENCE_S:
            if draining:
                _, draining = ray.wait(draining, num_returns=len(draining), timeout=patience_s)
            self.flush()
            if not draining:
                return

    def flush(self) -> None:
        if self._started:
            self._committer.flush()

    def dump_stacks(self) -> str:
        return "\n".join([*self._replicas.stacks(), *self._renderers.stacks()])

    # Events

    def poll(self, timeout_s: float) -> list[Event]:
        self._use_new_nodes()
        self._start_due()
        self._committer.check()
        return self._calls.poll(timeout_s)

    # Workers

    def _start_due(self) -> None:
        self._replicas.start_due()
        self._renderers.start_due()

    def _use_new_nodes(self) -> None:
        """Plan workers for nodes that are new: at first all, later those that joined."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_FOR_NODES_S
        nodes = live_nodes()
        new = nodes.keys() - self._nodes_seen
        if not new:
            return
        self._nodes_seen |= new
        missing = replica_count(self._spec, self._config, nodes) - self._replicas.planned
        stagger_s = self._config.start_stagger_s if self._spec.num_gpus else 0.0
        self._replicas.use(missing, len(new), stagger_s)
        counts = renderer_counts(self._spec, self._config, nodes, self._node)
        self._renderers.use({node: count for node, count in counts.items() if node in new})
