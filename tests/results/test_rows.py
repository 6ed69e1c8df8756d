"""Result rows and their Arrow schema."""

from __future__ import annotations

import io
from dataclasses import fields
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.rows import SCHEMA, SCHEMA_VERSION, Region, ResultRow, Status, rows_to_batch

FULL = ResultRow(
    doc_id="x/ä.pdf",
    uri="/in/x/ä.pdf",
    page=7,
    status=Status.FALLBACK,
    variant="short",
    page_count=9,
    reason="truncated",
    text="two\nlines",
    raw_text="raw",
    regions=(Region("line", (0, 1, 998, 999), "two"), Region("figure", (5, 6, 7, 8))),
    finish_reason="length",
    attempts=3,
    mode="plain",
    model="m",
    engine="e",
    prompt_tokens=11,
    completion_tokens=12,
    width=100,
    height=200,
    rotation=270,
    render_s=0.5,
    queue_s=0.25,
    infer_s=1.5,
    flags=("damaged", "page_image"),
    replica="replica-3",
    generation=2,
    fingerprint="fp",
    source_version="1-2",
    run_id="run",
    finished_at=datetime(2025, 3, 14, 12, 0, 0, 123456, UTC),
    metadata='{"a": 1}',
)


def through_parquet(*rows: ResultRow) -> list[dict]:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_batches([rows_to_batch(rows)]), sink)
    return pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist()


def test_every_field_of_a_row_is_a_column_in_the_same_order():
    # a column that is missing would be lost in silence
    assert {f.name for f in fields(ResultRow)} == set(SCHEMA.names)
    assert len(SCHEMA.names) == len(set(SCHEMA.names))


def test_a_full_row_comes_back_from_parquet_as_it_was():
    (found,) = through_parquet(FULL)
    for name in SCHEMA.names:
        if name not in ("regions", "flags"):
            assert found[name] == getattr(FULL, name), name
    assert found["flags"] == list(FULL.flags)
    assert found["regions"] == [
        {"label": "line", "box": [0, 1, 998, 999], "text": "two"},
        {"label": "figure", "box": [5, 6, 7, 8], "text": ""},
    ]


def test_a_bare_row_has_no_null_but_its_time_and_confidences():
    (found,) = through_parquet(ResultRow("a", "/a", 1, Status.OK))
    assert [name for name, value in found.items() if value is None] == [
        "mean_confidence",
        "worst_confidence",
        "finished_at",
    ]


def test_many_rows_keep_their_order_and_no_rows_are_a_batch_too():
    rows = [ResultRow("a", "/a", page, Status.OK) for page in (3, 1, 2)]
    assert rows_to_batch(rows).column("page").to_pylist() == [3, 1, 2]
    empty = rows_to_batch([])
    assert (empty.num_rows, empty.schema) == (0, SCHEMA)


def test_the_schema_carries_its_version():
    assert SCHEMA.metadata[b"pagefleet.schema_version"] == str(SCHEMA_VERSION).encode()


@pytest.mark.parametrize("field", ["text", "raw_text", "reason"])
def test_text_that_is_no_valid_unicode_costs_its_odd_characters_and_not_the_job(field):
    """Half of a surrogate pair is what a truncated ``\\ud83d`` in a server's JSON becomes."""
    (found,) = through_parquet(ResultRow("a", "/a", 1, Status.OK, **{field: "before \ud83d after"}))
    assert found[field].startswith("before ")
    assert found[field].endswith(" after")


def test_a_region_with_odd_characters_does_not_cost_the_job_either():
    row = ResultRow("a", "/a", 1, Status.OK, regions=(Region("line", (0, 0, 1, 1), "x\udc80"),))
    assert through_parquet(row)[0]["regions"][0]["text"].startswith("x")


@pytest.mark.parametrize("name", list(Status))
def test_a_status_is_stored_as_its_plain_name(name):
    assert through_parquet(ResultRow("a", "/a", 1, name))[0]["status"] == str(name)
