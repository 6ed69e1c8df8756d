"""The sample corpus and the code that draws it."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pymupdf
import pytest
from PIL import Image, ImageOps

from benchmarks.samples import layouts, make_samples, paper
from benchmarks.samples.blocks import Block, Kind, KnownDocument, KnownPage
from benchmarks.samples.classes import CLASSES, Order, draw
from benchmarks.samples.layouts import A5, Press
from benchmarks.samples.writer import Writer

SAMPLES = make_samples.FOLDER
CORPUS_LIMIT = 3_000_000


def press(seed: int, language: str = "en", size: tuple[float, float] = layouts.A4) -> Press:
    choose = random.Random(seed)
    return Press(choose, Writer(choose, language), size)


def printed(page: pymupdf.Page) -> str:
    """Every character on a typeset page, white space left out, in the order it was set."""
    return "".join(page.get_text("text", sort=False).split())


def known_characters(page: KnownPage) -> str:
    return "".join(page.text.split())


@pytest.mark.parametrize("page_class", ["table", "show_through", "photo"])
def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(page_class: str) -> None:
    order = Order(page_class, "7", A5, 72)
    assert draw(order) == draw(order)
    assert draw(order).data != draw(Order(page_class, "8", A5, 72)).data


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("layout", [layouts.letter, layouts.two_columns, layouts.newspaper])
def test_all_that_is_printed_is_known_and_in_order(layout: object, seed: int) -> None:
    document = pymupdf.open()
    known = layout(document, press(seed))  # type: ignore[operator]
    assert known_characters(known)
    assert sorted(printed(document[0]).replace("-", "")) == sorted(known_characters(known).replace("-", ""))
    assert printed(document[0]).replace("-", "") == known_characters(known).replace("-", "")


@pytest.mark.parametrize("ruled", [True, False])
def test_a_table_is_known_cell_by_cell(ruled: bool) -> None:
    document = pymupdf.open()
    known = layouts.table(document, press(3), ruled=ruled)
    (rows,) = known.tables
    assert len({len(row) for row in rows}) == 1
    assert printed(document[0]) == known_characters(known)


def test_words_divided_in_narrow_columns_are_whole_in_the_known_text() -> None:
    document = pymupdf.open()
    known = layouts.newspaper(document, press(1))
    divided = [line for line in document[0].get_text().split("\n") if line.rstrip().endswith("-")]
    assert divided
    assert "\N{ZERO WIDTH SPACE}" not in known.text
    assert sum(word.endswith("-") for word in known.text.split()) <= 2  # where an article was cut


def test_every_language_has_text_in_its_own_letters() -> None:
    def letters(language: str) -> set[str]:
        writer = Writer(random.Random(1), language)
        return set(" ".join(writer.sentence() for _ in range(40)))

    assert set("üöäß") <= letters("de")
    assert set("éàçè") <= letters("fr")
    assert set("ñó") <= letters("es")
    assert set("άέήίόύώς") <= letters("el")
    assert set("жщюя") <= letters("ru")


def test_a_skew_turns_anticlockwise_and_stays_within_five_degrees() -> None:
    page = Image.new("L", (200, 200), 255)
    page.paste(0, (20, 99, 180, 101))
    turned = np.asarray(paper.scan(page, paper.Wear(skew_deg=5, grain=0), np.random.default_rng(1)))
    assert turned[:, 30].argmin() > turned[:, 170].argmin()


def test_every_class_can_be_drawn_and_empty_ones_have_no_text() -> None:
    for page_class in CLASSES:
        drawn = draw(Order(page_class, "1", A5, 72))
        assert drawn.known.page_class == page_class
        assert bool(drawn.known.pages[0].text) is (page_class not in ("blank", "show_through"))


def test_known_documents_survive_json() -> None:
    blocks = (Block(Kind.HEADING, "Ψ"), Block(Kind.TABLE, rows=(("a", "b"), ("1", "2"))))
    known = KnownDocument("table", "el", (KnownPage(blocks), KnownPage()))
    assert KnownDocument.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_the_script_makes_the_committed_corpus_again() -> None:
    known = {}
    for name, drawn in make_samples.corpus():
        assert (SAMPLES / "documents" / name).read_bytes() == drawn.data, name
        known[f"documents/{name}"] = drawn.known.to_json()
    committed = json.loads((SAMPLES / "known_text.json").read_text("utf-8"))
    assert committed == json.loads(json.dumps(known))
    files = [path for path in (SAMPLES / "documents").rglob("*") if path.is_file()]
    assert len(files) == len(known)
    assert sum(path.stat().st_size for path in files) < CORPUS_LIMIT


def test_the_corpus_holds_a_page_of_every_class_that_people_meet() -> None:
    known = json.loads((SAMPLES / "known_text.json").read_text("utf-8"))
    assert {document["class"] for document in known.values()} == set(CLASSES) - {"cyrillic"}
    assert sum(len(document["pages"]) for document in known.values()) == 16


def test_the_turned_report_lies_on_its_side_and_the_photograph_only_as_stored() -> None:
    with pymupdf.open(SAMPLES / "documents/harbour/report on its side.pdf") as document:
        assert document[0].rect.width > document[0].rect.height
    stored = Image.open(io.BytesIO((SAMPLES / "documents/cards/box label.jpg").read_bytes()))
    assert stored.width > stored.height
    upright = ImageOps.exif_transpose(stored)
    assert upright.width < upright.height
