"""One bad page costs one page; a bad environment condemns none. On real Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actors.render_samples import laughing_pdf
from tests.cluster.conftest import SharedCluster
from tests.cluster.harness import (
    QUICK,
    Runner,
    failed,
    make_corpus,
    make_pdf,
    page_keys,
    readable,
    rows,
    script,
    statuses,
    stored,
    until,
)

ONE = ["cluster.replicas=1", "cluster.renderers=1"]
TWO = ["cluster.replicas=2", "cluster.renderers=1"]
THREE = ["cluster.replicas=3", "cluster.renderers=1"]


def _everything_but(folder: Path, out: Path, *bad: tuple[str, int]) -> None:
    """Every page has its row and only these are failed."""
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    assert failed(out).keys() == set(bad)
    assert set(statuses(out)) <= {"ok", "blank", "failed"}


@pytest.mark.parametrize(
    "replicas",
    [pytest.param(ONE, id="one replica", marks=pytest.mark.soak), pytest.param(THREE, id="three replicas")],
)
def test_a_page_that_kills_its_engine_among_three_hundred(
    runner: Runner, cluster: SharedCluster, tmp_path: Path, replicas: list[str]
) -> None:
    folder, out = make_corpus(tmp_path / "in", 10, 30), tmp_path / "out"
    sets = [*QUICK, *script(kill_on=["d04.pdf#17"], seconds=0.02, concurrency=4, window=16), *replicas]
    runner.succeed("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    _everything_but(folder, out, ("d04.pdf", 17))
    reason = failed(out)["d04.pdf", 17]
    assert "killed its engine" in reason
    assert "scripted engine: killed by d04.pdf#17" in reason
    runner.verify(out)


@pytest.mark.soak
@pytest.mark.parametrize(
    "unit_documents",
    [pytest.param(1, id="others sealed"), pytest.param(256, id="others in its unit")],
)
def test_a_page_that_kills_its_engine_as_the_last_one_left(
    runner: Runner, cluster: SharedCluster, tmp_path: Path, unit_documents: int
) -> None:
    """A second renderer is busy with the poison when the driver is killed, so that all others are stored."""
    folder, out = make_corpus(tmp_path / "in", 1, 6), tmp_path / "out"
    sets = [*QUICK, *script(kill_on=["d01.pdf#1"]), f"input.unit_documents={unit_documents}"]
    sets += ["cluster.replicas=1", "cluster.renderers=2"]
    words = ["ocr", folder, "-o", out, "--address", cluster.address]
    make_pdf(folder / "d01.pdf", 1, seed=9)
    runner.faults.spoil("d01.pdf", 1, "sleep 30")
    job = runner.start(*words, sets=sets)
    until(lambda: stored(out) == readable(folder) - {("d01.pdf", 1)}, alive=job)
    if unit_documents == 1:
        until(lambda: list(out.glob("pages/*.parquet")), alive=job)
    job.kill()
    runner.faults.clear()
    until(lambda: not cluster.workers("Replica"))
    runner.succeed(*words, sets=sets)
    _everything_but(folder, out, ("d01.pdf", 1))
    assert "killed its engine" in failed(out)["d01.pdf", 1]
    runner.verify(out)


@pytest.mark.soak
@pytest.mark.parametrize(
    "abortable", [pytest.param(True, id="abortable"), pytest.param(False, id="not abortable")]
)
def test_a_page_that_hangs_its_engine(
    runner: Runner, cluster: SharedCluster, tmp_path: Path, abortable: bool
) -> None:
    folder, out = make_corpus(tmp_path / "in", 4, 10), tmp_path / "out"
    timeout_s = 1 if abortable else 3
    sets = [
        *QUICK,
        *script(hang_on=["d02.pdf#5"], abortable=abortable, concurrency=4, window=8, seconds=0.02),
        *TWO,
        f"engine.page_timeout_s={timeout_s}",
    ]
    runner.succeed("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    _everything_but(folder, out, ("d02.pdf", 5))
    assert ("took longer than 1 s" if abortable else "killed its engine") in failed(out)["d02.pdf", 5]
    runner.verify(out)


def test_an_engine_that_always_dies_condemns_no_page(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 20, 50), tmp_path / "out"
    sets = [*QUICK, *script(kill_always=True), *TWO]
    job = runner.run("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    assert job.process.returncode == 1, job.said
    assert "scripted engine: killed by d" in job.said
    assert "no page was condemned" in job.said
    assert not failed(out)
    assert {key for key in stored(out) if key[1] % 7} == set()


def test_an_engine_that_dies_while_loading_says_its_last_words(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 1, 5), tmp_path / "out"
    sets = [*QUICK, *script(kill_at_start=True), *ONE]
    job = runner.run("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    assert job.process.returncode == 1, job.said
    assert "scripted engine: killed while loading" in job.said
    assert not stored(out)


@pytest.mark.parametrize(
    "single_process",
    [pytest.param(True, id="single process"), pytest.param(False, id="ray", marks=pytest.mark.soak)],
)
def test_pages_that_hang_or_crash_their_renderer(
    runner: Runner, cluster: SharedCluster, tmp_path: Path, single_process: bool
) -> None:
    folder, out = make_corpus(tmp_path / "in", 3, 8), tmp_path / "out"
    (folder / "laughing.pdf").write_bytes(laughing_pdf(9))
    make_pdf(folder / "crash.pdf", 6, seed=5)
    runner.faults.spoil("crash.pdf", 3, "segv")
    sets = [*QUICK, *script(), *TWO, "render.page_timeout_s=2"]
    where = ["--single-process"] if single_process else ["--address", cluster.address]
    runner.succeed("ocr", folder, "-o", out, *where, sets=sets)
    _everything_but(folder, out, ("laughing.pdf", 1), ("crash.pdf", 3))
    assert failed(out)["laughing.pdf", 1].startswith("rendering the page took longer than 2 s")
    assert failed(out)["crash.pdf", 3].startswith("rendering the page crashed the renderer twice")
    runner.verify(out)
