"""The renderers of a run: actors that ask for no core, some on every node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import roles
from cluster.calls import Calls
from cluster.failures import live_nodes
from cluster.fleet import Cause, Event, RenderDone, RendererLost, RendererUp
from cluster.pool import Slot, Worker, WorkerPool
from cluster.workers import RendererActor, WorkerInfo
from manifests.work import RenderCall


class Renderers(WorkerPool):
    """Each stays on its node; one whose node is gone is not replaced."""

    kind = "renderer"

    def __init__(self, make_renderer: Callable[[], roles.Renderer], calls: Calls) -> None:
        super().__init__(calls)
        self._make_renderer = make_renderer

    def use(self, nodes: Mapping[str, int]) -> None:
        """Plan that many renderers for each of these nodes."""
        for node, count in nodes.items():
            for _ in range(count):
                self.plan(Slot(node))

    def render(self, renderer: str, call: int, request: RenderCall) -> None:
        worker = self.workers[renderer]
        report, chunk = worker.actor.render.options(num_returns=2).remote(request)
        worker.calls.append(call)

        def answered(answer: Any) -> Event:
            worker.calls.remove(call)
            return RenderDone(call, answer, chunk)

        self._expect(worker, report, answered, call)

    def _start(self, slot: Slot, name: str) -> None:
        if slot.node not in live_nodes():
            return
        actor: Any = (
            ray.remote(RendererActor)
            .options(
                num_cpus=0,
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
            )
            .remote(self._make_renderer)
        )
        worker = self.workers[name] = Worker(name, slot, actor)
        self._expect(worker, actor.start.remote(), lambda info: self._up(worker, info))

    def _up(self, worker: Worker, info: WorkerInfo) -> Event:
        worker.info, worker.up = info, True
        return RendererUp(worker.name, info.node)

    def _lost(self, worker: Worker, cause: Cause, log_tail: str) -> Event:
        return RendererLost(worker.name, cause, tuple(worker.calls), log_tail)
