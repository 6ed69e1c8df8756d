"""Several processes on one output, on one machine and as if on two: they share, wait, or are refused."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import pytest

from tests.cluster.harness import (
    QUICK,
    Job,
    Runner,
    each_once,
    make_corpus,
    make_pdf,
    page_keys,
    readable,
    rows,
    script,
    stored,
    until,
)

SLOW = [*QUICK, *script(seconds=0.1, concurrency=2, window=8), "input.unit_documents=3"]
LEASE_S = 6
ELSEWHERE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
COMMAND = [sys.executable, "-c", "from jobs.cli.main import main; main()"]


@cache
def _other_namespaces_may_be_made() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode == 0


elsewhere = pytest.mark.skipif(
    not _other_namespaces_may_be_made(), reason="process namespaces may not be made here"
)


def start(runner: Runner, folder: Path, out: Path, *words: str, far: bool = False) -> Job:
    """A job of its own, with ``far`` where nobody can tell whether its process lives."""
    sets = [*SLOW, f"output.lease_s={LEASE_S}"]
    command = ("ocr", folder, "-o", out, "--single-process", *words)
    if far:
        return runner.start(*ELSEWHERE, *COMMAND, *command, sets=sets, raw=True)
    return runner.start(*command, sets=sets)


def at_work(job: Job) -> Job:
    until(lambda: "documents to" in job.said, alive=job)
    return job


def check_whole(runner: Runner, folder: Path, out: Path) -> None:
    assert sorted((row["doc_id"], row["page"]) for row in rows(out)) == sorted(page_keys(folder))
    assert not list(out.glob("claims/*"))
    assert not list(out.glob("partial/*"))
    runner.verify(out)


@pytest.mark.parametrize("far", [False, pytest.param(True, marks=elsewhere)], ids=["here", "elsewhere"])
def test_a_job_with_other_inputs_beside_one_at_work_is_refused_and_no_row_is_doubled(
    runner: Runner, tmp_path: Path, far: bool
) -> None:
    folder, out = make_corpus(tmp_path / "in", 5, 4), tmp_path / "out"
    runner.faults.spoil("d04.pdf", 4, "sleep 600")
    first = at_work(start(runner, folder, out))
    make_pdf(folder / "aa.pdf", 2, seed=99)
    second = start(runner, folder, out, far=far)
    assert second.wait() == 2, second.said
    assert "another job is at work on this output with other inputs (run " in second.said
    assert "wait for it to end, or choose another output" in second.said
    assert first.running
    first.kill()
    before = stored(out)
    runner.faults.clear()
    assert start(runner, folder, out).wait() == 0
    assert not set(runner.faults.reads()) & before
    assert not list(each_once((row["doc_id"], row["page"]) for row in rows(out)))
    check_whole(runner, folder, out)


@elsewhere
def test_processes_that_cannot_see_one_another_share_the_same_inputs(runner: Runner, tmp_path: Path) -> None:
    folder, out = make_corpus(tmp_path / "in", 12, 4), tmp_path / "out"
    both = [start(runner, folder, out, far=far) for far in (False, True)]
    for job in both:
        assert job.wait() == 0, job.said
    assert sorted(runner.faults.reads()) == sorted(readable(folder))
    check_whole(runner, folder, out)


@elsewhere
@pytest.mark.parametrize("other_inputs", [pytest.param(False, marks=pytest.mark.soak), True])
def test_the_place_of_a_process_that_died_elsewhere_is_taken_after_a_lease(
    runner: Runner, tmp_path: Path, other_inputs: bool
) -> None:
    folder, out = make_corpus(tmp_path / "in", 6, 4), tmp_path / "out"
    first = at_work(start(runner, folder, out, far=True))
    until(lambda: stored(out), alive=first)
    first.kill()
    until(lambda: not owner_alive(out))
    before = stored(out)
    runner.faults.clear()
    if other_inputs:
        make_pdf(folder / "aa.pdf", 2, seed=99)
    second = start(runner, folder, out)
    assert second.wait() == 0, second.said
    assert ("without a sign of life its place is taken" in second.said) is other_inputs
    assert not set(runner.faults.reads()) & before
    check_whole(runner, folder, out)


def owner_alive(out: Path) -> list[int]:
    """Processes whose command names the output."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(out) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_a_job_that_was_killed_and_is_started_again_waits_for_nothing(runner: Runner, tmp_path: Path) -> None:
    folder, out = make_corpus(tmp_path / "in", 4, 4), tmp_path / "out"
    sets = [*SLOW, "output.lease_s=3600"]
    first = at_work(runner.start("ocr", folder, "-o", out, "--single-process", sets=sets))
    until(lambda: stored(out), alive=first)
    first.kill()
    before = stored(out)
    runner.faults.clear()
    make_pdf(folder / "aa.pdf", 2, seed=99)
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=sets)
    assert not set(runner.faults.reads()) & before
    check_whole(runner, folder, out)


def test_whatever_would_cut_read_or_write_otherwise_beside_a_job_at_work_is_refused(
    runner: Runner, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 5, 4), tmp_path / "out"
    runner.faults.spoil("d04.pdf", 4, "sleep 600")
    first = at_work(start(runner, folder, out))
    until(lambda: list(out.glob("pages/*.parquet")), alive=first)
    others = [
        (start(runner, folder, out, "--dpi", "72", "--new-generation"), " with other settings (run "),
        (start(runner, folder, out, "--max-pages", "1"), " with other inputs (run "),
        (runner.start("retry", out, "--single-process"), " (run "),
        (runner.start("assemble", out), " (run "),
    ]
    for job, told in others:
        assert job.wait() == 2, job.said
        assert f"another job is at work on this output{told}" in job.said
    assert first.running
    first.kill()
    runner.faults.clear()
    assert start(runner, folder, out).wait() == 0
    assert {row["width"] for row in rows(out)} == {144}
    check_whole(runner, folder, out)
    runner.succeed("assemble", out)
    check_whole(runner, folder, out)


@elsewhere
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_a_job_that_is_stopped_while_it_waits_for_another_writes_nothing(
    runner: Runner, tmp_path: Path, number: int
) -> None:
    folder, out = make_corpus(tmp_path / "in", 6, 4), tmp_path / "out"
    first = at_work(start(runner, folder, out, far=True))
    until(lambda: stored(out), alive=first)
    first.kill()
    until(lambda: not owner_alive(out))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    make_pdf(folder / "aa.pdf", 2, seed=99)
    second = runner.start("ocr", folder, "-o", out, "--single-process", sets=[*SLOW, "output.lease_s=3600"])
    until(lambda: "waiting for run" in second.said, alive=second)
    second.send(number)
    assert second.wait() == 130, second.said
    assert "to go on, run again" in second.said
    assert "Traceback" not in second.said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
