"""Where the fleet runs and how wide it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.roles import Reader, Renderer, RowSink
from results.writer import UnitWriter


class ClusterConfig(BaseModel):
    """Placement and limits: nothing here changes a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(
        "",
        description="Ray cluster to join ('auto', host:port); empty: RAY_ADDRESS, else a local one.",
    )
    num_cpus: int | None = Field(None, ge=1, description="Cores of a local cluster; default: all.")
    object_store_bytes: int | None = Field(
        None, ge=80 * 2**20, description="Object store of a local cluster; default: Ray's."
    )
    replicas: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Engine replicas; auto: as many as the cluster's GPUs or cores hold."
    )
    renderers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Renderers per node."
    )
    window_bytes: int | None = Field(
        None,
        ge=2**20,
        description="Rendered pages in flight per node, in bytes; default: what keeps the replicas busy.",
    )
    start_stagger_s: float = Field(
        2.0,
        ge=0,
        description="Seconds between the starts of two engines with GPUs on one node: all at once they "
        "collide over ports and compile caches.",
    )
    start_timeout_s: float = Field(900.0, gt=0, description="How long an engine may take to load.")
    worker_logs: bool = Field(False, description="Show the workers' own output.")


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """What the workers are made of: picklable factories, called in the worker's process, and what one
    replica occupies. ``make_reader`` gets the sink for its rows and the replica's name."""

    make_renderer: Callable[[], Renderer]
    make_reader: Callable[[RowSink, str], Reader]
    make_writer: Callable[[], UnitWriter]
    num_cpus: float = 1.0
    num_gpus: int = 0
    memory_bytes: int = 0
    gpus: str = ""
    """GPUs of a local cluster, by number: ``0,1``; empty: all."""
    idle_gpus: str = ""
    """Why not to leave the GPUs of a cluster idle, for an engine nobody chose; empty: it may."""
