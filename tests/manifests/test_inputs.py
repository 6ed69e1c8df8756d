"""Inputs as named on the command line: what is read, in which order, under which id, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.documents import Document, local_path
from manifests.errors import DocumentError, InputError, ManifestError
from manifests.inputs import InputSet, expand_inputs
from manifests.markdown_paths import markdown_path
from manifests.sources import local_version
from manifests.survey import Survey, survey
from tests.peak_memory import peak_memory


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def manifest(name: str, *rows: dict[str, Any]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def ids(*inputs: str) -> list[str]:
    return [document.doc_id for document in expand_inputs(inputs)]


def refusal(*inputs: str) -> str:
    with pytest.raises(InputError) as caught:
        expand_inputs(inputs)
    return str(caught.value)


def warnings(*inputs: str) -> list[str]:
    expanded = expand_inputs(inputs)
    list(expanded)
    return expanded.warnings


def test_a_folder_gives_its_files_then_its_folders_sorted() -> None:
    touch("in/b.pdf", "in/a.PNG", "in/z/1.jpeg", "in/c/2.tif", "in/c/d/3.webp")
    assert ids("in") == ["a.PNG", "b.pdf", "c/2.tif", "c/d/3.webp", "z/1.jpeg"]


def test_a_document_knows_its_address_size_and_version() -> None:
    touch("in/a.pdf")
    (document,) = expand_inputs(["in"])
    path = Path("in/a.pdf").absolute()
    assert document == Document("a.pdf", str(path), size=5, version=local_version(5, path.stat().st_mtime_ns))


def test_inputs_can_be_gone_through_again_and_again() -> None:
    touch("in/a.pdf", "in/x.txt", "b.pdf")
    expanded = expand_inputs(["in", "b.pdf"])
    assert list(expanded) == list(expanded)
    assert expanded.warnings == ["files of other kinds skipped (1): x.txt"]


def test_spaces_unicode_emoji_and_quotes_are_ordinary() -> None:
    names = ["a b/é ñ.pdf", "a b/😀.pdf", 'a b/it\'s "so".pdf', "a b/Αθήνα/1*.pdf"]
    touch(*(f"in/{name}" for name in names))
    documents = list(expand_inputs(["in"]))
    assert sorted(document.doc_id for document in documents) == sorted(names)
    assert all(local_path(document.uri).read_bytes() == b"12345" for document in documents)


def test_names_that_are_not_utf8_have_a_safe_id_and_an_address_that_opens() -> None:
    Path("in").mkdir()
    for raw in (b"in/caf\xe9.pdf", b"in/caf\xe8.pdf", b"in/new\nline.pdf"):
        Path(os.fsdecode(raw)).write_bytes(b"12345")
    documents = list(expand_inputs(["in"]))
    assert len({document.doc_id for document in documents}) == 3
    for document in documents:
        json.dumps(document.to_json(), ensure_ascii=False).encode()
        assert document.doc_id.endswith(".pdf")
        assert local_path(document.uri).read_bytes() == b"12345"
        assert document.size == 5


def test_hidden_files_and_other_kinds_are_skipped_and_the_latter_told() -> None:
    touch(
        "in/a.pdf", "in/.b.pdf", "in/.git/c.pdf", "in/1.txt", "in/2.doc", "in/3.txt", "in/s/4.txt", "in/none"
    )
    assert ids("in") == ["a.pdf"]
    assert warnings("in") == ["files of other kinds skipped (5): 1.txt, 2.doc, 3.txt and 2 more"]


def test_plain_files_are_one_input_below_their_common_folder() -> None:
    touch("in/x/a.pdf", "in/y/b.pdf")
    assert ids("in/y/b.pdf", "in/x/a.pdf") == ["y/b.pdf", "x/a.pdf"]
    assert ids("in/x/a.pdf") == ["a.pdf"]


def test_several_inputs_put_their_shortest_unique_names_first() -> None:
    touch("x/scans/a.pdf", "y/scans/a.pdf", "other/a.pdf")
    assert ids("x/scans", "other") == ["scans/a.pdf", "other/a.pdf"]
    assert ids("x/scans", "y/scans", "other") == ["x/scans/a.pdf", "y/scans/a.pdf", "other/a.pdf"]


def test_no_input_name_is_the_beginning_of_another() -> None:
    touch("p/x/scans/a.pdf", "q/x/scans/a.pdf", "r/y/scans/a.pdf")
    assert len(set(ids("p/x", "q/x/scans", "r/y/scans"))) == 3


def test_the_same_file_named_twice_is_read_once_and_told() -> None:
    touch("in/a.pdf", "in/s/b.pdf")
    assert ids("in", "in/", "./in/a.pdf", "in/s") == ["a.pdf", "s/b.pdf"]
    assert warnings("in", "in/a.pdf") == ["inside another input, read once (1): in/a.pdf"]
    assert warnings("in/a.pdf", "in/a.pdf") == ["named twice, read once (1): in/a.pdf"]
    assert ids("in/*.pdf", "in/s/../a.*", "in/**/*.pdf") == ["a.pdf", "s/b.pdf"]
    assert ids("in/**", "in/s") == ["in/a.pdf", "s/b.pdf"]


def test_a_hidden_folder_named_beside_its_parent_is_read() -> None:
    touch("in/a.pdf", "in/.h/b.pdf")
    assert len(ids("in", "in/.h")) == 2


def test_linked_files_are_followed_and_linked_folders_once() -> None:
    touch("in/a.pdf", "in/real/b.pdf", "outside/c.pdf")
    Path("in/link.pdf").symlink_to(Path("in/a.pdf").absolute())
    Path("in/broken.pdf").symlink_to("nowhere.pdf")
    Path("in/self").symlink_to("self")
    Path("in/alias").symlink_to("real")
    Path("in/up").symlink_to("..")
    Path("in/real/loop").symlink_to("..")
    Path("in/out1").symlink_to(Path("outside").absolute())
    Path("in/out2").symlink_to(Path("outside").absolute())
    assert ids("in") == ["a.pdf", "broken.pdf", "link.pdf", "out1/c.pdf", "real/b.pdf"]
    assert {d.doc_id: d.version for d in expand_inputs(["in"])}["broken.pdf"] == ""


def test_a_pipe_is_not_opened() -> None:
    touch("in/a.pdf")
    os.mkfifo("in/b.pdf")
    assert ids("in") == ["a.pdf"]
    assert warnings("in") == [f"not regular files, skipped (1): {Path('in/b.pdf').absolute()}"]


def test_a_folder_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.pdf", "in/locked/b.pdf")
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).rstrip("/").endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert ids("in") == ["a.pdf"]
    assert warnings("in") == ["folders that cannot be read (1): locked/ (Permission denied)"]
    assert "folders that cannot be read" in refusal("in/locked")


def test_globs_match_by_component_and_two_stars_by_any_number() -> None:
    touch("in/a1.pdf", "in/a2.png", "in/b.pdf", "in/s/a3.pdf", "in/s/t/a4.pdf", "in/.h/a5.pdf")
    assert ids("in/a*.pdf") == ["a1.pdf"]
    assert ids("in/*/a?.pdf") == ["s/a3.pdf"]
    assert ids("in/**/a*") == ["a1.pdf", "a2.png", "s/a3.pdf", "s/t/a4.pdf"]
    assert ids("in/**/t/*.pdf") == ["s/t/a4.pdf"]
    assert ids("in/[b]*") == ["b.pdf"]
    assert ids(f"{Path('in').absolute()}/s/**") == ["a3.pdf", "t/a4.pdf"]


def test_a_literal_name_wins_over_a_glob() -> None:
    touch("in/a[1].pdf", "in/a1.pdf")
    assert ids("in/a[1].pdf") == ["a[1].pdf"]


def test_a_folder_with_brackets_in_its_name_is_no_pattern() -> None:
    touch("in [1990]/a.pdf", "in [1990]/[2]/b.pdf", "in [1990]/2/c.pdf")
    assert ids("in [1990]/*.pdf") == ["a.pdf"]
    assert ids("in [1990]/[2]/*.pdf") == ["b.pdf"]
    assert ids("in [[]1990]/*.pdf") == ["in [1990]/a.pdf"]


def test_a_glob_of_manifests_reads_them() -> None:
    manifest("1.jsonl", {"uri": "a.pdf"})
    manifest("2.jsonl", {"uri": "b.pdf"})
    assert ids("*.jsonl") == ["a.pdf", "b.pdf"]


def test_rows_of_a_manifest_keep_their_ids_beside_other_inputs() -> None:
    touch("x/a.pdf", "y/b.pdf")
    assert ids(manifest("m.jsonl", {"uri": "c.pdf"}), "x") == ["c.pdf", "a.pdf"]
    assert ids("m.jsonl", "x", "y") == ["c.pdf", "x/a.pdf", "y/b.pdf"]


OBJECTS = [
    ("s3://b/in/.hidden/x.pdf", 1, "e"),
    ("s3://b/in/a.pdf", 5, '"e1"'),
    ("s3://b/in/deep/b.PNG", 6, "e2"),
    ("s3://b/in/deep/", 0, "e"),
    ("s3://b/in/notes.txt", 1, "e"),
    ("s3://b/inner/c.pdf", 7, "e3"),
]


def listing(uri: str) -> Iterator[tuple[str, int, str]]:
    return (entry for entry in OBJECTS if entry[0].startswith(uri))


def test_a_remote_prefix_is_a_folder() -> None:
    expanded = expand_inputs(["s3://b/in"], listing)
    assert list(expanded) == [
        Document("a.pdf", "s3://b/in/a.pdf", size=5, version="e1"),
        Document("deep/b.PNG", "s3://b/in/deep/b.PNG", size=6, version="e2"),
    ]
    assert expanded.warnings == ["files of other kinds skipped (1): notes.txt"]


def test_a_key_with_two_slashes_has_an_id_that_is_not_absolute() -> None:
    found = [("s3://b/in//a.pdf", 5, "e1"), ("s3://b/in/a.pdf", 5, "e2")]
    first, second = expand_inputs(["s3://b/in"], lambda prefix: found)
    assert first.doc_id.startswith("\ufffda~")
    assert (first.uri, second.doc_id) == ("s3://b/in//a.pdf", "a.pdf")


def test_remote_inputs_are_named_like_folders() -> None:
    touch("in/a.pdf")
    both = expand_inputs(["s3://b/in/", "s3://b/inner/c.pdf"], listing)
    assert [d.doc_id for d in both] == ["in/a.pdf", "in/deep/b.PNG", "inner/c.pdf"]
    mixed = expand_inputs(["s3://b/in", "in"], listing)
    assert [d.doc_id for d in mixed][-1].endswith("/in/a.pdf")
    assert survey(mixed).documents == 3


def test_bad_remote_inputs_are_refused() -> None:
    assert "cannot be listed here" in refusal("s3://b/in")
    with pytest.raises(InputError, match="holds no document that can be read"):
        expand_inputs(["s3://b/none"], listing)
    with pytest.raises(InputError, match="a manifest must be a local file"):
        expand_inputs(["s3://b/m.jsonl"], listing)
    with pytest.raises(InputError, match="must be s3://bucket/prefix"):
        expand_inputs(["s3://"], listing)

    def denied(uri: str) -> Iterable[tuple[str, int, str]]:
        raise DocumentError("access denied: check the credentials")

    with pytest.raises(InputError, match="'s3://b/in': access denied"):
        expand_inputs(["s3://b/in"], denied)


def test_everything_wrong_is_named_at_once() -> None:
    touch("scans/a.pdf", "notes.odt", "texts/a.txt")
    Path("empty").mkdir()
    lines = refusal(
        "scan", "scans/b.pdf/", "notes.odt", "empty", "texts", "scans/*.png", "none/*.pdf", ""
    ).splitlines()
    assert lines[0].startswith("'scan': no such file or folder: did you mean")
    assert "scans'?" in lines[0]
    assert lines[1].startswith("'scans/b.pdf/': no such file or folder: did you mean")
    assert lines[2].startswith("'notes.odt': unknown extension: readable are .bmp, .gif,")
    assert lines[3].startswith("'none/*.pdf': no such folder as")
    assert lines[4].startswith("an input is empty")
    assert lines[5].startswith("'empty': holds no document that can be read: readable are .bmp")
    assert lines[6].endswith("; files of other kinds skipped (1): a.txt")
    assert lines[7].startswith("'scans/*.png': matches no file that can be read")
    assert len(lines) == 8


def test_no_input_at_all_is_refused() -> None:
    assert refusal().startswith("no input: name files")


def test_an_unreadable_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("a.pdf")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refusal("a.pdf") == "'a.pdf': may not be read: check its permissions"


def test_a_large_folder_is_not_held_as_documents() -> None:
    touch(*(f"in/{n % 20}/{n:05}.pdf" for n in range(4000)))
    expanded = expand_inputs(["in"])
    with peak_memory() as peak:
        assert sum(1 for _ in expanded) == 4000
    assert peak.bytes < 512 << 10


def surveyed(*doc_ids: str) -> tuple[InputSet, Survey]:
    rows = [{"uri": f"s3://b/{n}.pdf", "id": doc_id} for n, doc_id in enumerate(doc_ids)]
    inputs = expand_inputs([manifest("survey.jsonl", *rows)])
    return inputs, survey(inputs)


def markdown(*doc_ids: str) -> list[str]:
    inputs, found = surveyed(*doc_ids)
    return [found.assign(document).markdown for document in inputs]


def test_a_survey_counts_documents_and_bytes() -> None:
    touch("in/a.pdf", "in/b.pdf")
    found = survey(expand_inputs(["in"]))
    assert (found.documents, found.bytes) == (2, 10)


def test_the_digest_follows_the_documents_and_not_their_place() -> None:
    touch("in/a.pdf", "in/b.pdf")
    before = survey(expand_inputs(["in"])).digest
    Path("in").rename("moved")
    assert survey(expand_inputs(["moved"])).digest == before
    touch("moved/c.pdf")
    assert survey(expand_inputs(["moved"])).digest != before


def test_duplicate_ids_are_refused_naming_both_places_and_the_remedy() -> None:
    with pytest.raises(ManifestError) as caught:
        surveyed("a", "b", "a", "c", "b")
    lines = str(caught.value).splitlines()
    place = Path("survey.jsonl").absolute()
    assert lines[0] == f"{place}:3: id: 'a' is already that of {place}:1"
    assert lines[1] == f"{place}:5: id: 'b' is already that of {place}:2"
    assert lines[2] == "give each document an id of its own, in a manifest"


def test_an_id_in_a_manifest_and_in_a_folder_is_a_duplicate() -> None:
    touch("in/a.pdf")
    with pytest.raises(ManifestError, match=r"id: 'a\.pdf' is already that of .*in/a\.pdf"):
        survey(expand_inputs(["in", manifest("m.jsonl", {"uri": "s3://b/x", "id": "a.pdf"})]))


@pytest.mark.parametrize(
    ("doc_id", "path"),
    [
        ("a/b/scan.pdf", "a/b/scan"),
        ("a/b/scan.PDF", "a/b/scan"),
        ("v1.2", "v1.2"),
        ('it\'s "so" 😀/Ünï çödé.jpeg', 'it\'s "so" 😀/Ünï çödé'),
        ("scan-20240131.pdf", "scan-20240131"),
    ],
)
def test_ordinary_ids_keep_their_names(doc_id: str, path: str) -> None:
    assert markdown_path(doc_id) == path


@pytest.mark.parametrize(
    ("doc_id", "start"),
    [
        ("../../etc/passwd", "_/_/etc/passwd-"),
        ("/etc/passwd", "_/etc/passwd-"),
        ("a//b", "a/_/b-"),
        ("a/./b", "a/_/b-"),
        ("", "_-"),
        (".hidden/x.pdf", "_hidden/x-"),
        ("C:\\x.pdf", "C__x-"),
        ("a\0b\n.pdf", "a_b_-"),
        ("a.md/x.pdf", "a.md_/x-"),
        ("x" * 300, "x" * 150 + "-"),
        ("é" * 100 + ".pdf", "é" * 75 + "-"),
    ],
)
def test_what_is_not_safe_is_replaced_and_marked(doc_id: str, start: str) -> None:
    path = markdown_path(doc_id)
    assert path.startswith(start)
    assert len(path) == len(start) + 8


ODD = st.text(st.sampled_from("ab.-_/\\:\0\n é😀\u202e") | st.characters(), max_size=30)


@given(ODD | st.lists(ODD, max_size=80).map("/".join))
def test_a_markdown_path_never_leaves_its_folder_and_is_short(doc_id: str) -> None:
    path = markdown_path(doc_id)
    assert path == markdown_path(doc_id)
    assert not path.startswith("/")
    assert len(path.encode()) <= 620
    for part in path.split("/"):
        assert part not in ("", ".", "..")
        assert not part.startswith(".")
        assert len(part.encode()) <= 160
        assert not any(ord(character) < 32 or character in "\\\x7f" for character in part)


def _may_be_an_id(text: str) -> bool:
    """Neither empty nor with control characters or lone surrogates: no reader lets those in."""
    return bool(text) and not any(
        category(c) == "Cs" or (ord(c) < 0xA0 and not c.isprintable()) for c in text
    )


NAMES = st.sampled_from(["x", "X", "x.pdf", "x.PDF", "x.png", "x.pdf.pdf", "x.grounded", "x.grounded.pdf"])
MORE = st.sampled_from(
    ["x_assets.png", "x.pdf.grounded.pdf", "../x.pdf", "_/x", "x/x.pdf", "é.pdf", "e\u0301.png"]
)


@given(st.sets(NAMES | MORE | ODD.filter(_may_be_an_id)))
def test_assigned_markdown_files_never_meet(
    tmp_path_factory: pytest.TempPathFactory, doc_ids: set[str]
) -> None:
    documents = [Document(doc_id, "s3://b/k") for doc_id in doc_ids]
    found = survey(FixedInputs(documents))
    paths = [found.assign(document).markdown.casefold() for document in documents]
    files = {f"{path}{suffix}" for path in paths for suffix in ("", ".grounded", "_assets")}
    assert len(files) == 3 * len(documents)


class FixedInputs(InputSet):
    """Inputs that hold the documents given."""

    def __init__(self, documents: list[Document]) -> None:
        super().__init__([], None, [])
        self._documents_given = documents

    def located(self) -> Iterator[tuple[str, Document]]:
        return ((document.uri, document) for document in self._documents_given)


def test_documents_that_differ_by_extension_keep_it() -> None:
    assert markdown("a/x.pdf", "a/x.png", "b/x.pdf") == ["a/x.pdf", "a/x.png", "b/x"]


def test_what_still_meets_with_its_extension_is_marked() -> None:
    first, second, third = markdown("x.pdf", "x.PDF", "y.pdf")
    assert first.startswith("x.pdf-")
    assert second.startswith("x.PDF-")
    assert third == "y"


def test_reserved_names_are_kept_free() -> None:
    assert markdown("x.pdf", "x.grounded.pdf") == ["x.pdf", "x.grounded.pdf"]
    assert markdown("x.pdf", "x_assets.pdf") == ["x.pdf", "x_assets.pdf"]
    assert markdown("x.grounded.pdf") == ["x.grounded"]


def test_the_assignment_does_not_depend_on_the_order() -> None:
    doc_ids = ["x.pdf", "x.png", "x.pdf.pdf", "y.pdf", "Y.pdf"]
    forward = dict(zip(doc_ids, markdown(*doc_ids), strict=True))
    backward = dict(zip(doc_ids[::-1], markdown(*doc_ids[::-1]), strict=True))
    assert forward == backward


def test_the_output_of_a_job_inside_its_input_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    assets = tmp_path / "out" / "markdown" / "a_assets"
    assets.mkdir(parents=True)
    (assets / "page-00001.jpg").write_bytes(b"jpeg")
    (tmp_path / "out" / "job.json").write_text('{"fingerprint": "0"}')
    inputs = expand_inputs([str(tmp_path)])
    assert [document.doc_id for document in inputs] == ["a.pdf"]
    assert inputs.warnings == ["outputs of pagefleet, not read (1): out/"]
    (tmp_path / "out" / "job.json").write_text('{"something": "else"}')
    assert len(list(expand_inputs([str(tmp_path)]))) == 2
