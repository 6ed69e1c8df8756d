"""What other programs write as manifests: numbers as floats, packed text, parts, rows of several images."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.verify import manifests as verify_manifests
from manifests.build import build_manifest
from manifests.documents import Document, Source
from manifests.errors import InputError, ManifestError, SourceUnavailable
from manifests.formats.files import MAX_LINE_BYTES
from manifests.inputs import expand_inputs
from manifests.reader import read_manifest, validate_manifest
from manifests.survey import survey
from manifests.units import make_unit

SHA = "ab" * 32


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path: Path) -> list[tuple[str, str]]:
    """Ids and pages as the job reads them, once ``verify`` was seen to read the same."""
    documents = list(read_manifest(path))
    assert validate_manifest(path) == len(documents)
    found = [(document.doc_id, document.pages) for document in documents]
    named = verify_manifests.named_documents([str(path)])
    assert [(entry.doc_id, entry.pages.strip()) for entry in named] == found
    return found


def refusal(path: Path, kind: type[Exception] = ManifestError) -> str:
    with pytest.raises(kind) as caught:
        list(read_manifest(path))
    return str(caught.value).replace(f"{path.parent}/", "")


def packed(data: bytes, codec: str) -> bytes:
    sink = io.BytesIO()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
        stream.flush()
        return sink.getvalue() if codec == "" else _finished(stream, sink)


def _finished(stream: Any, sink: io.BytesIO) -> bytes:
    kept = io.BytesIO()
    sink.close = lambda: kept.write(sink.getvalue())  # type: ignore[method-assign]
    stream.close()
    return kept.getvalue()


FLOATS = [{"uri": "a.pdf", "id": 1001.0, "pages": 1.0}, {"uri": "b.pdf", "id": 7.0, "pages": float("nan")}]


def test_numbers_that_a_gap_made_floats_are_the_numbers_they_were(tmp_path: Path) -> None:
    wanted = [("1001", "1"), ("7", "")]
    assert read(write(tmp_path / "m.jsonl", jsonl(*FLOATS))) == wanted
    pq.write_table(pa.Table.from_pylist(FLOATS), tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet") == wanted
    assert read(write(tmp_path / "m.csv", "uri,id,pages\na.pdf,1001.0,1.0\nb.pdf,7.0,\n")) == wanted


def test_a_text_that_looks_like_a_float_stays_an_id_where_there_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", jsonl({"uri": "a", "id": "1001.0", "pages": "3.0"}))
    assert read(path) == [("1001.0", "3")]


@pytest.mark.parametrize("pages", ["1.5", "1.0-2.0", "inf", "nan", "0.0"])
def test_what_is_no_whole_number_is_no_page(tmp_path: Path, pages: str) -> None:
    assert "pages: must be" in refusal(write(tmp_path / "m.csv", f"uri,pages\na.pdf,{pages}\n"))


def test_parquet_columns_of_many_types_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            " uri ": pa.array(["a.pdf", "b.pdf"]).dictionary_encode(),
            "id": pa.array([Decimal("12.00"), None], pa.decimal128(8, 2)),
            "pages": pa.array([3, None], pa.int32()),
            "sha256": pa.array([None, SHA], pa.large_string()),
            "when": pa.array([0, None], pa.timestamp("s")),
            "thumbnail": pa.array([b"\x00" * 100, b""]),
            "nested": pa.array([{"bytes": b"\x00", "path": "x"}, None]),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet") == [("12", "3"), ("b.pdf", "")]
    first, second = read_manifest(tmp_path / "m.parquet")
    assert json.loads(first.metadata) == {"when": '"1970-01-01 00:00:00"'}
    assert second.sha256 == SHA


def test_wide_parquet_rows_are_read_in_small_batches(tmp_path: Path) -> None:
    rows = [{"uri": f"s3://b/{n}.pdf", "text": str(n) * 1_000_000} for n in range(8)] * 10
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet", use_dictionary=False)
    before = pa.total_allocated_bytes()
    documents = read_manifest(tmp_path / "m.parquet")
    next(documents)
    assert pa.total_allocated_bytes() - before < 200 << 20
    assert sum(1 for _ in documents) == 79


@pytest.mark.parametrize("column", ["image", "images"])
def test_pictures_inside_a_parquet_file_are_no_addresses(tmp_path: Path, column: str) -> None:
    pq.write_table(pa.table({column: [{"bytes": b"\x89PNG", "path": "a.png"}]}), tmp_path / "m.parquet")
    assert f"columns: {column} must be text, not bytes" in refusal(tmp_path / "m.parquet")


def test_result_rows_are_no_manifest(tmp_path: Path) -> None:
    rows = {"doc_id": ["a"], "uri": ["a.pdf"], "page": [1], "status": ["ok"], "fingerprint": ["f"]}
    pq.write_table(pa.table(rows), tmp_path / "m.parquet")
    assert "holds result rows, no manifest: failures.jsonl" in refusal(tmp_path / "m.parquet")


def test_a_cell_may_be_as_long_as_a_line_of_jsonl(tmp_path: Path) -> None:
    text = "x" * 1_000_000
    (document,) = read_manifest(write(tmp_path / "m.csv", f"uri,prompt,note\na.pdf,{text},{text}\n"))
    assert document.prompt == text
    assert read(tmp_path / "m.csv") == [("a.pdf", "")]
    lines = "x,\n" * 2_000_000
    assert "m.csv:2: row: a cell must be at most" in refusal(write(tmp_path / "m.csv", f'uri\n"{lines}'))


def test_columns_of_a_parquet_row_have_a_limit_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["a"], "x": ["y" * MAX_LINE_BYTES]}), tmp_path / "m.parquet")
    assert "m.parquet:row 1: columns: must hold at most" in refusal(tmp_path / "m.parquet")


def test_spaces_around_cells_that_we_know_do_not_count_in_csv(tmp_path: Path) -> None:
    content = (
        f"uri , id, pages ,sha256, prompt,note\n scans/a b.pdf , one , 1-3, {SHA} , Read , kept \n  , ,\n"
    )
    (document,) = read_manifest(write(tmp_path / "m.csv", content))
    assert read(tmp_path / "m.csv") == [("one", "1-3")]
    assert document.uri == str(tmp_path / "scans" / "a b.pdf")
    assert (document.sha256, document.prompt) == (SHA, " Read ")
    assert json.loads(document.metadata) == {"note": " kept "}
    exact = write(tmp_path / "m.jsonl", jsonl({"uri": " a.pdf", "id": " b "}))
    assert read(exact) == [(" b ", "")]
    assert next(read_manifest(exact)).uri == str(tmp_path / " a.pdf")


@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "csv", "tsv"])
@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".GZ"])
def test_text_may_be_packed(tmp_path: Path, kind: str, ending: str) -> None:
    rows = [{"uri": f"{n}.pdf", "pages": "1"} for n in range(500)]
    sign = "\t" if kind == "tsv" else ","
    text = jsonl(*rows) if "json" in kind else "".join(f"{r['uri']}{sign}1\n" for r in [*rows])
    data = text.encode() if "json" in kind else f"uri{sign}pages\n{text}".encode()
    if ending:
        data = packed(data, "zstd") if ending == ".zst" else gzip.compress(data)
    path = write(tmp_path / f"m.{kind}{ending}", data)
    assert read(path) == [(f"{n}.pdf", "1") for n in range(500)]
    assert len(list(expand_inputs([str(path)]))) == 500


def test_what_is_packed_is_seen_by_its_content(tmp_path: Path) -> None:
    two = gzip.compress(jsonl({"uri": "a"}).encode()) + gzip.compress(jsonl({"uri": "b"}).encode())
    assert read(write(tmp_path / "m.jsonl", two)) == [("a", ""), ("b", "")]
    assert read(write(tmp_path / "n.jsonl.gz", jsonl({"uri": "a"}))) == [("a", "")]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_packed_text_that_is_cut_off_is_refused(tmp_path: Path, codec: str) -> None:
    whole = "".join(f'{{"uri": "{os.urandom(20).hex()}"}}\n' for _ in range(5000)).encode()
    data = gzip.compress(whole) if codec == "gzip" else packed(whole, codec)
    assert "m.jsonl.gz: cannot be" in refusal(write(tmp_path / "m.jsonl.gz", data[: len(data) // 2]))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.csv", "uri,pages\na.pdf,1\n".encode("utf-16"), "m.csv: encoding: must be UTF-8, this is UTF-16"),
        ("m.csv", "uri,pages\na.pdf,1\n".encode("utf-16-le"), "m.csv: encoding: must be UTF-8"),
        ("m.jsonl", '{"uri": "a"}'.encode("utf-32"), "m.jsonl: encoding: must be UTF-8"),
        ("m.csv", "uri;pages\na;1\n", "m.csv:1: header: must name a column uri, cells parted by commas, got"),
        ("m.csv", "uri;pages\na;1\n", "'uri;pages': its cells are parted by semicolons, save it with commas"),
        ("m.csv", "uri\tpages\na\t1\n", "its cells are parted by tabs, save it with commas"),
        ("m.csv", "sep=;\nuri;pages\n", "its cells are parted by semicolons"),
        ("m.tsv", "id,uri\na,1\n", "must name a column uri, cells parted by tabs"),
        ("m.csv", "uri,pages\ra,1\rb,2\r", "lines must end with LF or CRLF"),
        ("m.csv", "uri, uri\na,b\n", "every column must have a name of its own"),
        ("m.jsonl", '{"uri": "a"},\n', "m.jsonl:1: json: must be one JSON object per line"),
        ("m.jsonl", "[\n", "m.jsonl:1: json: must be one JSON object per line"),
        ("m.jsonl", '{"uri": "a", "image": "b"}', "m.jsonl:1: image: give uri or image, not both"),
        ("m.jsonl", '{"images": []}', "m.jsonl:1: uri: must be given"),
        ("m.jsonl", '{"images": ["a", 5]}', "m.jsonl:1: images: must be text, got 5"),
        ("m.jsonl", '{"images": {"a": 1}}', "m.jsonl:1: uri: must be text"),
        ("m.jsonl", '{"images": ["a", "http://x"]}', "m.jsonl:1: images: must be a path, s3://bucket/key"),
        ("m.jsonl", json.dumps({"images": ["a"] * 65}), "m.jsonl:1: images: must be at most 64, got 65"),
        ("m.jsonl", json.dumps({"images": ["a", "b"], "sha256": SHA}), "sha256: must be a list with one for"),
        ("m.csv", "images,id\n[1,x\n", "m.csv:2: images: must be an address or a list of them"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    assert problem in refusal(write(tmp_path / name, content))


def test_addresses_of_hadoop_are_s3_addresses(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", jsonl({"uri": "s3a://b/a.pdf"}, {"uri": "S3N://b/b.pdf"}))
    assert [document.uri for document in read_manifest(path)] == ["s3://b/a.pdf", "s3://b/b.pdf"]
    assert read(path) == [("b/a.pdf", ""), ("b/b.pdf", "")]
    asked = list[str]()

    def listing(uri: str) -> list[tuple[str, int, str]]:
        asked.append(uri)
        return [("s3://b/in/a.pdf", 1, "e")]

    (document,) = expand_inputs(["s3a://b/in"], listing)
    assert (document.doc_id, document.uri, set(asked)) == ("a.pdf", "s3://b/in/a.pdf", {"s3://b/in/"})
    with pytest.raises(InputError, match="cannot read gs:// addresses: name local paths or s3://"):
        expand_inputs(["gs://b/in"], listing)


def parts(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"uri": [f"s3://b/{name}.pdf"]}), path)
    return folder


def test_a_folder_of_parquet_files_is_a_manifest(tmp_path: Path) -> None:
    folder = parts(tmp_path / "list.parquet", "part-1.parquet", "part-0.parquet", "year=2020/part-0.parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").touch()
    wanted = ["b/part-0.parquet.pdf", "b/part-1.parquet.pdf", "b/year=2020/part-0.parquet.pdf"]
    assert [document.doc_id for document in expand_inputs([str(folder)])] == wanted
    assert [document.doc_id for document in expand_inputs([f"{folder}/*.parquet"])] == wanted[:2]
    assert [entry.doc_id for entry in verify_manifests.named_documents([str(folder)])] == wanted


def test_a_folder_that_holds_anything_else_is_no_manifest(tmp_path: Path) -> None:
    folder = parts(tmp_path / "in", "list.parquet")
    (folder / "a.pdf").write_bytes(b"1")
    expanded = expand_inputs([str(folder)])
    assert [document.doc_id for document in expanded] == ["a.pdf"]
    assert expanded.warnings == ["files of other kinds skipped (1): list.parquet"]


def test_an_output_and_its_pages_are_no_manifest(tmp_path: Path) -> None:
    rows = {"doc_id": ["a"], "uri": ["a.pdf"], "page": [1], "status": ["ok"], "fingerprint": ["f"]}
    (tmp_path / "out" / "pages").mkdir(parents=True)
    pq.write_table(pa.table(rows), tmp_path / "out" / "pages" / "u.parquet")
    (tmp_path / "out" / "job.json").write_text('{"fingerprint": "f"}')
    with pytest.raises(InputError, match="outputs of pagefleet, not read"):
        expand_inputs([str(tmp_path / "out")])
    with pytest.raises(ManifestError, match="holds result rows, no manifest"):
        survey(expand_inputs([str(tmp_path / "out" / "pages")]))


@pytest.mark.parametrize("name", ["a.pdf", "m.jsonl", "m.parquet", "m.csv"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(os.devnull)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    with pytest.raises(InputError, match=f"is a {kind}, not a regular file: write its content to a file"):
        expand_inputs([str(path)])
    if name != "a.pdf":
        assert refusal(path) == f"{name}: is a {kind}, not a regular file: write its content to a file"


def test_a_pipe_named_job_json_beside_documents_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"1")
    os.mkfifo(tmp_path / "job.json")
    assert [document.doc_id for document in expand_inputs([str(tmp_path)])] == ["a.pdf"]
    os.mkfifo(tmp_path / "b.pdf")
    path = write(tmp_path / "m.jsonl", jsonl({"uri": "a.pdf"}, {"uri": "b.pdf"}))
    assert build_manifest(expand_inputs([str(path)]), tmp_path / "n.jsonl", hashes=True).errors == 1


def test_links_that_go_round_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").symlink_to("a.pdf")
    with pytest.raises(InputError, match="cannot be looked at: Too many levels of symbolic links"):
        expand_inputs([str(tmp_path / "a.pdf")])


def test_standard_input_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="'-': standard input cannot be read more than once"):
        expand_inputs(["-"])


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT])
@pytest.mark.parametrize("what", ["stat", "scandir"])
def test_inputs_that_do_not_answer_are_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.pdf").write_bytes(b"1")
    (tmp_path / "in" / "deep" / "b.pdf").write_bytes(b"1")
    inputs, real = expand_inputs([str(tmp_path / "in")]), getattr(os, what)

    def broken(path: Any, *args: Any, **kwargs: Any) -> Any:
        if str(path).rstrip("/").endswith("deep" if what == "scandir" else "a.pdf"):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, what, broken)
    with pytest.raises(SourceUnavailable, match=os.strerror(number)):
        list(inputs)


def test_a_folder_that_goes_between_two_walks_is_an_outage(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(b"1")
    inputs = expand_inputs([str(folder)])
    aside = folder.rename(tmp_path / "aside")
    with pytest.raises(SourceUnavailable, match=r"in: cannot be listed: No such file.*is it not mounted"):
        survey(inputs)
    folder.mkdir()
    with pytest.raises(SourceUnavailable, match="held documents before and holds none now: is it mounted"):
        survey(inputs)
    folder.rmdir()
    aside.rename(folder)
    assert survey(inputs).documents == 1


def test_missing_documents_of_a_manifest_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a.pdf", "1")
    path = write(tmp_path / "m.jsonl", jsonl({"uri": "a.pdf"}, {"uri": "gone.pdf"}, {"uri": "typo/b.pdf"}))
    inputs = expand_inputs([str(path)])
    assert [document.size for document in inputs] == [1, 0, 0]
    told = f"{tmp_path}/gone.pdf, {tmp_path}/typo/b.pdf"
    assert inputs.warnings == [f"documents of manifests that are not there, or empty (2): {told}"]


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a hidden name"])
def test_a_manifest_whose_documents_are_all_elsewhere_is_an_outage(tmp_path: Path, left: str) -> None:
    """The mount is missing: nothing may be planned, least of all that every document has changed."""
    path = write(tmp_path / "m.jsonl", jsonl(*({"uri": f"mnt/{n}.pdf"} for n in range(5))))
    if left != "nothing":
        (tmp_path / "mnt").mkdir()
    if left == "a hidden name":
        (tmp_path / "mnt" / ".keep").touch()
    with pytest.raises(SourceUnavailable) as caught:
        survey(expand_inputs([str(path)]))
    told = str(caught.value)
    assert (
        "none of its 5 documents is there" if left == "nothing" else "which is empty: is it mounted"
    ) in told


IMAGES: list[tuple[str, str]] = [
    ("m.jsonl", '{"qid": "q1", "images": ["a.png", "b.png"], "question": "Which?"}\n'),
    ("m.jsonl", '{"qid": "q1", "image": ["a.png", "b.png"], "question": "Which?"}\n'),
    ("m.jsonl", '{"qid": "q1", "images": "[\\"a.png\\", \\"b.png\\"]", "question": "Which?"}\n'),
    ("m.csv", "qid,images,question\nq1,a.png | b.png,Which?\n"),
    ("m.csv", 'qid,images,question\nq1,"[""a.png"", ""b.png""]",Which?\n'),
]


@pytest.mark.parametrize(("name", "content"), IMAGES)
def test_a_row_may_show_several_images(tmp_path: Path, name: str, content: str) -> None:
    first, second = (write(tmp_path / image, image).stat() for image in ("a.png", "b.png"))
    path = write(tmp_path / name, content)
    (document,) = read_manifest(path)
    assert read(path) == [("q1", "")]
    assert document.uri == str(tmp_path / "a.png")
    assert [source.uri for source in document.sources] == [str(tmp_path / n) for n in ("a.png", "b.png")]
    assert [source.version for source in document.sources] == [
        f"{found.st_size}-{found.st_mtime_ns}" for found in (first, second)
    ]
    assert (document.size, document.was_listed, json.loads(document.metadata)) == (
        10,
        True,
        {"question": "Which?"},
    )
    assert document.of_source(1) == Document(
        "q1",
        str(tmp_path / "b.png"),
        size=5,
        version=document.sources[1].version,
        metadata=document.metadata,
    )
    assert Document.from_json(json.loads(json.dumps(document.to_json()))) == document


def test_a_parquet_list_column_shows_several_images(tmp_path: Path) -> None:
    rows = [
        {"images": ["s3a://b/1.png", "s3://b/2.png"], "sha256": [SHA, "0" * 64]},
        {"images": ["s3://b/3.png"], "sha256": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    first, second = read_manifest(tmp_path / "m.parquet")
    assert (first.doc_id, first.sha256) == ("b/1.png", "")
    assert [source.sha256 for source in first.sources] == [SHA, "0" * 64]
    assert second == Document("b/3.png", "s3://b/3.png")
    assert read(tmp_path / "m.parquet") == [("b/1.png", ""), ("b/3.png", "")]


def test_the_version_of_several_images_follows_each_of_them_in_order(tmp_path: Path) -> None:
    def version(*images: str, **columns: Any) -> str:
        path = write(
            tmp_path / "m.jsonl", jsonl({"images": [f"s3://b/{name}" for name in images], **columns})
        )
        return next(read_manifest(path)).version

    known = version("1", "2", version=["a", "b"])
    assert known and known == version("1", "2", etag=["a", "b"]) == version("3", "4", version=["a", "b"])
    assert known not in (version("1", "2", version=["b", "a"]), version("1", "2", version=["a", "c"]))
    assert version("1", "2", version=["a", ""]) == version("1", "2") == ""


def test_units_and_digests_tell_lists_of_images_apart(tmp_path: Path) -> None:
    def of(*images: str) -> tuple[str, str]:
        write(tmp_path / "m.jsonl", jsonl({"id": "q", "images": [f"s3://b/{name}" for name in images]}))
        inputs = expand_inputs([str(tmp_path / "m.jsonl")])
        return survey(inputs).digest, make_unit(inputs).unit_id

    found = [of("1", "2"), of("2", "1"), of("1", "2", "3"), of("1", "1"), of("1")]
    assert len({digest for digest, _ in found}) == len({unit for _, unit in found}) == len(found)


def test_a_document_of_one_source_is_named_as_before() -> None:
    document = Document("a.pdf", "/in/a.pdf", size=5, version="5-1")
    assert make_unit([document]).unit_id == "a50302e85f7070ea"
    assert document.each_source() == (Source("/in/a.pdf", "", 5, "5-1"),)
    assert document.to_json() == {"doc_id": "a.pdf", "uri": "/in/a.pdf", "size": 5, "version": "5-1"}


@pytest.mark.parametrize("extension", ["jsonl", "csv", "parquet"])
def test_a_manifest_of_images_is_built_and_read_back(tmp_path: Path, extension: str) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path / name, name)
    rows = [
        {"qid": "q1", "images": ["a.png", "b.png"], "answer": "x"},
        {"qid": "q2", "images": ["s3://b/1.png", "s3://b/2|3.png"], "size": [3, 4], "etag": ["e", "f"]},
        {"qid": "q3", "image": "a.png"},
    ]
    before = write(tmp_path / "m.jsonl", jsonl(*rows))
    build_manifest(expand_inputs([str(before)]), tmp_path / f"n.{extension}")
    assert list(read_manifest(tmp_path / f"n.{extension}")) == list(read_manifest(before))


def test_what_csv_would_change_is_not_written_to_it(tmp_path: Path) -> None:
    for row in ({"uri": "a.pdf", "id": "12.0"}, {"uri": " a.pdf", "id": "x"}):
        path = write(tmp_path / "m.jsonl", jsonl(row))
        with pytest.raises(ManifestError, match="would be read otherwise from CSV: write"):
            build_manifest(expand_inputs([str(path)]), tmp_path / "n.csv")
        build_manifest(expand_inputs([str(path)]), tmp_path / "n.parquet")
        assert read(tmp_path / "n.parquet") == read(path)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(' ,"\n\t|;'), max_size=20)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5), st.sampled_from(",\t"))
def test_any_csv_gives_its_rows_or_names_the_bad_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], sign: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / ("m.tsv" if sign == "\t" else "m.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=sign)
        writer.writerows([("uri", "id", "note"), *(("a", *row[1:]) for row in rows)])
    try:
        documents = list(read_manifest(path))
    except ManifestError as error:
        assert str(error).startswith(str(path))
        return
    for (_, doc_id, note), document in zip(rows, documents, strict=True):
        assert document.doc_id in (doc_id.strip() or "a", doc_id.strip().partition(".")[0])
        assert json.loads(document.metadata or "{}") == ({"note": note} if note else {})
