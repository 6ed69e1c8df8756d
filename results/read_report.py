"""What reading pages came to: counts for the driver, and the rows it is to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from results.rows import LAYER_FLAG, ResultRow


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What reading a chunk, or some of its pages, came to; the rows themselves went to the writer.

    ``failures`` are the exception: rows of pages that the engine could not read. They are not counted in
    ``statuses`` and the writer has not seen them: whether a page or its surroundings is at fault is the
    driver's to judge, and the rows are the driver's to write. ``waiting`` says what the engine waits for
    at present (servers that are down), empty when it does not.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    infer_s: float = 0.0
    layers: int = 0
    """Pages whose text is their text layer: no engine answered for them."""
    failures: tuple[ResultRow, ...] = ()
    waiting: str = ""

    @property
    def pages(self) -> int:
        """Pages whose rows are the writer's."""
        return sum(self.statuses.values())

    def __add__(self, other: ReadReport) -> ReadReport:
        statuses = {**self.statuses}
        for status, count in other.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
        return ReadReport(
            statuses,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.infer_s + other.infer_s,
            self.layers + other.layers,
            self.failures + other.failures,
            other.waiting,
        )


def report_on(rows: Sequence[ResultRow]) -> ReadReport:
    """The driver's share of rows that the writer has."""
    return ReadReport(
        dict(Counter(str(row.status) for row in rows)),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum(row.infer_s for row in rows),
        sum(row.engine == LAYER_FLAG for row in rows),
    )
