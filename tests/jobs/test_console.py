"""Whatever becomes of a command's streams, locale or folder, its work is done and its status is true."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.cluster.harness import ROOT, make_pdf

COMMAND = [sys.executable, "-c", "from jobs.cli.entry import main; main()"]
SCRIPTED = ["--single-process", "--set", "engine.kind=scripted", "--set", "render.dpi=36"]
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
Shell = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs ``pagefleet`` in a shell, whose redirections and pipes are what is tested."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PAGEFLEET_", "PYTHON", "LC_"))}

    def run(
        words: Sequence[str | Path], redirected: str = "", cwd: Path = ROOT, **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        command = shlex.join([*COMMAND, *map(str, words)])
        return subprocess.run(
            ["bash", "-c", f"{command} {redirected}"],
            cwd=cwd,
            env={**inherited, "PYTHONPATH": str(ROOT), **more},
            capture_output=True,
            timeout=120,
        )

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    make_pdf(tmp_path / "in" / "letter.pdf", 2)
    return tmp_path / "in"


@pytest.mark.parametrize(
    "redirected",
    [
        "2>&-",
        ">&- 2>&-",
        "2>/dev/full",
        "2>&1 | true; exit ${PIPESTATUS[0]}",
        "2>&1 >/dev/null | head -1; exit ${PIPESTATUS[0]}",
    ],
    ids=["closed", "both closed", "full", "nobody reads", "one line is read"],
)
def test_a_job_is_done_though_nobody_can_hear_of_it(shell, corpus, tmp_path, redirected):
    done = shell(["ocr", corpus, "-o", tmp_path / "out", *SCRIPTED], redirected)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "summary.json").exists()
    assert b"Traceback" not in done.stdout + done.stderr
    for path in (tmp_path / "out").rglob("*.parquet"):  # no stream took a file's place
        assert path.read_bytes().startswith(b"PAR1")


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}"])
@pytest.mark.parametrize(
    ("words", "status"), [(["ocr", "in", "--nope"], 2), (["ocr", "/missing", "-o", "out", *SCRIPTED], 2)]
)
def test_an_error_that_nobody_can_hear_has_its_status_still(shell, tmp_path, redirected, words, status):
    done = shell(words, redirected)
    assert done.returncode == status
    assert b"Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["models", "list"], ["--help"], ["ocr", "--help"]])
def test_an_answer_that_finds_no_room_is_a_failure_and_a_reader_who_has_enough_is_none(shell, words):
    full = shell(words, ">/dev/full")
    assert full.returncode == 1
    assert b"Traceback" not in full.stderr
    enough = shell(words, "| true; exit ${PIPESTATUS[0]}")
    assert (enough.returncode, enough.stderr) == (0, b"")


def test_what_a_locale_cannot_write_is_read_stored_and_told(shell, tmp_path):
    corpus = tmp_path / "ελληνικά"
    make_pdf(corpus / "γράμμα….pdf", 1)
    done = shell(["ocr", corpus, "-o", tmp_path / "εδώ", *SCRIPTED], **ASCII)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "εδώ").rglob("*.md")] == ["γράμμα….md"]
    missing = shell(["ocr", corpus / "τίποτα", "-o", tmp_path / "out", *SCRIPTED], **ASCII)
    assert missing.returncode == 2
    assert b"no such file or folder" in missing.stderr
    assert b"UnicodeEncodeError" not in missing.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_letters_that_a_stream_lacks_hide_no_error(shell, tmp_path, encoding):
    done = shell(["ocr", tmp_path / "τίποτα…", "-o", tmp_path / "out"], PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert re.search(rb"error: .*\\u03c4.*: no such file or folder", done.stderr)


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    folder = tmp_path / "gone"
    folder.mkdir()
    return folder


def test_in_a_folder_that_is_gone_absolute_names_are_read_and_others_refused(shell, corpus, tmp_path, gone):
    remove = f"rmdir {shlex.quote(str(gone))}; "
    command = shlex.join([*COMMAND, "ocr", str(corpus), "-o", str(tmp_path / "out"), *SCRIPTED])
    relative = shlex.join([*COMMAND, "ocr", str(corpus), "-o", "out", *SCRIPTED])
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"{remove}{command}; echo status $?; {relative}; echo status $?"],
        cwd=gone,
        env=env,
        capture_output=True,
        timeout=120,
        text=True,
    )
    assert done.stdout.split("\n")[:2] == ["status 0", "status 2"], done.stderr
    assert "out: the working directory" in done.stderr
    assert "is gone: change to one that exists" in done.stderr
    assert not Path("/out").exists()


def test_secrets_of_a_job_are_told_nowhere(shell, corpus, tmp_path):
    # An argument the scripted engine does not know, so that it complains of what it got.
    secret = "engine.engine_args={hf_token: hunter2222, window: 3}"
    done = shell(["ocr", corpus, "-o", tmp_path / "out", *SCRIPTED, "--set", secret])
    assert done.returncode == 2
    assert b"hunter2222" not in done.stderr
    bad = "engine.openai.extra_body={api_key: hunter2222"  # a bracket is missing
    done = shell(["ocr", corpus, "-o", tmp_path / "out", *SCRIPTED, "--set", bad])
    assert done.returncode == 2
    assert b"engine.openai.extra_body" in done.stderr
    assert b"hunter2222" not in done.stderr
