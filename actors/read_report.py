"""What reading pages came to, without their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from manifests.work import ReadReport
from results.rows import LAYER_FLAG, ResultRow


def report_on(rows: Sequence[ResultRow]) -> ReadReport:
    """The driver's share of these rows."""
    return ReadReport(
        dict(Counter(str(row.status) for row in rows)),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum(row.infer_s for row in rows),
        sum(row.engine == LAYER_FLAG for row in rows),
    )
