"""Scores of pages: error rates, order and tables on cases made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.distance import edit_distance, find_ends
from benchmarks.quality.measure import ClassScore
from benchmarks.quality.metrics import cell_counts, order_pairs, same_cell, score_page
from benchmarks.quality.readers import BARE, PageText
from benchmarks.quality.tables import judged
from benchmarks.quality.text import known_text, plain_text, tables
from benchmarks.samples.blocks import Block, Kind, KnownPage

LEFT = (
    "the captain of the ferry kept a careful record",
    "of every visitor who came across the river before",
    "the bridge was opened to carts and heavy traffic",
)
RIGHT = (
    "nobody in the village had expected such a crowd",
    "when the museum opened its doors on Monday morning",
    "and sold tickets at half the usual price to children",
)
TABLE = (("Item", "Price"), ("Rope", "12.50"), ("Tar", "3.75"), ("Slate", "101.00"))


def page(*texts: str) -> KnownPage:
    return KnownPage(tuple(Block(Kind.PARAGRAPH, text) for text in texts))


def naive_distance(a: str, b: str) -> int:
    rows = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, rows = rows, [i]
        for j, y in enumerate(b, 1):
            rows.append(min(above[j] + 1, rows[-1] + 1, above[j - 1] + (x != y)))
    return rows[-1]


@given(st.text("abc ", max_size=12), st.text("abc ", max_size=12))
def test_the_edit_distance_is_levenshteins(a: str, b: str) -> None:
    assert edit_distance(a, b) == naive_distance(a, b)


def test_words_are_compared_as_well_as_characters() -> None:
    assert edit_distance(["the", "old", "mill"], ["the", "oId", "mill", "wheel"]) == 2


def test_a_piece_is_found_in_spite_of_misread_characters_and_at_every_place() -> None:
    text = "a lamp and a 1amp"
    assert find_ends("lamp", text) == (0, [6])
    assert find_ends("camp", text) == (1, [6, 17])


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("# The Mill\n\nIt *was* **old**.", "The Mill It was old."),
        ("- rope\n- tar", "rope tar"),
        ("• rope\n• tar", "rope • tar"),
        ("2. rope\n3. tar", "2. rope 3. tar"),
        ("a care-\nful answer", "a careful answer"),
        ("a care-\n\nful answer", "a careful answer"),
        ("from Saint-\nÉtienne", "from Saint-Étienne"),
        ("“so” – he said …", '"so" - he said ...'),
        (r"5 \* 3", "5 * 3"),
        ("a pause -- and on", "a pause - and on"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b 1 2"),
        ("", ""),
    ],
)
def test_markdown_is_told_from_text_by_a_parser(markdown: str, plain: str) -> None:
    assert plain_text(markdown) == plain


def test_known_text_is_in_the_same_form_as_what_is_read() -> None:
    blocks = (
        Block(Kind.HEADING, "Old “Light”"),
        Block(Kind.LIST_ITEM, "• two lamps"),
        Block(Kind.TABLE, rows=TABLE[:2]),
    )
    markdown = '# Old "Light"\n\n- two lamps\n\n| Item | Price |\n|:--|--:|\n| Rope | 12.50 |\n'
    assert (
        known_text(KnownPage(blocks)) == plain_text(markdown) == 'Old "Light" two lamps Item Price Rope 12.50'
    )


def test_a_perfect_reading_scores_without_an_error() -> None:
    score = score_page(page(*LEFT, *RIGHT), "\n\n".join(LEFT + RIGHT))
    assert (score.character_edits, score.word_edits) == (0, 0)
    assert score.pairs_in_order == score.pairs > 5


def test_columns_that_change_places_break_the_order_once() -> None:
    right, pairs = order_pairs(LEFT + RIGHT, " ".join(RIGHT + LEFT))
    assert right == pairs - 1


def test_columns_read_straight_across_lose_their_order() -> None:
    across = " ".join(f"{left} {right}" for left, right in zip(LEFT, RIGHT, strict=True))
    straight = order_pairs([" ".join(LEFT), " ".join(RIGHT)], across)
    assert straight[0] / straight[1] < 0.7


def test_misread_characters_do_not_touch_the_order() -> None:
    misread = " ".join(LEFT + RIGHT).replace("l", "1").replace("th", "ib")
    right, pairs = order_pairs(LEFT + RIGHT, misread)
    assert right == pairs > 5


def test_a_text_that_was_not_read_at_all_says_nothing_of_the_order() -> None:
    assert order_pairs(LEFT, "ζζζζ ξξξξ") == (0, 0)


def test_characters_read_from_an_empty_page_are_counted() -> None:
    score = ClassScore("rapidocr", "blank")
    score.add(score_page(KnownPage(), "ghost"), PageText("ghost", "ok", (), 0.1))
    assert score.read_from_nothing == 5
    assert score.character_error_rate is None
    assert judged(score, None) == ("0 ch", False)


def table_of(*rows: tuple[str, ...]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def test_every_cell_of_a_right_table_is_right() -> None:
    assert cell_counts([TABLE], tables(f"before\n\n{table_of(*TABLE)}\n\nafter")) == (8, 8, 8)


def test_a_lost_cell_costs_that_cell_and_a_lost_row_those_behind_it() -> None:
    lost_cell = [TABLE[0], ("Rope", ""), *TABLE[2:]]
    assert cell_counts([TABLE], tables(table_of(*lost_cell))) == (8, 7, 7)
    lost_row = [TABLE[0], *TABLE[2:]]
    assert cell_counts([TABLE], tables(table_of(*lost_row))) == (8, 6, 2)


def test_a_table_read_as_plain_text_has_no_cells() -> None:
    assert cell_counts([TABLE], tables("Item Price\nRope 12.50")) == (8, 0, 0)


def test_a_cell_may_have_a_misread_character_if_it_is_long_enough() -> None:
    assert same_cell("Window glass", "Window g1ass")
    assert not same_cell("12", "17")


def scored(reader: str, page_class: str, markdown: str, *flags: str) -> ClassScore:
    score = ClassScore(reader, page_class)
    score.add(score_page(page(*LEFT), markdown), PageText(markdown, "ok", flags, 1.0))
    return score


def test_a_class_is_held_against_its_target_and_against_the_baseline() -> None:
    perfect, worse = "\n".join(LEFT), "\n".join(LEFT).replace("the", "tne")
    assert judged(scored("rapidocr", "clean_scan", perfect), None) == ("<= 1%", True)
    assert judged(scored("rapidocr", "clean_scan", worse), None) == ("<= 1%", False)
    baseline = scored(BARE, "photo", perfect)
    assert judged(scored("rapidocr", "photo", worse), baseline) == ("<= tesseract", False)
    assert judged(baseline, baseline) == ("", None)


def test_a_script_that_is_not_covered_may_be_flagged_instead_of_read() -> None:
    assert judged(scored("rapidocr", "greek", "Xavia", "script_not_covered"), None)[1]
    assert judged(scored("rapidocr", "greek", "Xavia"), None) == ("<= 3%", False)
