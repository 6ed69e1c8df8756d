"""A text layer's words and what is told from them, without any PDF."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.render.layer_trust import is_garbled
from actors.render.layer_words import (
    SLANTED,
    Word,
    clean,
    compose_words,
    once,
    rules_among,
    text_lines,
    turn_of,
)
from tests.actors.layer_samples import PROSE, caesar


def row(*places: float, y: float = 10.0, width: float = 20.0) -> list[Word]:
    """Words of font size 10 that begin at these places."""
    return [Word(f"w{x:g}", (x, y, x + width, y + 10), 10.0) for x in places]


def texts(words: list[Word]) -> list[str]:
    return [line.text for line in text_lines(words)]


@pytest.mark.parametrize(
    ("direction", "turn"),
    [((1, 0), 0), ((0, -1), 90), ((-1, 0), 180), ((0, 1), 270), ((0.99, 0.1), 0), ((0.7, -0.7), SLANTED)],
)
def test_a_turn_brings_a_direction_upright(direction, turn):
    assert turn_of(direction) == turn


def test_lines_end_where_the_gap_is_wider_than_a_space():
    assert texts(row(0, 23, 46)) == ["w0 w23 w46"]
    assert texts(row(0, 23, 60, 83)) == ["w0 w23", "w60 w83"]
    assert texts(row(0, 32, 64, 96)) == ["w0 w32 w64 w96"]  # justified: all gaps wide, and alike
    assert texts(row(0, 60, 120)) == ["w0", "w60", "w120"]  # cells
    assert texts([*row(0, 23), *row(0, 23, y=24)]) == ["w0 w23", "w0 w23"]
    assert texts(row(46, 23, 0)) == ["w46 w23 w0"]  # from right to left, in the order it was written


def test_what_is_drawn_twice_is_one_word_unless_only_one_is_seen():
    (word,) = row(0)
    near = replace(word, box=(0.6, 10.4, 20.6, 20.4))
    assert once([word, near]) == [word]
    assert len(once([word, replace(near, visible=False)])) == 2
    assert len(once([word, *row(0, y=22)])) == 2


def test_letters_are_composed_and_ligatures_taken_apart():
    assert clean("e\u0301tude") == "\u00e9tude"
    assert clean("\ufb01\ufb04") == "fiffl"
    assert clean("co\u00adop\u200b\u200f") == "coop"


def test_thin_boxes_are_rules_and_too_many_are_none():
    rules = rules_among([(0, 10, 100, 11), (50, 0, 51, 90), (0, 0, 5, 1), (0, 0, 50, 50)])
    assert rules.horizontal == ((10.5, 0, 100),) and rules.vertical == ((50.5, 0, 90),)
    assert rules_among([(0, 10, 100, 11)] * 3_000).horizontal == ()


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_regions_of_turned_words_lie_where_the_words_are(turn):
    page = compose_words([Word("alone", (20, 30, 60, 80), 10.0, turn)], (), (200, 400))
    assert page.text == "alone"
    (region,) = page.regions
    expected = (20 / 200, 30 / 400, 60 / 200, 80 / 400)
    assert region.box == tuple(pytest.approx(999 * value, abs=1) for value in expected)


LANGUAGES = (
    "All human beings are born free and equal in dignity and rights. They are endowed with reason",
    "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni",
    "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι",
    "人人生而自由,在尊严和权利上一律平等",
    "12.50 13.75 1,204 17 % 2026-01-31 A4",
)


def as_words(text: str) -> list[Word]:
    return [Word(part, (0, 0, 1, 1), 10.0) for part in text.split()]


@pytest.mark.parametrize("text", LANGUAGES)
def test_languages_are_not_garbled(text):
    assert not is_garbled(as_words(text))


@pytest.mark.parametrize(
    "text",
    [
        *(caesar(" ".join(PROSE), shift) for shift in range(1, 26)),
        "Îëé üãèñùðïé ãåííéïýíôáé",
        "plain text \ufffd and some",
        "\ue041\ue042 \ue043",
        "con\u0003trol",
    ],
)
def test_ciphers_and_characters_without_meaning_are(text):
    assert is_garbled(as_words(text))
