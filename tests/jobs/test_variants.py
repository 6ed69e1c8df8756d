"""Pages that owe several answers: a row for each, wherever a run is cut off."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from actors.engines.base import Completion, Request
from actors.engines.scripted.engine import ScriptedEngine
from jobs.config import JobConfig, fingerprint
from manifests.errors import EngineError
from tests.cluster.harness import (
    QUICK,
    Runner,
    failed,
    make_corpus,
    page_keys,
    parquet_files,
    readable,
    rows,
    script,
    stored,
    timeless,
    until,
)
from tests.jobs.command import Commands

STYLES = {"short": "In a word?", "long": "Tell all."}
VARIANTS = [f"variants={json.dumps(STYLES)}"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "in", 3, 8)


def keys(out: Path) -> Counter[tuple[str, int, str]]:
    return Counter((row["doc_id"], row["page"], row["variant"]) for row in rows(out))


def each_in_each(corpus: Path) -> Counter[tuple[str, int, str]]:
    return Counter((doc, page, style) for doc, page in page_keys(corpus) for style in STYLES)


def test_every_page_has_a_row_in_every_variant(pagefleet: Commands, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = pagefleet.succeed(corpus, "-o", out, sets=VARIANTS)
    assert keys(out) == each_in_each(corpus)
    assert all(
        row["text"].endswith(f"({STYLES[row['variant']]})") for row in rows(out) if row["status"] == "ok"
    )
    assert "read 24 pages" in words, "a page counts once"
    assert Counter(pagefleet.read) == Counter(dict.fromkeys(readable(corpus), 2))
    pagefleet.verify(out)
    pagefleet.succeed(corpus, "-o", out, sets=VARIANTS)
    assert pagefleet.read == []


def test_a_page_that_fails_has_a_failed_row_in_every_variant_and_is_read_again_in_all(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out, sets=VARIANTS, fail_on=["d01.pdf#3"])
    assert keys(out) == each_in_each(corpus)
    assert set(failed(out)) == {("d01.pdf", 3)}
    (line,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert (line["variants"], line["pages"]) == (["long", "short"], "3")
    pagefleet.verify(out)
    assert pagefleet.run("retry", out, "--single-process").exit_status == 0
    assert set(pagefleet.read) <= {("d01.pdf", 3), ("pagefleet/control.jpg", 1)}
    assert keys(out) == each_in_each(corpus)
    pagefleet.verify(out)


def test_a_failure_in_one_variant_leaves_the_others_answer(
    pagefleet: Commands, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    read = ScriptedEngine.read

    async def refusing(self: ScriptedEngine, request: Request) -> Completion:
        if request.page == 3 and request.prompt == STYLES["long"]:
            raise EngineError("too long a story")
        return await read(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedEngine, "read", refusing)
        pagefleet.succeed(corpus, "-o", out, sets=VARIANTS)
    assert keys(out) == each_in_each(corpus)
    bad = {(row["doc_id"], row["page"], row["variant"]) for row in rows(out) if row["status"] == "failed"}
    assert bad == {(f"d{number:02d}.pdf", 3, "long") for number in range(3)}
    pagefleet.verify(out)
    assert pagefleet.run("retry", out, "--single-process").exit_status == 0
    assert keys(out) == each_in_each(corpus) and not failed(out)
    pagefleet.verify(out)


def test_an_output_keeps_its_variants_but_may_be_asked_anew(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out, sets=VARIANTS)
    other = [f"variants={json.dumps({**STYLES, 'long': 'Tell more.'})}"]
    assert "variants" in pagefleet.ocr(corpus, "-o", out, sets=other).words
    more = [f"variants={json.dumps({**STYLES, 'third': 'Why?'})}"]
    said = pagefleet.ocr(corpus, "-o", out, "--new-generation", sets=more)
    assert said.exit_status == 2 and "choose another output" in said.words
    pagefleet.succeed(corpus, "-o", out, "--new-generation", sets=other)
    assert keys(out) == each_in_each(corpus)
    longs = [row["text"] for row in rows(out) if (row["variant"], row["status"]) == ("long", "ok")]
    assert all(text.endswith("(Tell more.)") for text in longs)
    pagefleet.verify(out)


def test_text_layers_are_no_answers_to_variants(pagefleet: Commands, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out, sets=[*VARIANTS, "render.text_layer=prefer"])
    assert keys(out) == each_in_each(corpus)
    assert {row["engine"] for row in rows(out)} == {"scripted"}


@pytest.mark.parametrize("kills", [[3, 17]])
def test_killed_and_resumed_equals_an_undisturbed_run(
    runner: Runner, corpus: Path, tmp_path: Path, kills: list[int]
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "out"
    sets = [*QUICK, *script(seconds=0.05, concurrency=2, window=8), "input.unit_documents=2", *VARIANTS]
    command = ("ocr", corpus, "--single-process")
    runner.succeed(*command, "-o", plain, sets=sets)
    for kill_at in kills:
        job = runner.start(*command, "-o", out, sets=sets)
        until(lambda: len(stored(out)) >= kill_at or not job.running)  # noqa: B023
        job.kill()
        before = stored(out)
        assert before and parquet_files(out)
        runner.faults.clear()
    runner.succeed(*command, "-o", out, sets=sets)
    assert not set(runner.faults.reads()) & before
    assert timeless(rows(out)) == timeless(rows(plain))
    assert keys(out) == each_in_each(corpus)
    runner.verify(out)


def test_the_fingerprint_covers_what_is_asked_where_it_is(corpus: Path) -> None:
    plain = JobConfig()
    asked = JobConfig(variants=STYLES)
    assert "variants" not in plain.result_fields()
    prints = {
        fingerprint(config.result_fields())
        for config in (plain, asked, JobConfig(variants={**STYLES, "long": "Tell more."}))
    }
    assert len(prints) == 3


@pytest.mark.parametrize("wrong", [{"": "What?"}, {"short": " "}])
def test_a_variant_has_a_name_and_a_prompt(
    pagefleet: Commands, corpus: Path, tmp_path: Path, wrong: dict[str, str]
) -> None:
    said = pagefleet.ocr(corpus, "-o", tmp_path / "out", sets=[f"variants={json.dumps(wrong)}"])
    assert said.exit_status == 2 and "must give each variant a name and a prompt" in said.words
