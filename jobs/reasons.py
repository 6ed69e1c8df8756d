"""Why pages failed, the most frequent reasons first."""

from __future__ import annotations

from collections import Counter
from textwrap import shorten

import pyarrow.compute as pc

from jobs.summary import Totals
from results.rows import Status
from results.store import Store
from results.unit_files import read_rows, sealed_path

TOP_REASONS = 5
WIDTH = 200


def top_reasons(store: Store, totals: Totals, count: int = TOP_REASONS) -> dict[str, int]:
    """The most frequent reasons why pages failed, made alike, with how many pages each has."""
    reasons = Counter[str]()
    for unit_id in totals.with_failures:
        table = read_rows(store, sealed_path(unit_id), ["doc_id", "uri", "status", "reason"])
        if table is not None:
            failed = table.filter(pc.equal(table.column("status"), Status.FAILED))
            reasons.update(alike(row["reason"], row["uri"], row["doc_id"]) for row in failed.to_pylist())
    return dict(reasons.most_common(count))


def alike(reason: str, *names: str) -> str:
    """A reason without the names of its document, so that those of many count as one; its first line."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        reason = reason.replace(name, "…")
    return shorten((reason.strip() or "no reason given").splitlines()[0], WIDTH, placeholder=" …")
