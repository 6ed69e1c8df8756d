"""What a failure on Ray means: which cause, and whether it speaks against the pages a worker held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions
from ray._private.state import state
from ray.core.generated import gcs_pb2

from cluster.fleet import Cause
from manifests.errors import PagefleetError

actor_tables: Any = gcs_pb2
MEMORY_LINES = 2
"""Of Ray's report of a kill for memory: which node, and how full it was. Pages of advice follow."""


def own_error(error: BaseException) -> PagefleetError | None:
    """The error of ours that a worker raised and Ray wrapped, if it is one.

    Ray's wrapper is an instance of the cause's class too, but its text is another: a traceback.
    """
    for candidate in (getattr(error, "cause", None), error):
        if isinstance(candidate, PagefleetError):
            return candidate
    return None


def is_loss(error: BaseException) -> bool:
    """Whether the worker is gone, as opposed to having answered with an exception."""
    return isinstance(
        error, exceptions.RayActorError | exceptions.OutOfMemoryError | exceptions.NodeDiedError
    )


def is_chunk_loss(error: BaseException) -> bool:
    """Whether an argument of the call is gone (its node died)."""
    lost = exceptions.ObjectLostError | exceptions.ObjectFetchTimedOutError
    return isinstance(error, lost) or isinstance(getattr(error, "cause", None), lost)


@dataclass(frozen=True, slots=True)
class ActorDeath:
    """What the cluster knows of an actor's end: whether Ray killed it for memory, with its report of that,
    and whether its node was lost."""

    memory_report: str = ""
    node_lost: bool = False


def cause_of(error: BaseException, death: ActorDeath, node: str, *, started: bool) -> Cause:
    """Why a worker on ``node`` is gone."""
    if isinstance(error, exceptions.OutOfMemoryError) or death.memory_report:
        return Cause.MEMORY if started else Cause.START
    if (
        isinstance(error, exceptions.NodeDiedError | exceptions.ActorUnavailableError)
        or getattr(error, "preempted", False)
        or death.node_lost
        or (node and node not in live_nodes())
    ):
        return Cause.NODE
    return Cause.CRASH if started else Cause.START


def death_of(error: BaseException) -> ActorDeath:
    """What the cluster's table of actors says of the death behind an error. Ray's exceptions carry most
    of it as a text only, and there is no public way to the table without a dashboard."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return ActorDeath(memory_report=_first_lines(str(error)))
    actor_id = getattr(error, "actor_id", None)
    if not actor_id:
        return ActorDeath()
    try:
        accessor: Any = state._global_state_accessor
        row = accessor.get_actor_info(ray.ActorID(bytes.fromhex(actor_id)))
        return read_death(actor_tables.ActorTableData.FromString(row).death_cause) if row else ActorDeath()
    except Exception:  # noqa: BLE001 - with another version of Ray the exception's type must do
        return ActorDeath()


def read_death(cause: Any) -> ActorDeath:
    """From Ray's ``ActorDeathCause`` message."""
    died = cause.actor_died_error_context
    return ActorDeath(
        _first_lines(cause.oom_context.error_message),
        died.reason == died.NODE_DIED or died.HasField("node_death_info"),
    )


def _first_lines(report: str) -> str:
    return "\n".join(report.splitlines()[:MEMORY_LINES])


def live_nodes() -> dict[str, dict[str, float]]:
    """Nodes that are alive and what each has in all."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call] # Ray's own gap
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
