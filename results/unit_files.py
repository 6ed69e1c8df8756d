"""The files of a unit: where they lie, what their footers say. Parquet rows are the only truth.

``pages/<unit>.parquet`` is sealed and complete; its footer carries a ``Footer``.
``partial/<unit>/g<generation>/unit.json`` is the plan of a generation under way, beside its rows
``<run>-<number>.parquet``. ``history/<unit>.g<generation>.parquet`` keeps earlier generations.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
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
PARQUET_TAIL_BYTES = 8  # footer length (4 bytes) and the magic "PAR1"


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A document as its unit was sealed: what was wanted, and what the source was then."""

    document: Document
    page_count: int
    version: str


@dataclass(frozen=True, slots=True)
class Footer:
    """What a sealed file says of itself, readable without its rows."""

    unit_id: str
    generation: int
    fingerprint: str
    counts: dict[str, int]
    documents: tuple[SealedDocument, ...]
    cut_pages: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "unit_id": self.unit_id,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "counts": self.counts,
            "cut_pages": self.cut_pages,
            "tokens": self.tokens,
            "flags": self.flags,
            "documents": [
                {
                    "document": sealed.document.to_json(),
                    "page_count": sealed.page_count,
                    "version": sealed.version,
                }
                for sealed in self.documents
            ],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Footer:
        documents = tuple(
            SealedDocument(Document.from_json(item["document"]), item["page_count"], item["version"])
            for item in fields["documents"]
        )
        return cls(
            unit_id=fields["unit_id"],
            generation=fields["generation"],
            fingerprint=fields["fingerprint"],
            counts=fields["counts"],
            documents=documents,
            cut_pages=fields["cut_pages"],
            tokens=fields["tokens"],
            flags=fields["flags"],
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
class OpenUnit:
    """A generation found under way in the store."""

    unit_id: str
    generation: int


def list_sealed(store: Store) -> Iterator[tuple[str, Entry]]:
    """Every sealed unit's id and its file, from one listing."""
    for entry in store.list("pages/"):
        if entry.path.endswith(".parquet"):
            yield entry.path.removeprefix("pages/").removesuffix(".parquet"), entry


def list_open(store: Store) -> list[OpenUnit]:
    """Every generation that has a plan under ``partial/``, from one listing."""
    found = []
    for entry in store.list("partial/"):
        parts = entry.path.split("/")
        if len(parts) == 4 and parts[3] == "unit.json":
            found.append(OpenUnit(parts[1], int(parts[2].removeprefix("g"))))
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
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_rows(store: Store, path: str, columns: list[str] | None = None) -> pa.Table | None:
    """Rows of one Parquet object, or None when it is gone. Raises StoreError when it is not Parquet."""
    found = store.read(path)
    if found is None:
        return None
    try:
        # Not pq.read_table: its data set machinery takes three times as long for the few rows of a partial.
        rows = pq.ParquetFile(pa.BufferReader(found[0])).read(columns=columns, use_threads=False)
        return rows.select(columns) if columns else rows
    except (pa.ArrowException, KeyError) as error:
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
