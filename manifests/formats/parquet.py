"""Manifests as Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.formats.files import Line, opened
from manifests.identity import shown

BATCH_ROWS = 4096
_BATCH_BYTES = 32 << 20
_RESULT_COLUMNS = frozenset({"doc_id", "page", "status", "fingerprint"})
_ADDRESSES = frozenset({"uri", "image", "images"})


def parquet_lines(path: Path) -> Iterator[Line]:
    """The rows, batch by batch. Columns of bytes are no metadata and are not read."""
    with opened(path) as source:
        yield from _lines(shown(path), source)


def _lines(name: str, source: BinaryIO) -> Iterator[Line]:
    number = 0
    try:
        with pq.ParquetFile(source) as file:
            columns = _columns(name, file.schema_arrow)
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata), columns=list(columns)):
                renamed = batch.rename_columns([columns[written] for written in batch.schema.names])
                for fields in renamed.to_pylist():
                    number += 1
                    yield Line(f"{name}:row {number}", fields)
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ManifestError(f"{name}: cannot be read as Parquet: {error}") from error


def _columns(name: str, schema: pa.Schema) -> dict[str, str]:
    """The columns to read: as they are written, and without white space around them."""
    names = [field.name.strip() for field in schema]
    if set(names) >= _RESULT_COLUMNS:
        raise ManifestError(f"{name}: holds result rows, no manifest: failures.jsonl of an output is one")
    if not _ADDRESSES & set(names) or len(set(names)) < len(names):
        raise ManifestError(f"{name}: columns: must be unique and include uri, got {names}")
    kept = {field.name: field.name.strip() for field in schema if not _holds_bytes(field.type)}
    for address in sorted(_ADDRESSES & set(names) - set(kept.values())):
        raise ManifestError(
            f"{name}: columns: {address} must be text, not bytes: write pictures as files and name those"
        )
    return kept


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """So many rows that a batch of them stays small, however much a row holds."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    widest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(BATCH_ROWS, _BATCH_BYTES // max(1, widest)))
