"""Text layers through the whole pipeline, in one process, with an engine that makes up its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actors.layer_samples import PROSE, ciphered, few_lines, pdf, scan
from tests.cluster.harness import make_pdf, rows
from tests.jobs.command import Commands

JOINED = " ".join(PROSE)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A born-digital page, a scan with somebody's OCR behind it, a ciphered page, and a bare scan."""
    folder = tmp_path / "in"
    folder.mkdir()
    pdf(folder / "born.pdf", few_lines)
    pdf(folder / "scanned.pdf", scan, lambda page: few_lines(page, render_mode=3))
    pdf(folder / "cipher.pdf", ciphered)
    pdf(folder / "bare.pdf", scan)
    return folder


def by_document(out: Path) -> dict[str, dict]:
    return {row["doc_id"]: row for row in rows(out)}


def own_text(row: dict) -> bool:
    flat = " ".join(row["text"].split())
    return (row["engine"], row["model"], flat) == ("text_layer", "", JOINED) and "text_layer" in row["flags"]


def test_prefer_reads_only_pixels_that_must_be_read(
    pagefleet: Commands, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out, "--text-layer", "prefer")
    assert sorted(pagefleet.read) == [("bare.pdf", 1), ("cipher.pdf", 1), ("scanned.pdf", 1)]
    found = by_document(out)
    assert own_text(found["born.pdf"]) and found["born.pdf"]["status"] == "ok"
    assert found["born.pdf"]["attempts"] == 0 and not found["born.pdf"]["reason"]
    assert found["scanned.pdf"]["flags"] == ["text_layer_untrusted", "text_layer_invisible"]
    assert found["cipher.pdf"]["flags"] == ["text_layer_untrusted", "text_layer_garbled"]
    assert found["bare.pdf"]["flags"] == []
    assert {row["status"] for row in found.values()} == {"ok"}
    pagefleet.verify(out)
    assert "harbour lay quiet" in (out / "markdown" / "born.md").read_text()

    said = pagefleet.ocr(corpus, "-o", out, "--text-layer", "never")
    assert said.exit_status == 2 and "render.text_layer" in said.words


def test_page_images_are_kept_of_layers_too(pagefleet: Commands, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(corpus, "-o", out, "--text-layer", "prefer", "--page-images")
    assert len(pagefleet.read) == 3
    assert by_document(out)["born.pdf"]["flags"] == ["text_layer", "page_image"]
    assert len(list(out.rglob("page-00001.jpg"))) == 4
    pagefleet.verify(out)


@pytest.mark.parametrize("use", ["fallback", "prefer"])
def test_a_refused_page_falls_back_to_its_layer(
    pagefleet: Commands, corpus: Path, tmp_path: Path, use: str
) -> None:
    out = tmp_path / "out"
    refused = [f"{name}.pdf#1" for name in ("born", "scanned", "cipher")]
    pagefleet.succeed(corpus, "-o", out, "--text-layer", use, fail_on=refused)
    found = by_document(out)
    assert own_text(found["born.pdf"]) and own_text(found["scanned.pdf"])
    assert found["born.pdf"]["status"] == ("fallback" if use == "fallback" else "ok")
    assert found["scanned.pdf"]["status"] == "fallback"
    assert "refuse scanned.pdf#1; the page's text layer was taken" in found["scanned.pdf"]["reason"]
    assert found["cipher.pdf"]["status"] == "failed" and not found["cipher.pdf"]["text"]
    assert found["bare.pdf"]["engine"] == "scripted"
    pagefleet.verify(out)


def test_never_is_the_default(pagefleet: Commands, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_pdf(corpus / "more.pdf", 2)
    pagefleet.succeed(corpus, "-o", out, fail_on=["born.pdf#1"])
    assert by_document(out)["born.pdf"]["status"] == "failed"
    assert all(not row["flags"] for row in rows(out))
