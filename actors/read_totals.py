"""What reading a chunk came to, added up row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from manifests.rows import ResultRow
from manifests.work import LAYER_FLAG, ReadReport


class ReadTotals:
    """Adds up what a chunk came to."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._infer_s = 0.0
        self._layers = 0

    def add(self, rows: Sequence[ResultRow]) -> None:
        for row in rows:
            self._statuses[row.status] += 1
            self._prompt_tokens += row.prompt_tokens
            self._completion_tokens += row.completion_tokens
            self._infer_s += row.infer_s
            self._layers += row.engine == LAYER_FLAG

    def report(self) -> ReadReport:
        return ReadReport(
            dict(self._statuses),
            self._prompt_tokens,
            self._completion_tokens,
            self._infer_s,
            self._layers,
        )
