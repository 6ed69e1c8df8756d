"""The replicas of a run: one engine each, placed where its GPUs or cores are."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster import roles
from cluster.calls import Calls
from cluster.failures import is_chunk_loss, live_nodes
from cluster.fleet import Cause, ChunkLost, Event, ReadDone, ReadProgress, ReplicaLost, ReplicaUp
from cluster.placement import replica_bundle
from cluster.pool import Slot, Worker, WorkerPool
from cluster.settings import ClusterConfig, FleetSpec
from cluster.workers import ReplicaActor, WorkerInfo


class Replicas(WorkerPool):
    """Each has a placement group, which its replacement inherits. ``writer`` takes their rows."""

    kind = "replica"

    def __init__(self, spec: FleetSpec, config: ClusterConfig, writer: Any, calls: Calls) -> None:
        super().__init__(calls, config.start_timeout_s)
        self._spec = spec
        self._writer = writer
        self.planned = 0

    def use(self, count: int, at_once: int, stagger_s: float) -> None:
        """Plan more replicas, ``at_once`` of them together and then a pause."""
        for number in range(count):
            self.plan(Slot(), number // at_once * stagger_s)
        self.planned += max(0, count)

    def read(self, replica: str, read: int, chunk: roles.Chunk, only: tuple[int, ...] | None) -> None:
        worker = self.workers[replica]
        worker.calls.append(read)
        self._await_read(worker, read, worker.actor.read.remote(read, chunk, only))

    def drain(self) -> list[Any]:
        """Have no more pages begun; what to wait for until the writer has all that are finished."""
        return [worker.actor.drain.remote() for worker in self.workers.values() if worker.up]

    def stop(self) -> None:
        for worker in self.workers.values():
            if worker.slot.group is not None:
                remove_placement_group(worker.slot.group)
        super().stop()

    def _await_read(self, worker: Worker, read: int, ref: Any) -> None:
        def answered(answer: Any) -> Event:
            report, ended = answer
            if ended:
                worker.calls.remove(read)
                return ReadDone(read, report)
            self._await_read(worker, read, worker.actor.go_on.remote(read))
            return ReadProgress(read, report)

        self._expect(worker, ref, answered, read)

    def _failed(self, worker: Worker, number: int, error: Exception) -> Event | None:
        if number and is_chunk_loss(error):
            worker.calls.remove(number)
            return ChunkLost(number)
        return super()._failed(worker, number, error)

    def _start(self, slot: Slot, name: str) -> None:
        bundle = replica_bundle(self._spec, live_nodes())
        if slot.group is None:
            slot.group = placement_group([bundle], strategy="STRICT_PACK")
        actor: Any = (
            ray.remote(ReplicaActor)
            .options(
                num_cpus=bundle["CPU"],
                num_gpus=self._spec.num_gpus,
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    slot.group, placement_group_capture_child_tasks=True
                ),
            )
            .remote(self._spec.make_reader, self._writer, name)
        )
        worker = self.workers[name] = Worker(name, slot, actor)
        self._expect(worker, actor.describe.remote(), lambda info: self._load(worker, info))

    def _load(self, worker: Worker, info: WorkerInfo) -> None:
        """Have a replica load its engine, now that the end of its log will be found should it die of that."""
        worker.info = info
        self._expect(worker, worker.actor.start.remote(), lambda info: self._up(worker, info))

    def _up(self, worker: Worker, info: WorkerInfo) -> Event:
        worker.info, worker.up = info, True
        worker.slot.was_up, worker.slot.out_since = True, None
        store_bytes = int(live_nodes().get(info.node, {}).get("object_store_memory", 0))
        return ReplicaUp(worker.name, info.node, info.engine, info.window, info.load_s, store_bytes)

    def _lost(self, worker: Worker, cause: Cause, log_tail: str) -> Event:
        return ReplicaLost(worker.name, cause, tuple(worker.calls), log_tail, self._promising())

    def _promising(self) -> int:
        """Replicas that are being started where no start has failed, or only for an outage. One that waits
        for a place does not count: it may wait for ever."""
        placed = [worker.slot for worker in self.workers.values() if worker.info and not worker.up]
        again = [slot for _, slot in self._due if slot.was_up]
        return sum(slot.is_promising(self._outage_s) for slot in placed + again)
