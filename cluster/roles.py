"""What the workers are, seen from the fleet: small protocols that ``jobs`` fills in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from manifests.work import RenderCall, RenderReport
from results.read_report import ReadReport
from results.rows import ResultRow

Chunk = Any
"""Rendered pages. Only a renderer makes one and only a reader looks into it: the fleet passes it on."""

RowSink = Callable[[str, int, Sequence[ResultRow]], Awaitable[None]]
"""Takes rows of a unit's generation; returns when they are the writer's."""


class Renderer(Protocol):
    """Answers render calls, one at a time, in a process of its own."""

    def render(self, call: RenderCall) -> tuple[RenderReport, Chunk]: ...


class ReaderInfo(Protocol):
    """What a reader tells of its engine."""

    @property
    def name(self) -> str: ...

    @property
    def window(self) -> int:
        """Pages that keep it busy."""


class Reader(Protocol):
    """Reads chunks with one engine, any number of them at a time; rows go to its sink."""

    @property
    def info(self) -> ReaderInfo: ...

    @property
    def waiting(self) -> str:
        """What the engine waits for at present, empty when it does not."""

    async def warm_up(self) -> None:
        """Read one synthetic page, so that an engine that cannot read never holds real ones."""

    async def read(
        self,
        chunk: Chunk,
        only: Sequence[int] | None = None,
        tell: Callable[[ReadReport], None] | None = None,
    ) -> ReadReport:
        """Read a chunk's pages or those at ``only``; ``tell`` hears of them as they finish.

        Raises EngineDead when the engine will not answer again.
        """

    async def drain(self) -> None:
        """Begin no more pages; returns when the sink has every page that is finished."""

    async def close(self) -> None: ...
