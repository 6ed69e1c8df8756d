"""The result row: one per page, one Parquet schema for all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
BLANK_TEXT = "[[Blank page]]"
LAYER_FLAG = "text_layer"
"""The flag of a page whose text is its text layer, and the engine of its row."""


class Status(StrEnum):
    """How a page ended. Every planned page ends as exactly one of these."""

    OK = "ok"
    BLANK = "blank"
    FALLBACK = "fallback"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Region:
    """A labelled box on the page; coordinates 0-999 of the rendered page: x1, y1, x2, y2."""

    label: str
    box: tuple[int, int, int, int]
    text: str = ""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """What became of one page. Identity is ``(doc_id, page, variant)``; pages count from 1.

    ``page`` is 0 in the one row of a document that cannot be opened. ``page_count`` is the number of
    pages the document has, 0 when unknown. ``reason`` says why, for every status but ``ok``.
    ``raw_text`` is the model's own answer where postprocessing changed it, else ``""``.
    ``width`` and ``height`` are pixels of the rendered page, ``rotation`` degrees clockwise that
    were applied to bring it upright; size and boxes are those of the upright page. Confidences are
    0 to 1, the mean over the page's characters and that of its worst line, None where an engine has
    none. ``*_s`` are seconds. ``finished_at`` is UTC.
    ``metadata`` is the manifest's unknown columns as a JSON object.
    """

    doc_id: str
    uri: str
    page: int
    status: Status
    variant: str = ""
    page_count: int = 0
    reason: str = ""
    text: str = ""
    raw_text: str = ""
    regions: tuple[Region, ...] = ()
    finish_reason: str = ""
    attempts: int = 0
    mode: str = ""
    model: str = ""
    engine: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    mean_confidence: float | None = None
    worst_confidence: float | None = None
    width: int = 0
    height: int = 0
    rotation: int = 0
    render_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    flags: tuple[str, ...] = ()
    replica: str = ""
    generation: int = 1
    fingerprint: str = ""
    source_version: str = ""
    run_id: str = ""
    finished_at: datetime | None = field(default=None)
    metadata: str = ""


REGION_TYPE = pa.struct([("label", pa.string()), ("box", pa.list_(pa.int16(), 4)), ("text", pa.string())])

SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("uri", pa.string()),
        ("page", pa.int32()),
        ("variant", pa.string()),
        ("page_count", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("text", pa.string()),
        ("raw_text", pa.string()),
        ("regions", pa.list_(REGION_TYPE)),
        ("finish_reason", pa.string()),
        ("attempts", pa.int16()),
        ("mode", pa.string()),
        ("model", pa.string()),
        ("engine", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("mean_confidence", pa.float32()),
        ("worst_confidence", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int16()),
        ("render_s", pa.float32()),
        ("queue_s", pa.float32()),
        ("infer_s", pa.float32()),
        ("flags", pa.list_(pa.string())),
        ("replica", pa.string()),
        ("generation", pa.int32()),
        ("fingerprint", pa.string()),
        ("source_version", pa.string()),
        ("run_id", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("metadata", pa.string()),
    ],
    metadata={"pagefleet.schema_version": str(SCHEMA_VERSION)},
)
"""Columns of every Parquet file under ``pages/`` and ``partial/``; documented in ``docs/output.md``."""


_VALUES = attrgetter(*SCHEMA.names)


def _region_values(rows: Sequence[ResultRow]) -> list[list[dict[str, object]]]:
    return [[{"label": r.label, "box": list(r.box), "text": r.text} for r in row.regions] for row in rows]


def _array(values: list[object], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError:  # a model may answer half of a surrogate pair: it costs that character
        return pa.array([_encodable(value) for value in values], type=kind)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return value


def rows_to_batch(rows: Sequence[ResultRow]) -> pa.RecordBatch:
    """Rows as one Arrow record batch with ``SCHEMA``."""
    by_column = zip(*map(_VALUES, rows), strict=True) if rows else [()] * len(SCHEMA)
    values = dict(zip(SCHEMA.names, map(list, by_column), strict=True))
    values["regions"] = _region_values(rows)
    columns = [_array(values[column.name], column.type) for column in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
