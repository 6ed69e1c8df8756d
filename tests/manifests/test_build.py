"""Building a manifest: what was found in a folder, written down so that reading it gives the same."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from manifests.build import BuiltManifest, build_manifest
from manifests.documents import Document
from manifests.errors import DocumentError, ManifestError
from manifests.inputs import expand_inputs
from manifests.reader import read_manifest
from manifests.sources import SourceStat
from manifests.survey import survey

EXTENSIONS = ["jsonl", "csv", "parquet"]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ordinary, odd and unreadable names, which is the working directory."""
    folder = tmp_path / 'my "scans" 😀'
    (folder / "deep, er").mkdir(parents=True)
    for name in ("a.pdf", "b é.png", "deep, er/c.pdf", "new\r\nline.pdf", "caf\udce9.pdf"):
        (folder / name).write_bytes(os.fsencode(name))
    (folder / "gone.pdf").symlink_to("nowhere.pdf")
    monkeypatch.chdir(folder)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def identity(documents: Any) -> list[tuple[str, str, int, str]]:
    return [(d.doc_id, d.uri, d.size, d.version) for d in documents]


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("place", [".", "..", "../lists"])
def test_a_manifest_read_back_gives_the_same_documents(corpus: Path, extension: str, place: str) -> None:
    inputs = expand_inputs([str(corpus)])
    output = Path(place) / f"m.{extension}"
    assert build_manifest(inputs, output) == BuiltManifest(documents=6, errors=1)
    back = expand_inputs([str(output)])
    assert [os.path.realpath(d.uri) for d in back] == [os.path.realpath(d.uri) for d in inputs]
    assert [(d.doc_id, d.size, d.version) for d in back] == [(d.doc_id, d.size, d.version) for d in inputs]
    assert survey(back).digest == survey(inputs).digest


def test_a_folder_that_moved_with_its_manifest_is_the_same(corpus: Path, tmp_path: Path) -> None:
    (corpus / "caf\udce9.pdf").unlink()
    build_manifest(expand_inputs([str(corpus)]), corpus / "m.jsonl")
    before = [(d.doc_id, d.version) for d in read_manifest(corpus / "m.jsonl")]
    moved = corpus.rename(tmp_path / "moved")
    after = list(read_manifest(moved / "m.jsonl"))
    assert [(d.doc_id, d.version) for d in after] == before
    assert all(d.uri.startswith(str(moved)) for d in after)


def test_files_elsewhere_are_named_by_their_absolute_path(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "lists" / "m.jsonl"
    build_manifest(expand_inputs(["a.pdf"]), output)
    assert [row["uri"] for row in rows(output)] == [str(corpus / "a.pdf")]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_page_counts_and_hashes_are_written_and_failures_told(corpus: Path, extension: str) -> None:
    def count(document: Document) -> int:
        if document.doc_id == "b é.png":
            raise DocumentError("damaged")
        return 3

    output = Path(f"m.{extension}")
    built = build_manifest(expand_inputs(["."]), output, hashes=True, count_pages=count)
    assert built == BuiltManifest(documents=6, errors=2)
    documents = {document.doc_id: document for document in read_manifest(output)}
    metadata = {doc_id: json.loads(document.metadata) for doc_id, document in documents.items()}
    assert str(metadata["a.pdf"]["page_count"]) == "3"
    assert metadata["b é.png"] == {"error": "damaged"}
    assert metadata["gone.pdf"] == {"error": "No such file or directory"}
    assert documents["a.pdf"].version == f"sha256:{hashlib.sha256(b'a.pdf').hexdigest()}"


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_manifest_rebuilt_from_a_manifest_keeps_its_columns(corpus: Path, extension: str) -> None:
    Path("old.jsonl").write_text(
        json.dumps({"uri": "a.pdf", "id": "one", "pages": "2", "prompt": "Read", "town": "Rhodes"})
        + "\n"
        + json.dumps({"uri": "s3://b/k.pdf", "size": 3, "etag": "e", "page_count": "many", "error": "old"})
    )
    build_manifest(expand_inputs(["old.jsonl"]), Path(f"new.{extension}"))
    first, second = read_manifest(Path(f"new.{extension}"))
    assert (first.doc_id, first.pages, first.prompt) == ("one", "2", "Read")
    assert json.loads(first.metadata) == {"town": "Rhodes"}
    assert (second.uri, second.size, second.version) == ("s3://b/k.pdf", 3, "e")
    assert json.loads(second.metadata) == {"page_count": "many"}


def test_remote_documents_without_a_version_are_looked_up(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"uri": "s3://b/a.pdf"}\n{"uri": "s3://b/b.pdf"}\n{"uri": "s3://b/c.pdf", "etag": "known"}\n'
    )

    def stat_remote(uri: str) -> SourceStat:
        if uri.endswith("b.pdf"):
            raise DocumentError("s3://b/b.pdf: not found")
        return SourceStat(9, "found")

    output = tmp_path / "out.jsonl"
    build_manifest(expand_inputs([str(source)]), output, stat_remote=stat_remote)
    assert [(row["size"], row.get("version"), row.get("error")) for row in rows(output)] == [
        (9, "found", None),
        (0, None, "s3://b/b.pdf: not found"),
        (0, "known", None),
    ]


