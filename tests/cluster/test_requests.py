"""Requests that are more than one page and one prompt, on real Ray: several images, several answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from tests.cluster.conftest import SharedCluster
from tests.cluster.harness import (
    QUICK,
    Runner,
    failed,
    make_corpus,
    page_keys,
    rows,
    script,
    stored,
    timeless,
    until,
)

TWO = ["cluster.replicas=2", "cluster.renderers=1"]
STYLES = {"short": "In a word?", "long": "Tell all."}
VARIANTS = [f"variants={json.dumps(STYLES)}"]


def test_rows_of_three_images_are_read_as_one_page_each(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    folder, out, plain = tmp_path / "in", tmp_path / "out", tmp_path / "plain"
    folder.mkdir()
    for number in range(12):
        pixels = np.full((40, 50 + number, 3), 255, np.uint8)
        pixels[:20] = number
        Image.fromarray(pixels).save(folder / f"{number}.png")
    images = [[f"{first + i}.png" for i in range(3)] for first in range(10)]
    images[4][1] = "nowhere.png"
    manifest = folder / "m.jsonl"
    manifest.write_text(
        "".join(json.dumps({"qid": f"q{i}", "images": names}) + "\n" for i, names in enumerate(images))
    )
    sets = [*QUICK, *script(), *TWO]
    runner.succeed("ocr", manifest, "-o", out, "--address", cluster.address, sets=sets)
    assert {key: reason.split(":")[0] for key, reason in failed(out).items()} == {("q4", 1): "image 2 of 3"}
    assert len(rows(out)) == 10
    for first in {*range(10)} - {4}:
        (text,) = (row["text"] for row in rows(out) if row["doc_id"] == f"q{first}")
        assert [f"{50 + first + i}x40" in text for i in range(3)] == [True] * 3
    runner.verify(out)
    runner.succeed("ocr", manifest, "-o", plain, "--single-process", sets=sets)
    assert timeless(rows(out)) == timeless(rows(plain))


def test_pages_of_two_variants_killed_with_the_driver_and_by_the_engine(
    runner: Runner, cluster: SharedCluster, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 4, 8), tmp_path / "out"
    faults = script(kill_on=["d02.pdf#3"], seconds=0.05, concurrency=2, window=8)
    sets = [*QUICK, *faults, *TWO, *VARIANTS, "input.unit_documents=2"]
    job = runner.start("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    until(lambda: len(stored(out)) >= 6, alive=job)
    job.kill()
    before = stored(out)
    runner.faults.clear()
    runner.succeed("ocr", folder, "-o", out, "--address", cluster.address, sets=sets)
    assert not set(runner.faults.reads()) & before
    assert Counter((row["doc_id"], row["page"], row["variant"]) for row in rows(out)) == Counter(
        (doc, page, style) for doc, page in page_keys(folder) for style in STYLES
    )
    assert set(failed(out)) == {("d02.pdf", 3)}
    assert "killed its engine" in failed(out)["d02.pdf", 3]
    runner.verify(out)
