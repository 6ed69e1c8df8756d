"""Rows of pages that were asked for and that the document does not have: few of them, however many pages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from manifests.documents import Document
from manifests.pages import DOCUMENT_PAGE, PageSpan, plan_pages
from results.rows import SCHEMA, ResultRow, rows_to_batch

BEYOND = "beyond last page"
MAX_ROWS = 1000
"""Pages past a document's end that have a row of their own; one more row stands for all that follow."""


def skipped_pages(document: Document, page_count: int) -> list[tuple[int, str]]:
    """Pages that are wanted of a document and not there, with the reason, in order.

    A selection that meets no page at all leaves one row for the document, so that it is not lost.
    """
    planned = plan_pages(document.pages, document.max_pages, page_count)
    if not planned.read and not planned.beyond:
        return [(DOCUMENT_PAGE, f"the selection {document.pages!r} meets none of {page_count} pages")]
    return beyond_pages(planned.beyond)


def beyond_pages(spans: Sequence[PageSpan]) -> list[tuple[int, str]]:
    """The rows that stand for these pages: the last of many says how far it reaches."""
    left = sum(map(len, spans))
    rows: list[tuple[int, str]] = []
    for span in spans:
        for page in span:
            if len(rows) == MAX_ROWS and left > 1:
                rows.append((page, f"{BEYOND}: {page}-{spans[-1].last}, {left} pages"))
                return rows
            rows.append((page, BEYOND))
            left -= 1
    return rows


def skipped_table(row: ResultRow, skipped: Sequence[tuple[int, str]], variants: Sequence[str]) -> pa.Table:
    """``row`` once for every page and variant, with page, reason and variant set."""
    pages = [page for page, _ in skipped for _ in variants]
    table = pa.Table.from_batches([rows_to_batch([row])]).take(pa.array(np.zeros(len(pages), np.int64)))
    columns: dict[str, list[object]] = {
        "page": [*pages],
        "reason": [reason for _, reason in skipped for _ in variants],
        "variant": [variant for _ in skipped for variant in variants],
    }
    for name, values in columns.items():
        i = SCHEMA.get_field_index(name)
        table = table.set_column(i, SCHEMA.field(i), pa.array(values, SCHEMA.field(i).type))
    return table
