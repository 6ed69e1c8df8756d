"""Manifests in three formats: what they give, what is refused and how, and in how much memory."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.documents import local_path
from manifests.errors import ManifestError
from manifests.identity import document_id, local_uri, valid_id
from manifests.reader import read_manifest, validate_manifest
from manifests.sources import local_version
from tests.peak_memory import peak_memory

SHA = "ab" * 32


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(folder: Path, *rows: dict[str, Any]) -> Path:
    return write(folder / "m.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def refusal(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    with pytest.raises(ManifestError) as validated:
        validate_manifest(path)
    assert str(validated.value).startswith(str(caught.value))
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_relative_uri_resolves_against_the_manifest_and_names_the_document(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    scan = write(tmp_path / "a b" / 'é😀"1".pdf', "12345")
    (document,) = read_manifest(
        jsonl(tmp_path, {"uri": './a b//é😀"1".pdf', "pages": "1-3", "prompt": "Read"})
    )
    assert document.doc_id == 'a b/é😀"1".pdf'
    assert document.uri == str(scan)
    assert (document.pages, document.prompt) == ("1-3", "Read")
    assert document.size == 5
    assert document.version == local_version(5, scan.stat().st_mtime_ns)


def test_default_ids_are_never_absolute(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"uri": str(tmp_path / "x" / "a.pdf")},
        {"uri": "/elsewhere/b.pdf"},
        {"uri": "../c.pdf"},
        {"uri": "s3://bucket/deep/key.pdf", "size": 7, "etag": '"e1"'},
        {"uri": "file:///else%20where/d.pdf"},
    )
    documents = list(read_manifest(path))
    assert [document.doc_id for document in documents] == [
        "x/a.pdf",
        "elsewhere/b.pdf",
        "../c.pdf",
        "bucket/deep/key.pdf",
        "else where/d.pdf",
    ]
    assert documents[3].uri == "s3://bucket/deep/key.pdf"
    assert (documents[3].size, documents[3].version) == (7, "e1")
    assert documents[4].uri == "/else where/d.pdf"


def test_a_missing_file_is_still_a_document(tmp_path: Path) -> None:
    (document,) = read_manifest(jsonl(tmp_path, {"uri": "gone.pdf"}))
    assert (document.size, document.version) == (0, "")


def test_a_given_sha256_is_the_version(tmp_path: Path) -> None:
    write(tmp_path / "a.pdf", "1")
    (document,) = read_manifest(jsonl(tmp_path, {"uri": "a.pdf", "sha256": SHA.upper()}))
    assert (document.sha256, document.version) == (SHA, f"sha256:{SHA}")


def test_unknown_columns_become_metadata_of_texts_and_numbers(tmp_path: Path) -> None:
    row = {"uri": "a.pdf", "year": 1850, "town": "Αθήνα", "tags": ["a"], "old": True, "none": None}
    (document,) = read_manifest(jsonl(tmp_path, row))
    expected = {"year": 1850, "town": "Αθήνα", "tags": '["a"]', "old": "true"}
    assert json.loads(document.metadata) == expected


def test_an_id_may_be_a_long_name_with_dots_and_may_be_a_number(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, {"uri": "a.pdf", "id": "x" * 300}, {"uri": "b.pdf", "id": "../up"}, {"uri": "c", "id": 7}
    )
    assert [document.doc_id for document in read_manifest(path)] == ["x" * 300, "../up", "7"]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"uri": "a.pdf"}\r\n\r\n{"uri": "b.pdf"}\r\n',
        b'{"uri": "a.pdf"}\n{"uri": "b.pdf"}',
    ],
)
def test_jsonl_may_have_a_bom_crlf_empty_lines_and_no_last_newline(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "m.ndjson", content)
    assert [document.doc_id for document in read_manifest(path)] == ["a.pdf", "b.pdf"]
    assert validate_manifest(path) == 2


def test_csv_may_have_a_bom_crlf_quotes_and_line_breaks_in_cells(tmp_path: Path) -> None:
    content = (
        '\ufeffuri,prompt,pages,size,note,\r\n"a, ""b"".pdf","two\r\nlines",3,,x\r\n\r\nc.pdf\r\n,,,,,\r\n'
    )
    first, second = read_manifest(write(tmp_path / "m.csv", content))
    assert first.doc_id == 'a, "b".pdf'
    assert (first.prompt, first.pages) == ("two\r\nlines", "3")
    assert json.loads(first.metadata) == {"note": "x"}
    assert (second.doc_id, second.metadata) == ("c.pdf", "")


def test_parquet_gives_the_same_documents_as_jsonl(tmp_path: Path) -> None:
    rows = [{"uri": "a.pdf", "pages": "2-", "n": 1.5}, {"uri": "b.pdf", "pages": None, "n": float("nan")}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    assert list(read_manifest(tmp_path / "m.parquet")) == list(read_manifest(jsonl(tmp_path, *rows)))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{uri}", "json: must be one JSON object per line"),
        (b"[" * 100_000, "json: must be one JSON object per line"),
        (b'["a.pdf"]', "json: must be an object, got list"),
        (b'{"id": "x"}', "uri: must be given"),
        (b'{"uri": ""}', "uri: must be given"),
        (b'{"uri": 5}', "uri: must be text, got 5"),
        (b'{"uri": "a\\u0000.pdf"}', "uri: must not hold a NUL"),
        (b'{"uri": "http://x/a.pdf"}', "uri: must be a path, s3://bucket/key or file:///path"),
        (b'{"uri": "s3://bucket"}', "uri: must be a path, s3://bucket/key"),
        (b'{"uri": "a.pdf", "pages": "0"}', "pages: must be 1 or more, got 0"),
        (b'{"uri": "a.pdf", "pages": [1]}', "pages: must be text, got [1]"),
        (b'{"uri": "a.pdf", "sha256": "12"}', "sha256: must be 64 hexadecimal digits"),
        (b'{"uri": "a.pdf", "size": -1}', "size: must be a number, 0 or more, got -1"),
        (b'{"uri": "a.pdf", "id": "a\\nb"}', "id: must not hold NUL or control characters"),
        (b'{"uri": "a.pdf", "id": "' + b"x" * 1025 + b'"}', "id: must be at most 1024 bytes, got 1025"),
        (b'{"uri": "a.pdf", "id": "/etc/x"}', "id: must be relative: never start with /, got '/etc/x'"),
        (b'{"uri": "a.pdf", "id": ".."}', "id: must be more than dots, got '..'"),
        (b'{"uri": "\\ud800.pdf"}', "json: must be valid Unicode"),
        (b'{"uri": "a\xff.pdf"}', "encoding: must be UTF-8"),
    ],
)
def test_a_bad_line_is_refused_with_file_line_field_and_what_is_allowed(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    path = write(tmp_path / "m.jsonl", b'{"uri": "good.pdf"}\n' + line + b"\n")
    assert refusal(path).startswith(f"m.jsonl:2: {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("url,pages\na.pdf,1\n", "m.csv:1: header: must name a column uri"),
        ("uri;pages\na.pdf;1\n", "m.csv:1: header: must name a column uri, cells parted by commas"),
        ("uri,a,a\nx,1,2\n", "m.csv:1: header: every column must have a name of its own"),
        ("uri,prompt\na.pdf,x\nb.pdf,x,y\n", "m.csv:3: row: must have at most 2 cells"),
        ('uri,prompt\na.pdf,"one\ntwo"\nb.pdf,x,y\n', "m.csv:4: row: must have at most 2 cells"),
        ('uri\n"a.pdf\n', "m.csv:2: row: must be valid CSV"),
        ("uri\n", "m.csv: has no rows"),
        ("", "m.csv: has no rows"),
        ("uri\ncaf\xe9.pdf\n".encode("latin-1"), "m.csv:2: encoding: must be UTF-8"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, content: str | bytes, problem: str) -> None:
    assert refusal(write(tmp_path / "m.csv", content)).startswith(problem)


def test_bad_parquet_names_the_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["a.pdf", None]}), tmp_path / "m.parquet")
    assert refusal(tmp_path / "m.parquet").startswith("m.parquet:row 2: uri: must be given")
    pq.write_table(pa.table({"url": ["a.pdf"]}), tmp_path / "n.parquet")
    assert refusal(tmp_path / "n.parquet").startswith("n.parquet: columns: must be unique and include uri")
    write(tmp_path / "broken.parquet", b"PAR1 and no more")
    assert refusal(tmp_path / "broken.parquet").startswith("broken.parquet: cannot be read as Parquet")


def test_the_extension_decides_then_the_content(tmp_path: Path) -> None:
    assert list(read_manifest(write(tmp_path / "list", '{"uri": "a.pdf"}')))
    assert refusal(write(tmp_path / "m.xlsx", "PK")).startswith(
        "m.xlsx: a manifest's extension must be one of"
    )
    pq.write_table(pa.table({"uri": ["a.pdf"]}), tmp_path / "m.jsonl")
    assert refusal(tmp_path / "m.jsonl").startswith("m.jsonl: is a Parquet file")
    assert refusal(write(tmp_path / "n.parquet", "uri\n")).startswith("n.parquet: is not a Parquet file")
    assert refusal(tmp_path / "none.csv").startswith("none.csv: cannot be read: No such file")


def test_validation_names_the_first_twenty_bad_lines_and_counts_the_others(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *({"uri": "a.pdf", "pages": "0" if n % 2 else ""} for n in range(100)))
    with pytest.raises(ManifestError) as caught:
        validate_manifest(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0] == f"{path}:2: pages: must be 1 or more, got 0"
    assert lines[-1] == "and 30 more"


def test_an_endless_line_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    assert refusal(path).startswith("m.jsonl:1: line: must be at most")


@pytest.mark.parametrize("extension", ["jsonl", "parquet"])
def test_a_hundred_thousand_rows_stream_in_constant_memory(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"m.{extension}"
    if extension == "parquet":
        pq.write_table(pa.table({"uri": [f"s3://b/{n:07}.pdf" for n in range(100_000)]}), path)
    else:
        write(path, "".join(f'{{"uri": "s3://b/{n:07}.pdf"}}\n' for n in range(100_000)))
    rows = read_manifest(path)
    next(rows)
    with peak_memory() as peak:  # it slows every allocation many times over: a part is enough
        read = 1 + sum(1 for _ in islice(rows, 10_000))
    assert read + sum(1 for _ in rows) == 100_000
    assert peak.bytes < 4 << 20


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_a_uri_leads_back_to_any_file_name(raw: bytes) -> None:
    path = f"/folder/{os.fsdecode(raw)}"
    uri = local_uri(path)
    uri.encode()
    assert os.fsencode(local_path(uri)) == os.fsencode(Path(path))


@given(st.binary(min_size=1, max_size=1500))
def test_any_path_becomes_an_id_that_a_manifest_takes(raw: bytes) -> None:
    doc_id = document_id(os.fsdecode(raw))
    assert valid_id(doc_id) == doc_id
    assert len(doc_id.encode()) <= 1024
    assert doc_id.isprintable() or all(
        ord(character) > 0x9F for character in doc_id if not character.isprintable()
    )


def test_names_that_differ_only_in_bad_bytes_have_ids_of_their_own() -> None:
    assert document_id("a\udcff.pdf") != document_id("a\udcfe.pdf")
    assert document_id("a\udcff.pdf").endswith(".pdf")


def test_a_remote_address_is_no_local_path() -> None:
    with pytest.raises(ValueError, match="not a local file"):
        local_path("s3://b/k.pdf")
