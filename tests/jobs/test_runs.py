"""One small corpus through a life of runs: inputs and settings change, disks fill up, names are odd."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest
from PIL import Image

from actors.engines.scripted.engine import Script, ScriptedEngine
from jobs.cli.main import this_command
from jobs.job_file import Unchanged
from manifests.errors import JobError
from results.job_claim import JobClaim
from results.local_store import LocalStore
from results.owner import Owner
from results.participants import Purpose
from tests.actors.render_samples import text_pdf
from tests.cluster.harness import (
    failed,
    make_corpus,
    make_pdf,
    page_keys,
    readable,
    rows,
    stored,
    timeless,
)
from tests.jobs.command import Commands


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "in", 3, 4)


def _of(folder: Path, *documents: str) -> list[tuple[str, int]]:
    return sorted(key for key in readable(folder) if key[0] in documents)


def test_inputs_that_change_move_and_grow_cost_only_what_is_new(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out)
    assert sorted(pagefleet.read) == sorted(readable(corpus))

    before = {row["doc_id"]: row["source_version"] for row in rows(out)}
    make_pdf(corpus / "d01.pdf", 3, seed=77)
    make_pdf(corpus / "sub" / "new.pdf", 2, seed=78)
    said = pagefleet.succeed(corpus, "-o", out)
    assert sorted(pagefleet.read) == _of(corpus, "d01.pdf", "sub/new.pdf")
    assert "changed since they were planned or read, so read again: d01.pdf" in said
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(corpus)
    now = {row["doc_id"]: row["source_version"] for row in rows(out)}
    assert {name for name in before if now[name] != before[name]} == {"d01.pdf"}
    pagefleet.verify(out)

    moved = corpus.rename(tmp_path / "moved")
    assert "nothing to read" in pagefleet.succeed(moved, "-o", out)
    assert not pagefleet.read

    plain = tmp_path / "plain"
    pagefleet.succeed(moved, "-o", plain)
    assert timeless(rows(out), "uri", "generation") == timeless(rows(plain), "uri", "generation")


def test_settings_that_change_results_are_refused_until_a_new_generation_is_wanted(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out)
    before = rows(out)
    refused = pagefleet.ocr(corpus, "-o", out, "--dpi", "72")
    assert refused.exit_status == 2
    assert "render.dpi: 36 there, 72 now" in refused.words
    assert "--new-generation" in refused.words
    assert not pagefleet.read
    assert rows(out) == before

    pagefleet.succeed(corpus, "-o", out, "--dpi", "72", "--new-generation")
    assert sorted(pagefleet.read) == sorted(readable(corpus))
    after = rows(out)
    assert {(row["doc_id"], row["page"]) for row in after} == page_keys(corpus)
    assert len(after) == len(before)
    assert {row["generation"] for row in after} == {2}
    assert {row["width"] for row in after} == {2 * row["width"] for row in before}
    assert len(list(out.glob("history/*.parquet"))) == len(list(out.glob("pages/*.parquet")))
    assert pagefleet.ocr(corpus, "-o", out).exit_status == 2
    pagefleet.verify(out)


def test_a_job_refused_beside_another_leaves_no_plan_for_the_next_to_read(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", make_pdf(tmp_path / "other.pdf", 2)
    pagefleet.succeed(corpus, "-o", out)
    store = LocalStore(out)
    settings = json.loads((out / "job.json").read_text())["fingerprint"]
    them = JobClaim(store, Owner.this_process("theirs"), Purpose("ocr", "other inputs", settings))
    assert them.enter(Unchanged(store), lambda seconds: False, print)
    refused = pagefleet.ocr(other, "-o", out)
    them.leave()
    assert refused.exit_status == 2
    assert "another job is at work on this output with other inputs (run theirs" in refused.words
    assert not (out / "partial").exists()
    assert "nothing to read" in pagefleet.succeed(corpus, "-o", out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/bin/pagefleet", "ocr", "my scans", "-o", "out"], "pagefleet ocr 'my scans' -o out"),
        (["/src/jobs/ocr.py", "ocr", "in", "-o", "out"], "python -m jobs.ocr in -o out"),
        (["pagefleet", "ocr", "in", "--password", "xyz"], "pagefleet ocr in --password '…'"),
        (["pagefleet", "ocr", "in", "--password=xyz"], "pagefleet ocr in '--password=…'"),
        (["pagefleet", "ocr", "--set", "render.password=xyz"], "pagefleet ocr --set 'render.password=…'"),
        (["pagefleet", "ocr", "--set=render.password=xyz"], "pagefleet ocr '--set=render.password=…'"),
    ],
)
def test_the_command_that_resumes_can_be_typed_and_tells_no_password(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", words)
    assert this_command() == said


def test_an_engine_that_could_not_start_does_not_bind_the_output_to_its_settings(
    pagefleet: Commands, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_card(self: ScriptedEngine, script: Script) -> None:
        raise JobError("no GPU here")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedEngine, "__init__", no_card)
        said = pagefleet.ocr(corpus, "-o", out, "--dpi", "72")
    assert (said.exit_status, (out / "job.json").exists()) == (1, True)
    pagefleet.succeed(corpus, "-o", out)
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(corpus)
    pagefleet.verify(out)


def test_cuts_for_a_trial_are_told_and_later_runs_read_only_the_rest(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = pagefleet.succeed(corpus, "-o", out, "--max-pages", "2", "--limit", "1")
    assert sorted(pagefleet.read) == [("d00.pdf", 1), ("d00.pdf", 2)]
    assert "cut by --limit: 2 documents" in said
    assert "cut by --max-pages: 2 pages of 1 documents" in said
    every = list(pagefleet.read)
    pagefleet.verify(out)
    for cut in (["--limit", "2"], []):
        pagefleet.succeed(corpus, "-o", out, *cut)
        every += pagefleet.read
    pagefleet.verify(out)
    assert sorted(every) == sorted(readable(corpus))
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(corpus)
    assert {row["status"] for row in rows(out)} == {"ok"}


def test_outputs_that_are_not_this_jobs_are_left_alone(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work")
    said = pagefleet.ocr(corpus, "-o", mine)
    assert said.exit_status == 2
    assert "is not empty and holds no pagefleet job (chapter.txt" in said.words

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "job.json").write_text('{"name": "somebody else"}')
    said = pagefleet.ocr(corpus, "-o", foreign)
    assert said.exit_status == 2
    assert "is not a job this version wrote" in said.words

    other = tmp_path / "other"
    pagefleet.succeed(corpus, "-o", other, "--limit", "1")
    said = pagefleet.ocr(corpus, "-o", other, window=17)
    assert said.exit_status == 2
    assert "engine.engine_args" in said.words
    for folder in (mine, foreign):
        assert len(list(folder.rglob("*"))) == 1

    file = tmp_path / "file"
    file.write_text("not a folder")
    said = pagefleet.ocr(corpus, "-o", file)
    assert said.exit_status == 1
    assert "choose another output folder" in said.words


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is refused here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("left_kib", [0, 40], ids=["from the start", "half-way"])
def test_a_full_disk_stops_the_job_which_goes_on_when_there_is_space(
    pagefleet: Commands, corpus: Path, small_disk: Path, left_kib: int
) -> None:
    out, filler = small_disk / "out", small_disk / "filler"
    filler.write_bytes(bytes((256 - left_kib) << 10) if left_kib else b"")
    if not left_kib:
        _fill(filler)
    said = pagefleet.ocr(corpus, "-o", out, sets=["output.flush_s=0.05"], seconds=0.05, concurrency=1)
    assert said.exit_status == 1, said.words
    assert "no space left on" in said.words
    assert "free space and run the same command again" in said.words
    filler.unlink()
    before = stored(out)
    assert bool(before) == bool(left_kib)
    pagefleet.succeed(corpus, "-o", out, sets=["output.flush_s=0.05"], seconds=0.05, concurrency=1)
    assert not set(pagefleet.read) & before
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(corpus)
    assert {row["status"] for row in rows(out)} == {"ok"}
    pagefleet.verify(out)


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_a_read_only_output_is_told_as_such(pagefleet: Commands, corpus: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = pagefleet.ocr(corpus, "-o", small_disk / "out")
    assert said.exit_status == 1
    assert "read-only file system at" in said.words
    assert "mount it writable" in said.words


ODD_IDS = (
    "../../escaped/x.pdf",
    "a/../../b",
    'it\'s a "quoted" <b>name</b>.pdf',
    "📄 ελληνικά.pdf",
    "n" * 300 + ".pdf",
    "semi;colon && $(touch x) %2e%2e.pdf",
)


REFUSED_IDS = ("/etc/passwd", "..")


def test_odd_names_locked_documents_and_an_image_bomb_cost_only_themselves(
    pagefleet: Commands, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "deep" / "down" / "out"
    folder.mkdir()
    page = make_pdf(folder / "page.pdf", 1)
    make_pdf(folder / "x.pdf", 1, seed=5)
    Image.radial_gradient("L").save(folder / "x.png")
    text_pdf(folder / "locked.pdf", 2, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="s3same")
    _png_bomb(folder / "bomb.png", 30_000)
    named = ("x.pdf", "x.png", "locked.pdf", "bomb.png")
    accepted = [{"uri": str(page), "id": name} for name in ODD_IDS]
    accepted += [{"uri": str(folder / name), "id": name} for name in named]
    manifest = folder / "corpus.jsonl"
    _write(manifest, [{"uri": str(page), "id": name} for name in REFUSED_IDS] + accepted)
    said = pagefleet.ocr(manifest, "-o", out)
    assert said.exit_status == 2
    refused = range(1, len(REFUSED_IDS) + 1)
    assert all(f"corpus.jsonl:{number}: id: must" in said.words for number in refused)
    assert said.words.count("corpus.jsonl:") == len(REFUSED_IDS)
    _write(manifest, accepted)
    pagefleet.succeed(manifest, "-o", out)
    assert {row["doc_id"] for row in rows(out)} >= set(named)
    assert len({row["doc_id"] for row in rows(out)}) == len(accepted)
    assert failed(out).keys() == {("bomb.png", 1), ("locked.pdf", 0)}
    assert "30000 x 30000" in failed(out)["bomb.png", 1]
    assert "password" in failed(out)["locked.pdf", 0]
    assert len(list(out.glob("markdown/**/*.md"))) == len(accepted)
    _nothing_outside(tmp_path, out)
    pagefleet.verify(out, "--manifest", str(manifest))

    said = pagefleet.run("retry", out, "--single-process", "--password", "wrong")
    assert said.exit_status == 0, said.words
    assert failed(out).keys() == {("bomb.png", 1), ("locked.pdf", 0)}
    said = pagefleet.run("retry", out, "--single-process", "--password", "s3same")
    assert said.exit_status == 0, said.words
    assert sorted(pagefleet.read) == [("locked.pdf", 1), ("locked.pdf", 2)]
    assert failed(out).keys() == {("bomb.png", 1)}
    for path in out.rglob("*"):
        assert path.is_dir() or b"s3same" not in path.read_bytes()
    _nothing_outside(tmp_path, out)
    pagefleet.verify(out)


def _write(manifest: Path, lines: list[dict[str, str]]) -> None:
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _nothing_outside(tmp_path: Path, out: Path) -> None:
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "deep", "cache"}
    assert [path.name for path in tmp_path.glob("deep/*")] == ["down"]
    assert [path.name for path in tmp_path.glob("deep/down/*")] == ["out"]
    assert not [path for path in out.rglob("*") if path.is_symlink()]


def _png_bomb(path: Path, side: int) -> None:
    """A valid one-bit PNG that is small on disk."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    body = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
            file.write(
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            )


