"""One log line per page, for people with ``grep``; one record per document, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

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
        said = " ".join((reason or text)[: 4 * FIRST_CHARACTERS].split())[:FIRST_CHARACTERS]
        yield f'{stamp} {status} {doc_id} p{page} tokens={tokens} {infer_s:.2f}s "{said}"\n'


def document_lines(table: pa.Table) -> Iterator[str]:
    """A JSON line per document of a table: pages, failures, tokens, and where the seconds went."""
    failed = pc.cast(pc.equal(table.column("status"), Status.FAILED), pa.int64())
    grouped = (
        table.append_column("failed", failed)
        .group_by("doc_id", use_threads=False)
        .aggregate([("page", "count"), *((name, "sum") for name in SUMS), ("finished_at", "max")])
    )
    for row in grouped.to_pylist():
        record = {
            "doc_id": row["doc_id"],
            "pages": row["page_count"],
            **{name: round(row[f"{name}_sum"], 3) for name in SUMS},
            "finished_at": row["finished_at_max"].isoformat(timespec="seconds"),
        }
        yield json.dumps(record, ensure_ascii=False) + "\n"
