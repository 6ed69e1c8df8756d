"""Tesseract where it is installed, what is said where it is not, and the engine that uses both."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest

from actors.engines.base import Completion, Request
from actors.engines.load import load_engine
from actors.engines.settings import EngineConfig
from actors.scripts.languages import (
    debian_package,
    languages_for,
    needs_tesseract,
    package_for,
    script_of,
    script_warnings,
    with_one_accent,
)
from benchmarks.quality.distance import edit_distance
from manifests.errors import ConfigError
from tests.actors.typeset import GREEK, LETTER, typeset, words

installed = shutil.which("tesseract") is not None
needs_program = pytest.mark.skipif(not installed, reason="tesseract is not installed")


def has(language: str) -> bool:
    from actors.engines.tesseract.engine import installed_languages

    return installed and language in installed_languages()


def read(engine, image: np.ndarray) -> Completion:
    return asyncio.run(engine.read(Request("a", 1, [image])))


@needs_program
def test_tesseract_reads_a_page_in_order_with_confidences_and_regions():
    answer = read(load_engine(EngineConfig(kind="tesseract")), typeset(LETTER, dpi=150))
    assert words(answer.text) == words("\n".join(LETTER))
    assert [region.label for region in answer.regions] == ["text", "text"]
    assert 0.8 < (answer.worst_confidence or 0) <= (answer.mean_confidence or 0) <= 1


@pytest.mark.skipif(not has("ell"), reason="Tesseract has no Greek here")
@pytest.mark.parametrize("config", [{"lang": "ell"}, {"kind": "auto"}])
def test_accented_greek_is_read_by_tesseract(config):
    answer = read(load_engine(EngineConfig(**config)), typeset(GREEK, dpi=150))
    known = " ".join(GREEK)
    assert edit_distance(" ".join(words(answer.text)), known) <= 0.03 * len(known)
    assert answer.uncovered_script is None


@pytest.mark.skipif(not has("ell"), reason="Tesseract has no Greek here")
def test_auto_says_who_read_a_page():
    engine = load_engine(EngineConfig(kind="auto"))
    assert read(engine, typeset(GREEK, dpi=150)).engine == "tesseract"
    assert read(engine, typeset(LETTER)).engine == "rapidocr"


@pytest.mark.skipif(not has("osd"), reason="Tesseract cannot detect directions here")
@pytest.mark.parametrize("clockwise", [90, pytest.param(180, marks=pytest.mark.soak), 270])
def test_tesseract_turns_a_page_upright(clockwise):
    turned = np.ascontiguousarray(np.rot90(typeset(LETTER * 3, dpi=150), -clockwise // 90))
    answer = read(load_engine(EngineConfig(kind="tesseract")), turned)
    assert words(answer.text) == words("\n".join(LETTER * 3))
    assert answer.rotation == 360 - clockwise


@pytest.mark.parametrize("config", [{"kind": "tesseract"}, {"lang": "ell"}])
def test_without_the_program_the_message_names_the_package(config, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"tesseract is not installed.*apt install tesseract-ocr"):
        load_engine(EngineConfig(**config))


def test_without_the_program_auto_keeps_a_flagged_page(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    answer = read(load_engine(EngineConfig(kind="auto")), typeset(GREEK))
    assert (answer.engine, answer.uncovered_script) == ("rapidocr", "Greek")


@pytest.mark.skipif(not has("ell") or not has("eng"), reason="Tesseract has no Greek or no detection here")
def test_a_page_outside_the_languages_that_were_named_is_flagged_by_either_engine():
    page = typeset(GREEK * 3, dpi=150)
    for kind in ("tesseract", "auto"):
        answer = read(load_engine(EngineConfig(kind=kind, lang="eng")), page)
        assert answer.uncovered_script == "Greek", kind


@needs_program
def test_a_language_that_is_not_installed_is_refused_with_its_package():
    with pytest.raises(ConfigError, match=r"no language 'xyz' installed.*apt install tesseract-ocr-xyz"):
        load_engine(EngineConfig(kind="tesseract", lang="xyz"))


def test_languages_and_scripts():
    assert [script_of(code) for code in ("ell", "rus", "deu", "chi_sim_vert")] == [
        "Greek",
        "Cyrillic",
        "Latin",
        "Han",
    ]
    assert languages_for("Latin", ("osd", "deu", "eng", "ell")) == ("eng", "deu")
    assert languages_for("Cyrillic", ("eng", "ukr", "rus")) == ("rus", "ukr")
    assert languages_for("Greek", ("eng",)) == ()
    assert [needs_tesseract(codes) for codes in ("", "eng+deu", "jpn", "eng+ell")] == [
        False,
        False,
        False,
        True,
    ]
    assert (debian_package("chi_sim"), package_for("Greek")) == ("tesseract-ocr-chi-sim", "tesseract-ocr-ell")


def test_polytonic_greek_becomes_monotonic_and_other_letters_stay():
    assert with_one_accent("ὰλλὰ ἡ νῆσος τὸ très à") == "άλλά η νήσος τό très à"


def test_pages_that_could_not_be_read_are_told_with_what_would_help():
    flags = {"script_not_covered": 4, "script_not_covered:Greek": 3, "deskewed": 9}
    greek, unknown = script_warnings(flags)
    assert greek.startswith("3 pages hold Greek text")
    assert "apt install tesseract-ocr-ell" in greek
    assert unknown.startswith("1 page holds text in an unknown script")
    assert script_warnings({"deskewed": 2}) == []


def test_naming_a_language_implies_the_engine_that_uses_it():
    assert EngineConfig.model_validate({"lang": "ell"}).kind == "auto"
    assert EngineConfig.model_validate({"lang": "ell", "kind": "tesseract"}).kind == "tesseract"
    assert EngineConfig().kind == "rapidocr"
