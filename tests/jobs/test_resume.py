"""Kill it, stop it, start it twice: the result is that of an undisturbed run. Without Ray, so fast."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.harness import (
    QUICK,
    STOPS,
    Runner,
    each_once,
    failed,
    logged_pages,
    make_corpus,
    markdown,
    page_keys,
    readable,
    rows,
    script,
    statuses,
    stored,
    timeless,
    until,
)

SLOW = [*QUICK, *script(seconds=0.05, concurrency=2, window=8), "input.unit_documents=2"]
FAST = [*QUICK, *script(), "input.unit_documents=2"]
SOAK_SEEDS = range(int(os.environ.get("PAGEFLEET_SOAK_SEEDS", "20")))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in SOAK_SEEDS if seed)]
)
def test_a_driver_killed_at_random_moments_and_resumed_equals_an_undisturbed_run(
    runner: Runner, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    folder = make_corpus(tmp_path / "in", 5, 12)
    plain, out = tmp_path / "plain", tmp_path / "out"
    runner.succeed("ocr", folder, "-o", plain, "--single-process", sets=SLOW)
    pages = len(page_keys(folder))
    for kill_at in sorted(dice.randrange(pages) for _ in range(2)):
        job = runner.start("ocr", folder, "-o", out, "--single-process", sets=SLOW)
        until(lambda: len(stored(out)) >= kill_at or not job.running)  # noqa: B023
        time.sleep(dice.random() / 2)  # not a wait for anything: the random part of the moment
        job.kill()
        before = stored(out)
        runner.faults.clear()
        if not job.running and len(before) == pages:
            break
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=SLOW)
    assert not set(runner.faults.reads()) & before
    assert timeless(rows(out)) == timeless(rows(plain))
    assert markdown(out) == markdown(plain)
    runner.verify(out)


@STOPS
def test_a_stopped_run_stores_what_is_finished_and_goes_on_later(
    runner: Runner, tmp_path: Path, number: int, within_s: float
) -> None:
    folder, out = make_corpus(tmp_path / "in", 4, 20), tmp_path / "out"
    sets = [*SLOW, "output.flush_s=60"]
    job = runner.start("ocr", folder, "-o", out, "--single-process", sets=sets)
    until(lambda: len(runner.faults.reads("done")) >= 8, alive=job)
    finished = set(runner.faults.reads("done"))
    job.send(number)
    until(lambda: finished <= stored(out), within_s=within_s, every_s=0.02)
    assert job.wait() == 130
    assert "to go on, run again" in job.said
    assert " ocr " in job.said.split("run again:")[1]
    assert "Traceback" not in job.said
    before = stored(out)
    assert len(before) < len(page_keys(folder))
    runner.faults.clear()
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=sets)
    assert not set(runner.faults.reads()) & before
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    runner.verify(out)


def test_a_retry_killed_half_way_goes_on_and_keeps_history(runner: Runner, tmp_path: Path) -> None:
    folder, out = make_corpus(tmp_path / "in", 6, 10), tmp_path / "out"
    spoiled = {(f"d{doc:02d}.pdf", page) for doc in (0, 1, 3, 4) for page in (2, 3, 4, 5, 6)}
    for doc, page in spoiled:
        runner.faults.spoil(doc, page, "raise")
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=SLOW)
    assert failed(out).keys() == spoiled
    sealed = {path.name: path.read_bytes() for path in out.glob("pages/*.parquet")}
    untouched = [row for row in rows(out) if row["status"] != "failed"]

    runner.faults.clear()
    runner.faults.spoil("d01.pdf", 2, "sleep 120")  # its unit stays open, whatever the machine's speed
    job = runner.start("retry", out, "--single-process", sets=["output.flush_s=0.1"])
    until(lambda: _partial_rows(out), alive=job)
    job.kill()
    half = {(row["doc_id"], row["page"]) for row in _partial_rows(out)}
    assert half
    runner.faults.clear()
    runner.succeed("retry", out, "--single-process", sets=["output.flush_s=0.1"])
    assert not set(runner.faults.reads()) & half
    assert set(runner.faults.reads()) <= spoiled

    after = rows(out)
    assert [row for row in after if (row["doc_id"], row["page"]) not in spoiled] == untouched
    again = [row for row in after if (row["doc_id"], row["page"]) in spoiled]
    assert {row["status"] for row in again} == {"ok"}
    assert {row["generation"] for row in again} == {2}
    history = {path.name: path.read_bytes() for path in out.glob("history/*.parquet")}
    changed = {path.name for path in out.glob("pages/*.parquet") if path.read_bytes() != sealed[path.name]}
    assert len(changed) == 3  # of three units the third, too, holds a failed document
    assert history == {name.replace(".parquet", ".g1.parquet"): sealed[name] for name in changed}
    runner.verify(out)
    assert "nothing to read" in runner.succeed("retry", out, "--single-process").said


def _partial_rows(out: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    found: list[dict[str, object]] = []
    for path in out.glob("partial/*/g0002/*.parquet"):
        with suppress(FileNotFoundError):  # partials go when their unit is sealed
            found += pq.read_table(path, columns=["doc_id", "page"]).to_pylist()
    return found


@pytest.mark.soak
def test_a_page_that_fails_again_stays_failed_in_the_next_generation(runner: Runner, tmp_path: Path) -> None:
    folder, out = make_corpus(tmp_path / "in", 2, 6), tmp_path / "out"
    sets = [*QUICK, *script(fail_on=["d00.pdf#2"])]
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=sets)
    for generation in (2, 3):
        runner.succeed("retry", out, "--single-process")
        (row,) = [row for row in rows(out) if row["status"] == "failed"]
        assert (row["doc_id"], row["page"], row["generation"]) == ("d00.pdf", 2, generation)
    assert len(list(out.glob("history/*.parquet"))) == 2
    runner.verify(out)


@pytest.mark.parametrize("unit_documents", [1, pytest.param(256, marks=pytest.mark.soak)])
def test_two_drivers_on_one_output_read_each_page_once(
    runner: Runner, tmp_path: Path, unit_documents: int
) -> None:
    folder, out = make_corpus(tmp_path / "in", 8, 6), tmp_path / "out"
    sets = [*SLOW, f"input.unit_documents={unit_documents}"]
    both = [runner.start("ocr", folder, "-o", out, "--single-process", sets=sets) for _ in range(2)]
    for job in both:
        assert job.wait() == 0, job.said
    assert sorted(runner.faults.reads()) == sorted(readable(folder))
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    assert not list(each_once((row["doc_id"], row["page"]) for row in rows(out)))
    assert not list(out.glob("claims/*"))
    runner.verify(out)


def test_two_shards_share_an_input(runner: Runner, tmp_path: Path) -> None:
    folder, out = make_corpus(tmp_path / "in", 8, 6), tmp_path / "out"
    sets = [*FAST, "input.unit_documents=1"]
    shards = [
        runner.start(
            "ocr",
            folder,
            "-o",
            out,
            "--single-process",
            "--num-shards",
            "2",
            "--shard-index",
            f"{i}",
            sets=sets,
        )
        for i in range(2)
    ]
    for job in shards:
        assert job.wait() == 0, job.said
    assert sorted(runner.faults.reads()) == sorted(readable(folder))
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    per_run = [set(pages) for pages in logged_pages(out).values()]
    assert len(per_run) == 2
    assert not per_run[0] & per_run[1]
    runner.verify(out)


def test_an_engine_that_dies_while_loading_ends_the_run_with_its_last_words(
    runner: Runner, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 1, 3), tmp_path / "out"
    job = runner.run("ocr", folder, "-o", out, "--single-process", sets=[*QUICK, *script(kill_at_start=True)])
    assert job.process.returncode == 1
    assert "scripted engine: killed while loading" in job.said
    assert not rows(out)


@pytest.mark.parametrize("abortable", [True])
def test_a_page_that_hangs_an_abortable_engine_costs_itself(
    runner: Runner, tmp_path: Path, abortable: bool
) -> None:
    folder, out = make_corpus(tmp_path / "in", 1, 6), tmp_path / "out"
    sets = [*QUICK, *script(hang_on=["d00.pdf#2"], abortable=abortable), "engine.page_timeout_s=0.5"]
    runner.succeed("ocr", folder, "-o", out, "--single-process", sets=[*sets, "run.stall_s=20"])
    assert failed(out).keys() == {("d00.pdf", 2)}
    assert "longer than 0.5 s" in failed(out)["d00.pdf", 2]
    assert sum(statuses(out).values()) == 6
    runner.verify(out)
