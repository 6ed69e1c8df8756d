"""One log line per page, for people with ``grep``."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

FIRST_CHARACTERS = 60
COLUMNS = ("status", "doc_id", "page", "completion_tokens", "infer_s", "reason", "text")


def page_lines(batch: pa.RecordBatch) -> Iterator[str]:
    """``ok scans/a.pdf p3 tokens=345 1.23s "first 60 characters"`` per row, a newline at the end."""
    times = batch.column("finished_at").to_pylist()
    columns = (batch.column(name).to_pylist() for name in COLUMNS)
    for time, (status, doc_id, page, tokens, infer_s, reason, text) in zip(
        times, zip(*columns, strict=True), strict=True
    ):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else "-"
        said = " ".join((reason or text)[: 4 * FIRST_CHARACTERS].split())[:FIRST_CHARACTERS]
        yield f'{stamp} {status} {doc_id} p{page} tokens={tokens} {infer_s:.2f}s "{said}"\n'