def _empty_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def _manifest(*lines: str) -> object:
    def write(tmp_path: Path) -> Path:
        make_pdf(tmp_path / "a.pdf", 1)
        (tmp_path / "m.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / "m.jsonl"

    return write


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_empty_folder, "holds no document that can be read"),
        (lambda tmp_path: tmp_path / "missing", "no such file or folder"),
        (_manifest('{"uri": "a.pdf"}', "{not json"), "m.jsonl:2:"),
        (_manifest('{"uri": "a.pdf", "pages": "0-3"}'), "m.jsonl:1: pages:"),
        (_manifest('{"uri": "a.pdf", "id": "x"}', '{"uri": "a.pdf", "id": "x"}'), "m.jsonl:2: id: 'x'"),
        (_manifest(), "m.jsonl"),
    ],
    ids=["empty folder", "missing path", "malformed line", "bad pages", "duplicate ids", "empty manifest"],
)
def test_inputs_that_cannot_be_are_usage_errors(
    pagefleet: Commands, tmp_path: Path, make: object, told: str
) -> None:
    assert callable(make)
    said = pagefleet.ocr(make(tmp_path), "-o", tmp_path / "out")
    assert said.exit_status == 2, said.words
    assert told in said.words
    assert {path.name for path in (tmp_path / "out").glob("*") if path.is_file()} <= {"job.json"}


def test_a_manifest_that_is_refused_does_not_bind_the_output_to_its_settings(
    pagefleet: Commands, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.jsonl"
    make_pdf(tmp_path / "a.pdf", 1)
    manifest.write_text("{not json")
    assert pagefleet.ocr(manifest, "-o", tmp_path / "out").exit_status == 2
    manifest.write_text('{"uri": "a.pdf"}')
    pagefleet.succeed(manifest, "-o", tmp_path / "out", "--dpi", "72")
