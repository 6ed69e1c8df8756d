"""Manifest rows of several images, from the manifest to rows, failures and reading again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cluster.harness import failed, rows
from tests.jobs.command import Commands


def picture(path: Path, value: int) -> Path:
    pixels = np.full((40, 40 + value, 3), 255, np.uint8)
    pixels[:20] = value
    Image.fromarray(pixels).save(path, "PNG")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four rows of three images each, some of them shared."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        picture(folder / f"{number}.png", 10 + number)
    lines = [
        {"qid": f"q{first}", "images": [f"{first + i}.png" for i in range(3)], "prompt": f"question {first}"}
        for first in range(4)
    ]
    manifest = folder / "m.jsonl"
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return manifest


def texts(out: Path) -> dict[str, str]:
    return {row["doc_id"]: row["text"] for row in rows(out)}


def test_three_images_of_a_row_become_one_page_that_names_three_prints(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out)
    assert [(row["doc_id"], row["page"], row["page_count"], row["status"]) for row in rows(out)] == [
        (f"q{number}", 1, 1, "ok") for number in range(4)
    ]
    for number in range(4):
        text = texts(out)[f"q{number}"]
        assert [f"{50 + number + i}x40" in text for i in range(3)] == [True] * 3
        assert text.endswith(f"(question {number})")
    pagefleet.verify(out, "--manifest", str(corpus))
    pagefleet.succeed(corpus, "-o", out)
    assert pagefleet.read == [], "complete"


def test_a_missing_image_fails_its_row_by_name_and_can_be_read_later(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out, missing = tmp_path / "out", corpus.with_name("4.png")
    missing.rename(tmp_path / "4.png")
    said = pagefleet.ocr(corpus, "-o", out)
    assert said.exit_status == 0, said.words
    assert set(failed(out)) == {("q2", 1), ("q3", 1)}
    assert failed(out)["q3", 1].startswith(f"image 2 of 3: {missing}")
    pagefleet.verify(out)
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [(line["id"], line["images"], line["pages"]) for line in lines] == [
        (f"q{number}", [str(corpus.with_name(f"{number + i}.png")) for i in range(3)], "1")
        for number in (2, 3)
    ]
    assert all("uri" not in line for line in lines)

    (tmp_path / "4.png").rename(missing)
    pagefleet.succeed(out / "failures.jsonl", "-o", tmp_path / "rest")
    assert {row["status"] for row in rows(tmp_path / "rest")} == {"ok"}
    assert pagefleet.run("retry", out, "--single-process").exit_status == 0
    assert {row["status"] for row in rows(out)} == {"ok"}
    assert sorted(pagefleet.read) == [("q2", 1), ("q3", 1)]
    pagefleet.verify(out)


def test_a_changed_image_is_noticed_and_its_row_read_again(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out)
    before = texts(out)
    picture(corpus.with_name("1.png"), 99)  # the second of q0, the first of q1
    words = pagefleet.succeed(corpus, "-o", out)
    assert "changed since they were planned or read, so read again: q0, q1" in words
    assert sorted(pagefleet.read) == [("q0", 1), ("q1", 1)]
    after = texts(out)
    assert {name for name in after if after[name] != before[name]} == {"q0", "q1"}
    pagefleet.verify(out)


def test_an_engine_that_reads_one_image_at_a_time_says_so_for_each_row(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"images_per_prompt": 0}
    pagefleet.ocr(corpus, "-o", tmp_path / "out", **fields)
    reason = "the page shows 3 images, and the scripted engine reads one image at a time"
    assert failed(tmp_path / "out") == {(f"q{number}", 1): reason for number in range(4)}
