"""Why pages failed, the most frequent reasons first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from textwrap import shorten

import pyarrow.compute as pc

from results.rows import Status
from results.store import Store
from results.unit_files import read_rows, sealed_path

SHOWN = 5
WIDTH = 200


def failure_reasons(store: Store, unit_ids: Iterable[str]) -> Counter[str]:
    """The reasons of all failed pages of these sealed units, in the order in which they first come."""
    counts = Counter[str]()
    for unit_id in unit_ids:
        table = read_rows(store, sealed_path(unit_id), ["doc_id", "uri", "status", "reason"])
        if table is not None:
            failed = table.filter(pc.equal(table.column("status"), Status.FAILED))
            counts.update(alike(row["reason"], row["uri"], row["doc_id"]) for row in failed.to_pylist())
    return counts


def alike(reason: str, *names: str) -> str:
    """A reason without the names of its document, so that those of many count as one; its first line."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        reason = reason.replace(name, "…")
    return shorten((reason or "no reason given").splitlines()[0], WIDTH, placeholder=" …")


def told(reasons: Counter[str]) -> Iterator[str]:
    """A line for each of the most frequent reasons, and one for how many more there are."""
    width = max((len(f"{count:,}") for count in reasons.values()), default=1)
    for reason, count in reasons.most_common(SHOWN):
        yield f"  {count:>{width},} × {reason}"
    if len(reasons) > SHOWN:
        yield f"  and {len(reasons) - SHOWN:,} more reasons"
