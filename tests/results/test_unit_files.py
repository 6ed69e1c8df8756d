"""Files of units: footers, listings, and files that are not ours."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.documents import Document
from manifests.errors import StoreError
from manifests.units import UnitPlan
from results import unit_files
from results.local_store import LocalStore
from results.rows import SCHEMA, ResultRow, Status, rows_to_batch
from results.unit_files import (
    FOOTER_KEY,
    Footer,
    OpenGeneration,
    SealedDocument,
    encode_plan,
    encode_table,
    list_open,
    list_partials,
    list_sealed,
    partial_prefix,
    plan_path,
    read_footer,
    read_plan,
    read_rows,
    sealed_path,
)

DOCUMENT = Document("a", "/in/a", version="v", pages="1-2", markdown="a")
FOOTER = Footer("u", 2, "fp", {"ok": 2}, (SealedDocument(DOCUMENT, 9, "v"),), 3, {"prompt_tokens": 5})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    return LocalStore(tmp_path / "out")


def table(*pages: int) -> pa.Table:
    return pa.Table.from_batches(
        [rows_to_batch([ResultRow("a", "/in/a", page, Status.OK) for page in pages])]
    )


def seal(store: LocalStore, footer: Footer | dict = FOOTER) -> bytes:
    sink = io.BytesIO()
    fields = footer.to_json() if isinstance(footer, Footer) else footer
    with pq.ParquetWriter(sink, SCHEMA) as writer:
        writer.write_table(table(1, 2))
        writer.add_key_value_metadata({FOOTER_KEY: json.dumps(fields)})
    store.replace(sealed_path("u"), sink.getvalue())
    return sink.getvalue()


def test_a_footer_is_read_back_without_the_rows(store):
    seal(store)
    assert read_footer(store, "u") == FOOTER
    assert read_footer(store, "none") is None


def test_a_footer_longer_than_the_guess_is_read_whole(store, monkeypatch):
    monkeypatch.setattr(unit_files, "FOOTER_GUESS_BYTES", 100)
    many = tuple(SealedDocument(replace(DOCUMENT, doc_id=f"d{i}"), 9, "v") for i in range(200))
    seal(store, replace(FOOTER, documents=many))
    assert read_footer(store, "u").documents == many


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"PAR1",
        lambda data: b"hello, this is not Parquet at all",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1",
    ],
)
def test_a_sealed_file_that_is_damaged_is_an_error_that_names_it_and_the_remedy(store, damage):
    store.replace(sealed_path("u"), damage(seal(store)))
    for read in (lambda: read_footer(store, "u"), lambda: read_rows(store, sealed_path("u"))):
        with pytest.raises(StoreError, match=r"pages/u\.parquet is not .*move it away"):
            read()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        [],
        {**FOOTER.to_json(), "documents": [{"document": {"colour": 1}, "page_count": 1, "version": ""}]},
        {**FOOTER.to_json(), "documents": [{}]},
    ],
)
def test_a_footer_of_another_program_or_a_newer_version_is_an_error_that_names_the_file(store, fields):
    seal(store, fields)
    with pytest.raises(StoreError, match=r"pages/u\.parquet"):
        read_footer(store, "u")


def test_rows_without_a_column_that_is_needed_are_an_error_that_names_the_file(store):
    store.replace("partial/u/g1/a.parquet", encode_table(pa.table({"doc_id": ["a"]})))
    with pytest.raises(StoreError, match=r"partial/u/g1/a\.parquet is not .*move it away"):
        read_rows(store, "partial/u/g1/a.parquet", ["doc_id", "fingerprint"])


def test_parquet_without_our_footer_is_an_error_that_names_the_file(store):
    store.replace(sealed_path("u"), encode_table(table(1)))
    with pytest.raises(StoreError, match=r"pages/u\.parquet"):
        read_footer(store, "u")


def test_rows_come_back_as_they_were_and_by_column(store):
    store.create("x.parquet", encode_table(table(1, 2)))
    assert read_rows(store, "x.parquet").equals(table(1, 2))
    assert read_rows(store, "x.parquet", ["page"]).column_names == ["page"]
    assert read_rows(store, "gone.parquet") is None


def test_a_plan_is_read_back_from_where_it_lies(store):
    plan = UnitPlan("u", 3, (DOCUMENT,), {0: "2"}, "base")
    assert read_plan(store, "u", 3) is None
    store.create(plan_path("u", 3), encode_plan(plan))
    assert read_plan(store, "u", 3) == plan
    assert read_plan(store, "u", 2) is None


def test_listings_find_sealed_units_open_generations_and_their_rows_and_nothing_else(store):
    seal(store)
    store.create("pages/notes.txt", b"")
    for unit_id, generation in (("a", 1), ("b", 12)):
        store.create(plan_path(unit_id, generation), b"{}")
        store.create(f"{partial_prefix(unit_id, generation)}r-2.parquet", b"")
        store.create(f"{partial_prefix(unit_id, generation)}r-1.parquet", b"")
    store.create("partial/c/g0001/r-1.parquet", b"rows whose plan was deleted")
    assert [unit_id for unit_id, _ in list_sealed(store)] == ["u"]
    assert list_open(store) == [OpenGeneration("a", 1), OpenGeneration("b", 12)]
    assert list_partials(store, "b", 12) == [f"partial/b/g0012/r-{n}.parquet" for n in (1, 2)]
    assert list_partials(store, "b", 1) == []
