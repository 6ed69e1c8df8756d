"""The quality benchmark from drawn files to tables."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from actors.engines.settings import EngineConfig
from benchmarks.quality import tables
from benchmarks.quality.measure import KnownFile, drawn_files, fresh_files, measure
from benchmarks.quality.readers import BARE, BareTesseract, EngineReader, PageText, installed_languages
from benchmarks.samples.classes import Order, draw
from benchmarks.samples.layouts import A5
from results.rows import Status


class Recital:
    """Reads what it was told is there, in a wrong order if asked to."""

    def __init__(self, name: str, files: list[KnownFile], reverse: bool = False) -> None:
        self.name = name
        self._known = {file.path: file.known for file in files}
        self._step = -1 if reverse else 1

    def read(self, path: Path, language: str) -> list[PageText]:
        texts = ("\n\n".join(page.text.split("\n\n")[:: self._step]) for page in self._known[path].pages)
        return [PageText(text, Status.OK, ("recited",), 0.5) for text in texts]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[KnownFile]:
    return list(drawn_files(tmp_path_factory.mktemp("drawn"), 3, 1, ("two_column", "blank")))


def test_a_perfect_reader_meets_every_target(files: list[KnownFile]) -> None:
    scores = measure([Recital("rapidocr", files), Recital(BARE, files)], files)
    ours = [row for row in tables.rows(scores) if row[1] == "rapidocr"]
    assert [row[0] for row in ours] == ["two_column", "blank"]
    assert [row[3] for row in ours] == ["0.00 %", "0 ch"]
    assert all(row[-1] == "met" for row in ours)


def test_blocks_in_the_wrong_order_cost_order_and_characters(files: list[KnownFile]) -> None:
    (score, _) = measure([Recital("rapidocr", files, reverse=True)], files)
    assert score.order is not None
    assert score.order < 0.95
    assert score.character_error_rate is not None
    assert score.character_error_rate > 0.3
    assert "MISSED" in tables.markdown([score])


def test_figures_are_shown_with_flags_in_the_terminal_and_as_markdown(files: list[KnownFile]) -> None:
    scores = measure([Recital("rapidocr", files)], files)
    console = Console(file=io.StringIO(), width=110)
    tables.show(scores, console)
    for text in (console.file.getvalue(), tables.markdown(scores)):  # type: ignore[attr-defined]
        assert "two_column, rapidocr: recited 1" in text
        assert "0.00 %" in text


def test_the_same_seed_gives_the_same_files_and_leaves_none_behind() -> None:
    with fresh_files(5, 1, ("page_number",)) as first:
        (file,) = first
        data = file.path.read_bytes()
    assert not file.path.exists()
    with fresh_files(5, 1, ("page_number",)) as second:
        assert next(second).path.read_bytes() == data


def test_an_engine_is_fed_as_the_pipeline_feeds_it(tmp_path: Path) -> None:
    reader = EngineReader(EngineConfig(kind="scripted"))
    for page_class, status in (("blank", Status.BLANK), ("page_number", Status.OK)):
        drawn = draw(Order(page_class, "1", A5, 100))
        path = tmp_path / f"{page_class}{drawn.suffix}"
        path.write_bytes(drawn.data)
        (page,) = reader.read(path, "en")
        assert page.status == status
        assert bool(page.text) is (status == Status.OK)


@pytest.mark.skipif("eng" not in installed_languages(), reason="tesseract is not installed")
def test_the_baseline_reads_the_same_pixels_with_its_own_text(tmp_path: Path) -> None:
    drawn = draw(Order("table", "1", A5, 150, "en", suffix=".png"))
    path = tmp_path / "table.png"
    path.write_bytes(drawn.data)
    (page,) = BareTesseract().read(path, "en")
    assert page.status == Status.OK
    assert drawn.known.pages[0].blocks[0].text in page.text
