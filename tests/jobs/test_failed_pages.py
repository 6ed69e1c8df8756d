"""A job in which pages fail says why; one in which too many do is no success."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cluster.harness import make_corpus, make_pdf
from tests.jobs.command import Commands

DEFAULT = "run.max_failed_share=0.05"
"""Tests of other things tolerate all failures; here it is as people have it."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "in", 4, 6)


def test_when_every_page_fails_the_job_is_no_success_and_tells_the_cause(pagefleet: Commands, tmp_path: Path):
    folder = tmp_path / "in"
    for number in range(3):
        make_pdf(folder / f"d{number}.pdf", 1)
    said = pagefleet.ocr(
        folder, "-o", tmp_path / "out", sets=[DEFAULT], fail_on=[f"d{n}.pdf#1" for n in range(3)]
    )
    assert said.exit_status == 3
    assert "error: every page failed, and the share that may is 0.05 (--max-failed)" in said.words
    assert re.search(r"first of all because of: .*refuse", said.words)


def test_a_few_failed_pages_are_told_with_their_reasons_and_tolerated(pagefleet: Commands, tmp_path: Path):
    folder, out = make_corpus(tmp_path / "in", 4, 6), tmp_path / "out"
    said = pagefleet.ocr(folder, "-o", out, sets=[DEFAULT], fail_on=["d00.pdf#2"])
    assert said.exit_status == 0
    assert "1 pages failed; the most frequent reasons:" in said.words
    assert re.search(r"^ +1 × scripted to refuse …#2$", said.words, re.MULTILINE)
    assert f"'pagefleet retry {out}' reads them again" in said.words


def test_more_than_one_in_twenty_is_too_many_unless_told_otherwise(
    pagefleet: Commands, corpus: Path, tmp_path: Path
):
    spoiled = ["d00.pdf#2", "d01.pdf#3"]  # of 24 pages
    out = tmp_path / "out"
    said = pagefleet.ocr(corpus, "-o", out, sets=[DEFAULT], fail_on=spoiled)
    assert said.exit_status == 3
    assert "error: 2 of 24 pages failed, and the share that may is 0.05" in said.words
    assert pagefleet.ocr(corpus, "-o", out, "--max-failed", "0.1", fail_on=spoiled).exit_status == 0


def test_of_many_reasons_the_five_most_frequent_are_told(pagefleet: Commands, tmp_path: Path):
    folder = tmp_path / "in"
    make_pdf(folder / "whole.pdf", 2)
    contents = {
        "empty": b"",
        "words": b"no document",
        "gif": b"GIF89a",
        "zip": b"PK\x03\x04",
        "torn": b"%PDF-1.4",
    }
    contents |= {"elf": b"\x7fELF" + bytes(60), "html": b"<html></html>"}
    for number, (name, data) in enumerate(contents.items()):
        for copy in range(len(contents) - number):
            (folder / f"{name}{copy}.pdf").write_bytes(data)
    said = pagefleet.ocr(folder, "-o", tmp_path / "out", sets=[DEFAULT])
    assert said.exit_status == 3
    counts = [int(count) for count in re.findall(r"^ +(\d+) × ", said.words, re.MULTILINE)]
    assert len(counts) == 5
    assert counts == sorted(counts, reverse=True)
    assert counts[0] >= len(contents)
