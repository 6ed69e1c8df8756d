"""One log line per page, for people with ``grep``; one record per document, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from results.rows import Status

FIRST_CHARACTERS = 60
NO_TIME = "NaT"
SUMS = ("failed", "prompt_tokens", "completion_tokens", "render_s", "queue_s", "infer_s")
COLUMNS = ("status", "doc_id", "page", "completion_tokens", "infer_s", "reason", "text")


def page_lines(batch: pa.RecordBatch) -> Iterator[str]:
    """``ok scans/a.pdf p3 tokens=345 1.23s "first 60 characters"`` per row, a newline at the end."""
    times = np.datetime_as_string(batch.column("finished_at").to_numpy(zero_copy_only=False), unit="s")
    columns = (batch.column(name).to_pylist() for name in COLUMNS)
    for time, (status, doc_id, page, tokens, infer_s, reason, text) in zip(
        times.tolist(), zip(*columns, strict=True), strict=True
    ):
        stamp = "-" if time == NO_TIME else f"{time}Z"
        excerpt = " ".join((reason or text)[: 4 * FIRST_CHARACTERS].split())[:FIRST_CHARACTERS]
        yield f'{stamp} {status} {doc_id} p{page} tokens={tokens} {infer_s:.2f}s "{excerpt}"\n'


class DocumentLog:
    """A record per document: pages, failures, tokens, and where the seconds went."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Any]] = {}

    def add(self, table: pa.Table) -> None:
        """Count rows; those of one document may come in several tables."""
        failed = pc.cast(pc.equal(table.column("status"), Status.FAILED), pa.int64())
        grouped = (
            table.append_column("failed", failed)
            .group_by("doc_id", use_threads=False)
            .aggregate([("page", "count"), *((name, "sum") for name in SUMS), ("finished_at", "max")])
        )
        for row in grouped.to_pylist():
            record = self._records.setdefault(
                row["doc_id"], {"doc_id": row["doc_id"], "pages": 0, **dict.fromkeys(SUMS, 0)}
            )
            record["pages"] += row["page_count"]
            for name in SUMS:
                record[name] += row[f"{name}_sum"]
            ended = row["finished_at_max"]
            record["finished_at"] = max(filter(None, (record.get("finished_at"), ended)), default=None)

    def encode(self) -> bytes:
        """A JSON line per document."""
        return "".join(
            f"{json.dumps(_plain(record), ensure_ascii=False)}\n" for record in self._records.values()
        ).encode()


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    ended = record["finished_at"]
    return {
        **record,
        **{name: round(record[name], 3) for name in SUMS},
        "finished_at": ended.isoformat(timespec="seconds") if ended else None,
    }
