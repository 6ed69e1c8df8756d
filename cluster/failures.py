"""What a Ray error says: which cause, and whether it speaks against the pages a worker held."""

from __future__ import annotations

from typing import Any

import ray
from ray import exceptions

from cluster.fleet import Cause
from manifests.errors import PagefleetError

NODE_WORDS = ("node has died", "node died", "node was", "node failure", "preempt", "raylet", "node is dead")
MEMORY_WORDS = ("memory monitor", "running low on memory")
"""Not "OOM": Ray names the kernel's OOM killer as one possible cause of every death it cannot explain."""


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


def cause_of(error: BaseException, node: str, *, started: bool) -> Cause:
    """Why a worker on ``node`` is gone."""
    words = str(error).lower()
    if isinstance(error, exceptions.OutOfMemoryError) or any(word in words for word in MEMORY_WORDS):
        return Cause.MEMORY if started else Cause.START
    if (
        isinstance(error, exceptions.NodeDiedError | exceptions.ActorUnavailableError)
        or getattr(error, "preempted", False)
        or any(word in words for word in NODE_WORDS)
        or (node and node not in live_nodes())
    ):
        return Cause.NODE
    return Cause.CRASH if started else Cause.START


def live_nodes() -> dict[str, dict[str, float]]:
    """Nodes that are alive and what each has in all."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call] # Ray's own gap
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
