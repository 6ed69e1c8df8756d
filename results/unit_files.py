"""The files of a unit: where they lie, what their footers say. Parquet rows are the only truth.

``pages/<unit>.parquet`` is sealed and complete; its footer carries a ``Footer``.
``partial/<unit>/g<generation>/unit.json`` is the plan of a generation under way, beside its rows
``<run>-<number>.parquet``. ``history/<unit>.g<generation>.parquet`` keeps earlier generations.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.documents import Document
from manifests.errors import StoreError
from manifests.units import UnitPlan
from results.store import Entry, Store

FOOTER_KEY = b"pagefleet.unit"
FOOTER_GUESS_BYTES = 256 * 1024
GROUP_BYTES = 16 * 2**20
MAX_GROUP_ROWS = 20_000
PARQUET_TAIL_BYTES = 8  # footer length (4 bytes) and the magic "PAR1"


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A document as its unit was sealed: what was wanted, and what the source was then. ``uris`` are
    where rows of it were read besides ``document.uri`` (the folder may have moved in between)."""

    document: Document
    page_count: int
    version: str
    uris: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        fields = {
            "document": self.document.to_json(),
            "page_count": self.page_count,
            "version": self.version,
        }
        return {**fields, "uris": list(self.uris)} if self.uris else fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SealedDocument:
        document = Document.from_json(fields["document"])
        return cls(document, fields["page_count"], fields["version"], tuple(fields.get("uris", ())))


