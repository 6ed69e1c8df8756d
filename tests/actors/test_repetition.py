"""Repetition: told from what a page may honestly hold; the guard against it."""

from __future__ import annotations

import pytest

from actors.engines.repetition import banned_tokens, tail_repeats, text_repeats

SENTENCE = "The quick brown fox jumps over the lazy dog. "
PROSE = "".join(f"Line {number} of a page that says something new each time. " for number in range(100))
EMPTY_ROW = "<tr>" + "<td></td>" * 6 + "</tr>\n"


@pytest.mark.parametrize(
    "looping",
    [
        PROSE + SENTENCE * 20,
        PROSE + "ha" * 400,
        PROSE + "1" * 700,
        "<td>0</td>" * 100,
        SENTENCE * 20 + SENTENCE[:17],
        ". " * 2_000,
        EMPTY_ROW * 80,
    ],
)
def test_a_tail_that_goes_on_and_on_is_a_repetition(looping):
    assert text_repeats(looping)


@pytest.mark.parametrize(
    "honest",
    [
        "",
        "short",
        PROSE,
        SENTENCE * 20 + PROSE,
        SENTENCE * 5,
        "Introduction " + "." * 150 + " 7\n",
        "Introduction " + ". " * 300 + " 7\n",
        "".join(f"Chapter {number} {'.' * 90} {number}\n" for number in range(40)),
        "<table>" + EMPTY_ROW * 30,
        "| | | | |\n" * 60,
        "".join(f"<tr><td>{number}</td><td>{number * 7}</td></tr>\n" for number in range(300)),
        "-" * 1_000,
        "yes | no |\n" * 40,
    ],
)
def test_leaders_rules_and_empty_cells_are_not(honest):
    assert not text_repeats(honest)


def test_tokens_repeat_where_their_tail_has_a_period():
    head = list(range(1_000))
    assert tail_repeats([*head, *[7, 8, 9] * 70])
    assert tail_repeats([*head, *range(100), *list(range(100)) * 6])
    assert not tail_repeats([*head, *[7, 8, 9] * 60])
    assert not tail_repeats([*head, *list(range(100)) * 5])
    assert not tail_repeats(head)


def test_the_guard_bans_what_would_end_a_run_a_second_time():
    assert banned_tokens([1, 2, 3, 9, 1, 2], 3, 90, ()) == {3}
    assert banned_tokens([1, 2, 3, 1, 2, 4, 1, 2], 3, 90, ()) == {3, 4}
    assert banned_tokens([5, 6, 5], 1, 90, ()) == {5, 6}


def test_the_guard_forgets_what_is_out_of_its_window_and_lets_table_tags_pass():
    assert banned_tokens([1, 2, 3, 9, 9, 9, 1, 2], 3, 5, ()) == set()
    assert banned_tokens([1, 2, 3, 9, 1, 2], 3, 90, {3}) == set()


@pytest.mark.parametrize("tokens", [[], [1], [1, 2]])
def test_the_guard_says_nothing_before_there_is_a_run(tokens):
    assert banned_tokens(tokens, 3, 90, ()) == set()