def test_a_build_that_breaks_leaves_the_old_manifest_and_nothing_else(corpus: Path) -> None:
    output = Path("m.jsonl")
    build_manifest(expand_inputs(["."]), output)
    before = output.read_bytes(), sorted(Path().iterdir())

    def count(document: Document) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_manifest(expand_inputs(["."]), output, count_pages=count)
    assert (output.read_bytes(), sorted(Path().iterdir())) == before


def test_where_nothing_can_be_written_the_build_is_refused(corpus: Path) -> None:
    inputs = expand_inputs(["."])
    with pytest.raises(ManifestError, match="extension must be one of"):
        build_manifest(inputs, Path("m.txt"))
    with pytest.raises(ManifestError, match=r"a\.pdf/m\.jsonl: cannot be written"):
        build_manifest(inputs, Path("a.pdf/m.jsonl"))


def test_what_a_job_would_refuse_is_not_written_down(corpus: Path) -> None:
    Path("twice.jsonl").write_text('{"uri": "a.pdf"}\n{"uri": "./a.pdf"}\n')
    with pytest.raises(ManifestError, match=r"twice\.jsonl:2: id: 'a\.pdf' is already that of .*:1"):
        build_manifest(expand_inputs(["twice.jsonl"]), Path("m.jsonl"))
    Path("bad.jsonl").write_text('{"uri": 5}\n{"uri": "a.pdf", "pages": "0"}\n')
    with pytest.raises(ManifestError, match=r"bad\.jsonl:1: uri: .*\n.*bad\.jsonl:2: pages: "):
        build_manifest(expand_inputs(["bad.jsonl"]), Path("m.jsonl"))
    assert not Path("m.jsonl").exists()


def test_nothing_to_list_is_refused_and_leaves_no_file(tmp_path: Path, corpus: Path) -> None:
    inputs = expand_inputs(["a.pdf"])
    inputs.located = lambda: iter(())  # type: ignore[method-assign]
    with pytest.raises(ManifestError, match="no document to list"):
        build_manifest(inputs, tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()


def test_columns_are_typed_and_quoted(corpus: Path) -> None:
    inputs = expand_inputs(["."])
    build_manifest(inputs, Path("m.parquet"), count_pages=lambda document: 2)
    schema = pq.read_schema("m.parquet")
    assert [str(schema.field(name).type) for name in ("id", "size", "page_count")] == [
        "string",
        "int64",
        "int64",
    ]
    build_manifest(inputs, Path("m.csv"))
    with Path("m.csv").open(newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {9}


def many(count: int) -> Iterator[Document]:
    return (Document(f"{n:07}.pdf", f"s3://b/{n:07}.pdf", size=1, version="e") for n in range(count))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_ten_thousand_documents_pass_in_batches(tmp_path: Path, extension: str) -> None:
    def listing(uri: str) -> Iterator[tuple[str, int, str]]:
        return ((document.uri, document.size, document.version) for document in many(10_000))

    output = tmp_path / f"m.{extension}"
    assert build_manifest(expand_inputs(["s3://b"], listing), output) == BuiltManifest(10_000, 0)
    assert identity(read_manifest(output)) == identity(many(10_000))