@dataclass(frozen=True, slots=True)
class Footer:
    """What a sealed file says of itself, readable without its rows.

    ``fingerprint`` is what the unit as a whole was last read with, ``fingerprints`` counts the rows of
    each: a selection of them may have been read again with other settings.
    """

    unit_id: str
    generation: int
    fingerprint: str
    counts: dict[str, int]
    documents: tuple[SealedDocument, ...]
    cut_pages: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, int] = field(default_factory=dict)
    variants: tuple[str, ...] = ("",)

    def to_json(self) -> dict[str, Any]:
        return {
            "unit_id": self.unit_id,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "fingerprints": self.fingerprints,
            "variants": list(self.variants),
            "counts": self.counts,
            "cut_pages": self.cut_pages,
            "tokens": self.tokens,
            "flags": self.flags,
            "documents": [sealed.to_json() for sealed in self.documents],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Footer:
        """Undo ``to_json``; what a footer of an older version does not have is empty."""
        return cls(
            unit_id=fields["unit_id"],
            generation=fields["generation"],
            fingerprint=fields["fingerprint"],
            counts=fields["counts"],
            documents=tuple(SealedDocument.from_json(item) for item in fields["documents"]),
            cut_pages=fields["cut_pages"],
            tokens=fields["tokens"],
            flags=fields["flags"],
            fingerprints=fields.get("fingerprints", {}),
            variants=tuple(fields.get("variants", ("",))),
        )


def sealed_path(unit_id: str) -> str:
    return f"pages/{unit_id}.parquet"


def history_path(unit_id: str, generation: int) -> str:
    return f"history/{unit_id}.g{generation}.parquet"


def partial_prefix(unit_id: str, generation: int | None = None) -> str:
    return f"partial/{unit_id}/" if generation is None else f"partial/{unit_id}/g{generation:04d}/"


def plan_path(unit_id: str, generation: int) -> str:
    return f"{partial_prefix(unit_id, generation)}unit.json"


def encode_plan(plan: UnitPlan) -> bytes:
    return json.dumps(plan.to_json(), ensure_ascii=False).encode()


def read_plan(store: Store, unit_id: str, generation: int) -> UnitPlan | None:
    """The plan of a generation under way, or None when there is none."""
    found = store.read(plan_path(unit_id, generation))
    return None if found is None else UnitPlan.from_json(json.loads(found[0]))


@dataclass(frozen=True, slots=True)
class OpenGeneration:
    """A generation found under way in the store."""

    unit_id: str
    generation: int


def list_sealed(store: Store) -> Iterator[tuple[str, Entry]]:
    """Every sealed unit's id and its file, from one listing."""
    for entry in store.list("pages/"):
        if entry.path.endswith(".parquet"):
            yield entry.path.removeprefix("pages/").removesuffix(".parquet"), entry


def list_open(store: Store) -> list[OpenGeneration]:
    """Every generation that has a plan under ``partial/``, from one listing."""
    found = []
    for entry in store.list("partial/"):
        parts = entry.path.split("/")
        if len(parts) == 4 and parts[3] == "unit.json":
            found.append(OpenGeneration(parts[1], int(parts[2].removeprefix("g"))))
    return found


def list_partials(store: Store, unit_id: str, generation: int) -> list[str]:
    """The row files of a generation under way, in the order they were written."""
    prefix = partial_prefix(unit_id, generation)
    return [entry.path for entry in store.list(prefix) if entry.path.endswith(".parquet")]


def clear_partials(store: Store, unit_id: str, generation: int) -> None:
    """Delete what lies under ``partial/`` of generations up to this one, which is sealed.

    Rows go first and plans last: a generation without its plan is nobody's.
    """
    paths = [entry.path for entry in store.list(partial_prefix(unit_id))]
    for path in sorted(paths, key=lambda path: path.endswith("/unit.json")):
        if int(path.split("/")[2].removeprefix("g")) <= generation:
            store.delete(path)


def encode_table(table: pa.Table) -> bytes:
    """A table as Parquet bytes (zstd, so that text costs a third)."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=group_rows(table))
    return sink.getvalue()


def group_rows(table: pa.Table) -> int:
    """Rows to a row group of such rows: as many bytes as may be in memory at once without a thought."""
    bytes_per_row: int = max(1, table.nbytes // max(1, table.num_rows))
    return max(1, min(MAX_GROUP_ROWS, GROUP_BYTES // bytes_per_row))


def read_rows(store: Store, path: str, columns: list[str] | None = None) -> pa.Table | None:
    """Rows of one Parquet object, or None when it is gone. Raises StoreError when it is not Parquet."""
    with store.local_file(path) as file:
        if file is None:
            return None
        with _ours(store, path):
            # Not pq.read_table: its data set machinery takes three times as long for a partial's few rows.
            with pa.OSFile(os.fsencode(file)) as source, pq.ParquetFile(source) as parquet:
                rows = parquet.read(columns=columns, use_threads=False)
            return rows.select(columns) if columns else rows


def row_groups(store: Store, path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Rows of one Parquet object, a row group at a time; the object is read once.

    Raises StoreError when it is gone or not Parquet.
    """
    with store.local_file(path) as file:
        if file is None:
            raise StoreError(f"{store.root}/{path} is gone while it was needed: run the same command again")
        with _ours(store, path), pa.OSFile(os.fsencode(file)) as source, pq.ParquetFile(source) as parquet:
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, columns=columns, use_threads=False)


@contextmanager
def _ours(store: Store, path: str) -> Iterator[None]:
    """Raise StoreError for what reading a damaged or foreign file raises."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            f"{store.root}/{path} is gone while it was needed: run the same command again"
        ) from error
    except (pa.ArrowException, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise StoreError(
                f"{store.root}/{path} cannot be read ({error}): check the disk and run the same command again"
            ) from error
        raise StoreError(
            f"{store.root}/{path} is not a Parquet file pagefleet wrote ({error}): "
            "move it away and run the same command again"
        ) from error


def read_footer(store: Store, unit_id: str) -> Footer | None:
    """The footer of a sealed unit, in one small read as a rule; None when it is not sealed."""
    path = sealed_path(unit_id)
    tail = store.read_tail(path, FOOTER_GUESS_BYTES)
    if tail is None:
        return None
    needed = int.from_bytes(tail[-8:-4], "little") + PARQUET_TAIL_BYTES
    if needed > len(tail):
        tail = store.read_tail(path, needed)
    try:
        metadata = pq.read_metadata(pa.BufferReader(tail)).metadata or {}
        return Footer.from_json(json.loads(metadata[FOOTER_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"{store.root}/{path} is not a sealed unit pagefleet wrote ({error!r}): "
            "move it away and run the same command again"
        ) from error
