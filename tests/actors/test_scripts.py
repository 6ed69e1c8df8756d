import json
from pathlib import Path

import numpy as np
import onnxruntime
import pymupdf
import pytest
import rapidocr

from actors.scripts.judge import COVERED_SCRIPTS, ScriptVerdict, judge_scripts

# What RapidOCR read of drawn pages: text, confidence and the box's width by its height.
# Made by benchmarks/scripts_training/fixtures.py.
PAGES = {
    page["page"]: page["lines"]
    for page in json.loads(Path(__file__).with_name("script_pages.json").read_text(encoding="utf-8"))
}
SCRIPTS = {
    "Greek": "Greek",
    "Russian": "Cyrillic",
    "Ukrainian": "Cyrillic",
    "Hebrew": "Hebrew",
    "Arabic": "Arabic",
    "Hindi": "Devanagari",
    "Thai": "Thai",
    "Korean": "Hangul",
    "Armenian": "Armenian",
    "Georgian": "Georgian",
    "Vietnamese": "Vietnamese",
}
SILENT = {"Korean"}  # nothing is read of it: only the boxes tell
UNMISTAKABLE = {"Greek", "Armenian", "Thai", "Vietnamese"}


def verdict(page: str, *, boxes: bool = True) -> ScriptVerdict:
    lines = PAGES[page]
    return judge_scripts([(text, score) for text, score, _ in lines], [a for *_, a in lines] if boxes else ())


@pytest.mark.parametrize("page", SCRIPTS)
def test_a_page_in_a_script_that_is_not_covered_is_told(page: str) -> None:
    assert not verdict(page).covered


@pytest.mark.parametrize("page", sorted(SCRIPTS.keys() - SILENT))
def test_it_is_told_without_boxes_where_anything_is_read(page: str) -> None:
    assert not verdict(page, boxes=False).covered


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("page", [page for page in PAGES if page not in SCRIPTS])
def test_a_page_in_a_covered_script_is_left_alone(page: str, boxes: bool) -> None:
    assert verdict(page, boxes=boxes).covered


@pytest.mark.parametrize("page", sorted(UNMISTAKABLE))
def test_a_script_that_leaves_its_mark_is_named(page: str) -> None:
    assert verdict(page).script == SCRIPTS[page]


def test_one_foreign_line_gives_its_share_and_its_index_but_no_verdict() -> None:
    found = verdict("one foreign line")
    assert found.covered
    assert found.lines == (8,)
    assert 0.05 < found.share < 0.2


def test_half_a_page_of_russian_among_german_is_told_with_its_lines() -> None:
    lines = [*PAGES["German"], *PAGES["Russian"]]
    found = judge_scripts([(text, score) for text, score, _ in lines], [aspect for *_, aspect in lines])
    assert not found.covered
    assert set(found.lines) <= set(range(6, 12))
    assert 0.4 < found.share < 0.6


def test_russian_lines_in_a_table_of_numbers_count_although_the_numbers_are_read() -> None:
    lines = [*PAGES["numbers"] * 4, *PAGES["Russian"]]
    assert not judge_scripts([(t, s) for t, s, _ in lines], [a for *_, a in lines]).covered


def test_nothing_and_boxes_without_text_are_no_script() -> None:
    assert judge_scripts([]) == ScriptVerdict(True)
    assert judge_scripts([("", 0.0)] * 5, [1.0, 1.2, 0.8, 1.5, 1.0]).covered


def test_there_are_as_many_boxes_as_lines() -> None:
    with pytest.raises(ValueError, match="shorter"):
        judge_scripts([("one", 0.9), ("two", 0.9)], [3.0])


def test_the_declared_scripts_are_those_of_the_models_dictionary() -> None:
    folder = Path(rapidocr.__file__).parent / "models"
    session = onnxruntime.InferenceSession(next(folder.glob("*rec*.onnx")))
    dictionary = set(session.get_modelmeta().custom_metadata_map["character"].splitlines())
    for script, characters in COVERED_SCRIPTS.items():
        assert [c for c in characters if c not in dictionary] == [], script
    for characters in ("άέήίόύώς", "абвгд", "אבג", "ابت", "한국", "กข", "हिन", "աբգ", "აბგ", "ậểộ"):
        assert not dictionary.intersection(characters)


@pytest.fixture(scope="module")
def ocr() -> rapidocr.RapidOCR:
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    return rapidocr.RapidOCR(params={"Global.use_cls": False, "Global.log_level": "error", **threads})


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("Greek", ["Η ελληνική γλώσσα είναι μία", "από τις αρχαιότερες γλώσσες", "που μιλιούνται σήμερα."]),
        ("Cyrillic", ["Все люди рождаются свободными", "и равными в своём достоинстве", "и правах."]),
        ("", ["All human beings are born free", "and equal in dignity and rights."]),
    ],
)
def test_a_drawn_page_is_judged_by_what_the_engine_reads(
    ocr: rapidocr.RapidOCR, script: str, lines: list[str]
) -> None:
    document = pymupdf.open()
    page = document.new_page(width=420, height=300)
    writer = pymupdf.TextWriter(page.rect)
    for number, line in enumerate(lines):
        writer.append((30, 40 + 30 * number), line, font=pymupdf.Font("tiro"), fontsize=18)
    writer.write_text(page)
    pixels = page.get_pixmap(dpi=110)
    image = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)
    _, _, read, crops = ocr.run_ocr_steps(*ocr.preprocess_img(image))
    found = judge_scripts(
        list(zip(read.txts, read.scores, strict=True)), [crop.shape[1] / crop.shape[0] for crop in crops]
    )
    assert found.covered == (not script)
    assert found.script in (script, "")
