"""What the read queue handles: chunks, parts of them, and what each replica holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cluster.fleet import ReplicaUp, UnitKey
from jobs.driver.suspects import Suspect


@dataclass(frozen=True, slots=True)
class EngineKiller:
    """A page that killed its engine when it was read alone, often enough."""

    unit: UnitKey
    doc_index: int
    page: int
    reason: str


@dataclass(slots=True)
class ChunkState:
    unit: UnitKey
    handle: Any
    node: str
    pages: list[tuple[int, int]]
    to_read: int
    image_bytes: int
    parts: int = 1
    orphaned: bool = False


@dataclass(slots=True)
class Part:
    """A chunk, or those of its pages at ``only``, waiting for a replica."""

    chunk: int
    only: tuple[int, ...] | None = None
    memory_kills: int = 0


class SuspectPage(NamedTuple):
    """One page of a chunk."""

    chunk: int
    place: int
    """Which of the chunk's pages it is."""


@dataclass(slots=True)
class Read:
    replica: str
    part: Part
    pages: int
    """Pages of it that still keep the engine busy."""
    suspect: Suspect[SuspectPage] | None = None
    answered: int = 0
    """Pages of it that are counted among the answers."""
    failed: set[tuple[int, int]] = field(default_factory=set)
    """Pages of it that the engine could not read, which are somebody else's now."""


@dataclass(slots=True)
class ReplicaLoad:
    node: str
    window: int
    reads: set[int] = field(default_factory=set)
    pages: int = 0


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """One read for one replica."""

    replica: str
    number: int
    chunk: Any
    only: tuple[int, ...] | None


def part_pages(chunk: ChunkState, only: tuple[int, ...] | None) -> int:
    """Pages of a part that keep an engine busy."""
    return chunk.to_read if only is None else len(only)


class ReplicaLoads:
    """The replicas that are up, by name, and what they can take."""

    def __init__(self) -> None:
        self.up: dict[str, ReplicaLoad] = {}
        self._stores: dict[str, int] = {}

    def add(self, event: ReplicaUp) -> None:
        self.up[event.replica] = ReplicaLoad(event.node, event.window)
        self._stores[event.node] = event.store_bytes

    @property
    def in_flight(self) -> int:
        return sum(replica.pages for replica in self.up.values())

    @property
    def window(self) -> int:
        """Pages that keep all replicas busy."""
        return sum(replica.window for replica in self.up.values())

    @property
    def widest(self) -> int:
        return max((replica.window for replica in self.up.values()), default=0)

    @property
    def nodes(self) -> set[str]:
        return {replica.node for replica in self.up.values()}

    @property
    def store_bytes(self) -> int:
        """Object stores of the nodes that have replicas, 0 where there is none."""
        return sum(self._stores[node] for node in self.nodes)

    @property
    def per_replica(self) -> dict[str, int]:
        """Pages each replica holds."""
        return {name: replica.pages for name, replica in self.up.items()}

    def least_loaded(self, excluded: Collection[str]) -> str:
        """The replica that is furthest from its window, or '' when all are full."""
        free = {
            name: replica.pages / replica.window
            for name, replica in self.up.items()
            if name not in excluded and (replica.pages < replica.window or not replica.reads)
        }
        return min(free, key=lambda name: free[name], default="")
