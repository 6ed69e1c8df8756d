"""A page that the embedded engine cannot read, through the whole pipeline: flagged, told, never plain ok."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.actors.typeset import GREEK, LETTER, typeset
from tests.cluster.harness import rows
from tests.jobs.command import Commands


def test_greek_ends_as_fallback_with_a_warning_and_its_neighbour_as_ok(
    pagefleet: Commands, tmp_path: Path
) -> None:
    corpus, out = tmp_path / "in", tmp_path / "out"
    corpus.mkdir()
    Image.fromarray(typeset(GREEK)).save(corpus / "greek.png")
    Image.fromarray(typeset(LETTER)[:400].transpose(1, 0, 2)[::-1].copy()).save(corpus / "lying.png")
    said = pagefleet.run("ocr", corpus, "-o", out, "--single-process")
    assert said.exit_status == 0, said.words

    greek, lying = sorted(rows(out), key=lambda row: row["doc_id"])
    assert (greek["status"], greek["engine"]) == ("fallback", "rapidocr")
    assert greek["flags"] == ["script_not_covered", "script_not_covered:Greek"]
    assert greek["reason"].startswith("script not covered: Greek")
    assert (lying["status"], lying["rotation"], lying["flags"]) == ("ok", 90, [])
    assert lying["text"].startswith("The ferry to Saint Brannock")
    assert lying["width"] > lying["height"]
    assert 0.9 < lying["worst_confidence"] <= lying["mean_confidence"] <= 1

    assert "1 page holds Greek text" in said.words and "apt install tesseract-ocr-ell" in said.words
    summary = json.loads((out / "summary.json").read_text())
    assert summary["flags"]["script_not_covered"] == 1
    pagefleet.verify(out)


def test_a_language_for_the_embedded_engine_is_refused(pagefleet: Commands, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(typeset(LETTER[:1])).save(tmp_path / "in" / "a.png")
    said = pagefleet.run(
        "ocr", tmp_path / "in", "-o", tmp_path / "out", "--engine", "rapidocr", "--lang", "ell"
    )
    assert said.exit_status == 2
    assert "engine.lang: rapidocr takes none" in said.words
