"""What reading pages came to: counts for the driver, and the rows it is to judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from results.rows import LAYER_FLAG, ResultRow, Status


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What reading a chunk, or some of its pages, came to; the rows themselves went to the writer.

    ``statuses`` counts pages: one of several variants once, as ``fallback`` if it is that in any.
    ``failures`` are the exception: rows of what the engine could not read. Their pages are not counted in
    ``statuses``, even if other variants were answered, and the writer has not seen them: whether a page or
    its surroundings is at fault is the driver's to judge, and the rows are the driver's to write. ``waiting``
    says what the engine waits for at present (servers that are down), empty when it does not.
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
        """Pages whose rows are the writer's, in all variants."""
        return sum(self.statuses.values())

    @property
    def failed_pages(self) -> int:
        """Pages that the engine could not read, in one variant or more."""
        return len({(row.doc_id, row.page) for row in self.failures})

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


def report_on(rows: Sequence[ResultRow], failures: Sequence[ResultRow] = ()) -> ReadReport:
    """The driver's share of rows that the writer has, and of those it has not; all of a page at once."""
    failed = {(row.doc_id, row.page) for row in failures}
    statuses: dict[tuple[str, int], str] = {}
    for row in rows:
        page = row.doc_id, row.page
        if page not in failed and (page not in statuses or row.status is Status.FALLBACK):
            statuses[page] = str(row.status)
    return ReadReport(
        dict(Counter(statuses.values())),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum(row.infer_s for row in rows),
        sum(row.engine == LAYER_FLAG for row in rows),
        tuple(failures),
    )
