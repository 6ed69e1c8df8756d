"""The fleet on Ray: actors placed, replaced when they die, and what they answer turned into events."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from cluster.config import ClusterConfig, FleetSpec
from cluster.connection import connect
from cluster.failures import cause_of, is_chunk_loss, is_loss, live_nodes, own_error
from cluster.fleet import (
    Cause,
    ChunkLost,
    Event,
    ReadDone,
    ReadProgress,
    RenderDone,
    RendererLost,
    RendererUp,
    ReplicaLost,
    ReplicaUp,
    RowsWritten,
    UnitKey,
    UnitOpened,
    UnitSealed,
)
from cluster.placement import check_gpus, renderer_counts, replica_bundle, replica_count
from cluster.workers import Renderer, Replica, WorkerInfo, Writer, read_log_tail, read_stacks
from manifests.errors import JobError, UserError
from manifests.units import UnitPlan
from manifests.work import RenderCall
from results.rows import ResultRow

CHECK_WRITER_S = 1.0
LOOK_FOR_NODES_S = 2.0
MAX_BACKOFF_S = 60.0
WRITER_ANSWER_S = 300.0
LOG_TAIL_WITHIN_S = 5.0
DRAIN_PATIENCE_S = (1.0, 3.0)
"""What others have finished is stored before more patience goes to a replica that does not answer."""


@dataclass(slots=True)
class _Slot:
    """A place for a worker, which whatever replaces it inherits: a renderer's node, a replica's group."""

    kind: str
    node: str = ""
    group: PlacementGroup | None = None
    failures: int = 0
    """Starts that failed in a row."""
    was_up: bool = False


@dataclass(slots=True)
class _Worker:
    """An actor and what it has been given, oldest first."""

    name: str
    slot: _Slot
    actor: Any
    calls: list[int] = field(default_factory=list)
    info: WorkerInfo | None = None
    up: bool = False

    @property
    def node(self) -> str:
        return self.info.node if self.info else self.slot.node


@dataclass(frozen=True, slots=True)
class _Pending:
    """A call whose answer is awaited, and what to make of it."""

    on_answer: Callable[[Any], Event | None]
    worker: str = ""
    number: int = 0


class RayFleet:
    """Implements ``cluster.fleet.Fleet`` on a Ray cluster."""

    def __init__(self, spec: FleetSpec, config: ClusterConfig) -> None:
        self._spec = spec
        self._config = config
        self._workers: dict[str, _Worker] = {}
        self._pending: dict[Any, _Pending] = {}
        self._names = itertools.count(1)
        self._due: list[tuple[float, _Slot]] = []
        self._replica_slots = 0
        self._nodes_seen: set[str] = set()
        self._next_check = self._next_look = 0.0
        self._writer: Any = None
        self._writer_node = ""

    # Life

    def start(self) -> None:
        joined = connect(self._spec, self._config)
        check_gpus(self._spec, self._config, live_nodes(), joined=joined)
        self._writer_node = ray.get_runtime_context().get_node_id()
        self._writer = (
            ray.remote(Writer)
            .options(
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=8,
                scheduling_strategy=NodeAffinitySchedulingStrategy(self._writer_node, soft=False),
            )
            .remote(self._spec.make_writer)
        )
        self._use_new_nodes()
        self._spawn_due()

    def stop(self) -> None:
        for worker in list(self._workers.values()):
            ray.kill(worker.actor)
            if worker.slot.group is not None:
                remove_placement_group(worker.slot.group)
        if self._writer is not None:
            ray.kill(self._writer)
        self._workers.clear()
        self._pending.clear()
        ray.shutdown()

    # What the scheduler asks for

    def render(self, renderer: str, call: int, request: RenderCall) -> None:
        worker = self._workers[renderer]
        report, chunk = worker.actor.render.options(num_returns=2).remote(request)
        worker.calls.append(call)

        def answered(answer: Any) -> Event:
            worker.calls.remove(call)
            return RenderDone(call, answer, chunk)

        self._pending[report] = _Pending(answered, renderer, call)

    def read(self, replica: str, read: int, chunk: Any, only: tuple[int, ...] | None) -> None:
        worker = self._workers[replica]
        worker.calls.append(read)
        self._await_read(worker, read, worker.actor.read.remote(read, chunk, only))

    def _await_read(self, worker: _Worker, read: int, ref: Any) -> None:
        def answered(answer: Any) -> Event:
            report, ended = answer
            if ended:
                worker.calls.remove(read)
                return ReadDone(read, report)
            self._await_read(worker, read, worker.actor.go_on.remote(read))
            return ReadProgress(read, report)

        self._pending[ref] = _Pending(answered, worker.name, read)

    def open_unit(self, plan: UnitPlan) -> None:
        key = (plan.unit_id, plan.generation)
        self._pending[self._tell("open", plan)] = _Pending(lambda states: UnitOpened(key, states))

    def seal_unit(self, unit: UnitKey, page_counts: dict[int, int]) -> None:
        ref = self._tell("seal", *unit, page_counts)
        self._pending[ref] = _Pending(lambda report: UnitSealed(unit, report))

    def write_rows(self, unit: UnitKey, rows: Sequence[ResultRow]) -> None:
        count = len(rows)
        ref = self._tell("add_rows", *unit, list(rows))
        self._pending[ref] = _Pending(lambda _: RowsWritten(unit, count))

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        answer: list[bool] = self._ask("stored", *unit, list(pages))
        return answer

    def restart_document(self, unit: UnitKey, doc_index: int, version: str) -> None:
        self._ask("restart_document", *unit, doc_index, version)

    def abandon_unit(self, unit: UnitKey) -> None:
        self._pending[self._tell("abandon", *unit)] = _Pending(lambda _: None)

    def drain(self) -> None:
        draining = [worker.actor.drain.remote() for worker in self._of_kind("replica") if worker.up]
        for patience_s in DRAIN_PATIENCE_S:
            if draining:
                _, draining = ray.wait(draining, num_returns=len(draining), timeout=patience_s)
            self.flush()
            if not draining:
                return

    def flush(self) -> None:
        if self._writer is not None:
            self._ask("flush")

    def dump_stacks(self) -> str:
        parts = []
        for worker in self._workers.values():
            if worker.info is not None and worker.info.log:
                info = worker.info
                log_tail = self._on_node(read_stacks, info.node, info.pid, info.log)
                parts.append(f"--- {worker.name} (pid {info.pid})\n{log_tail}")
        return "\n".join(parts)

    def _tell(self, method: str, *args: Any) -> Any:
        return self._writer.call.remote(method, *args)

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            return ray.get(self._tell(method, *args), timeout=WRITER_ANSWER_S)
        except Exception as error:
            raise own_error(error) or JobError(f"the writer does not answer: {error}") from error

    # Events

    def poll(self, timeout_s: float) -> list[Event]:
        events: list[Event] = []
        self._use_new_nodes()
        self._spawn_due()
        self._check_writer()
        if not self._pending:
            time.sleep(min(timeout_s, 0.05))
            return events
        ready, _ = ray.wait(list(self._pending), num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready:
            waiting = list(self._pending)
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
        for ref in ready:
            if (pending := self._pending.pop(ref, None)) is not None:
                events += self._answer(ref, pending)
        return events

    def _answer(self, ref: Any, pending: _Pending) -> list[Event]:
        worker = self._workers.get(pending.worker)
        try:
            answer = ray.get(ref)
        except Exception as error:  # noqa: BLE001 - every failure of a worker becomes an event here
            return self._failed(error, pending, worker)
        event = pending.on_answer(answer)
        return [event] if event is not None else []

    def _failed(self, error: Exception, pending: _Pending, worker: _Worker | None) -> list[Event]:
        own = own_error(error)
        if own is not None and (worker is None or worker.up or isinstance(own, UserError)):
            raise own
        if worker is None:
            if pending.worker:
                return []  # a call of a worker that was given up already
            raise JobError(f"the writer failed: {error}") from error
        if pending.number and is_chunk_loss(error):
            worker.calls.remove(pending.number)
            return [ChunkLost(pending.number)] if worker.slot.kind == "replica" else []
        if not is_loss(error) and worker.up:
            raise JobError(f"{worker.name} failed: {error}") from error
        return [self._lose(worker, error)]

    def _lose(self, worker: _Worker, error: Exception) -> Event:
        del self._workers[worker.name]
        for ref in [ref for ref, pending in self._pending.items() if pending.worker == worker.name]:
            del self._pending[ref]
        cause = cause_of(error, worker.node, started=worker.up)
        log_tail = self._log_tail(worker, error, cause)
        ray.kill(worker.actor)
        slot = worker.slot
        slot.failures = 0 if worker.up else slot.failures + 1
        backoff_s = min(MAX_BACKOFF_S, 2.0**slot.failures - 1.0)
        self._due.append((time.monotonic() + backoff_s, slot))
        if slot.kind == "renderer":
            return RendererLost(worker.name, cause, tuple(worker.calls), log_tail)
        return ReplicaLost(worker.name, cause, tuple(worker.calls), log_tail, self._promising())

    def _log_tail(self, worker: _Worker, error: Exception, cause: Cause) -> str:
        if worker.info is not None and worker.info.log and cause is not Cause.NODE:
            log_tail = self._on_node(read_log_tail, worker.info.node, worker.info.log)
            if log_tail:
                return log_tail
        return str(own_error(error) or error)

    def _on_node(self, task: Any, node: str, *args: Any) -> str:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        try:
            ref = task.options(scheduling_strategy=strategy).remote(*args)
            return str(ray.get(ref, timeout=LOG_TAIL_WITHIN_S))
        except Exception as error:  # noqa: BLE001 - a help for people, never worth failing for
            return f"(not to be had: {type(error).__name__})"

    def _check_writer(self) -> None:
        """Learn of a write that failed in the background."""
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_WRITER_S
            self._pending[self._tell("check")] = _Pending(lambda _: None)

    # Workers

    def _of_kind(self, kind: str) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.slot.kind == kind]

    def _promising(self) -> int:
        """Replicas that are being started where no start has failed. One that waits for a place does not
        count: it may wait for ever."""
        placed = [worker.slot for worker in self._of_kind("replica") if worker.info and not worker.up]
        again = [slot for _, slot in self._due if slot.kind == "replica" and slot.was_up]
        return sum(not slot.failures for slot in placed + again)

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
        stagger_s = self._config.start_stagger_s if self._spec.num_gpus else 0.0
        missing = replica_count(self._spec, self._config, nodes) - self._replica_slots
        for number in range(missing):
            self._due.append((now + number // len(new) * stagger_s, _Slot("replica")))
            self._replica_slots += 1
        for node, count in renderer_counts(self._spec, self._config, nodes, self._writer_node).items():
            if node in new:
                self._due += [(now, _Slot("renderer", node)) for _ in range(count)]

    def _spawn_due(self) -> None:
        now = time.monotonic()
        due = [slot for when, slot in self._due if when <= now]
        self._due = [(when, slot) for when, slot in self._due if when > now]
        for slot in due:
            if slot.kind == "replica":
                self._spawn_replica(slot)
            elif slot.node in live_nodes():
                self._spawn_renderer(slot)

    def _spawn_replica(self, slot: _Slot) -> None:
        name = f"replica-{next(self._names)}"
        spec = self._spec
        bundle = replica_bundle(spec, live_nodes())
        if slot.group is None:
            slot.group = placement_group([bundle], strategy="STRICT_PACK")
        actor: Any = (
            ray.remote(Replica)
            .options(
                num_cpus=bundle["CPU"],
                num_gpus=spec.num_gpus,
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    slot.group, placement_group_capture_child_tasks=True
                ),
                runtime_env={"env_vars": dict(spec.env)} if spec.env else None,
            )
            .remote(spec.make_reader, self._writer, name)
        )
        worker = self._workers[name] = _Worker(name, slot, actor)
        self._pending[actor.describe.remote()] = _Pending(lambda info: self._load(worker, info), name)

    def _spawn_renderer(self, slot: _Slot) -> None:
        name = f"renderer-{next(self._names)}"
        actor: Any = (
            ray.remote(Renderer)
            .options(
                num_cpus=0,
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
            )
            .remote(self._spec.make_renderer)
        )
        worker = self._workers[name] = _Worker(name, slot, actor)
        self._pending[actor.start.remote()] = _Pending(lambda info: self._renderer_up(worker, info), name)

    def _load(self, worker: _Worker, info: WorkerInfo) -> None:
        """Have a replica load its engine, now that the end of its log will be found should it die of that."""
        worker.info = info
        ref = worker.actor.start.remote()
        self._pending[ref] = _Pending(lambda info: self._replica_up(worker, info), worker.name)

    def _replica_up(self, worker: _Worker, info: WorkerInfo) -> Event:
        worker.info, worker.up, worker.slot.was_up = info, True, True
        store_bytes = int(live_nodes().get(info.node, {}).get("object_store_memory", 0))
        return ReplicaUp(worker.name, info.node, info.engine, info.window, info.load_s, store_bytes)

    def _renderer_up(self, worker: _Worker, info: WorkerInfo) -> Event:
        worker.info, worker.up = info, True
        return RendererUp(worker.name, info.node)
