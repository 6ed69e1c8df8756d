"""The retry ladder, as a table."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from actors.retry import Attempt, Problem, RetryPolicy

POLICY = RetryPolicy(temperatures=(0.0, 0.2, 0.5), engine_error_attempts=2)


@pytest.mark.parametrize("problem", [Problem.TRUNCATED, Problem.REPETITION])
@pytest.mark.parametrize(
    ("attempt", "then"),
    [
        (Attempt(1, 0.0), Attempt(2, 0.2)),
        (Attempt(2, 0.2), Attempt(3, 0.5)),
        (Attempt(3, 0.5), None),
        (Attempt(9, 0.0), None),
    ],
)
def test_a_bad_answer_is_asked_for_again_at_the_next_temperature(problem, attempt, then):
    assert POLICY.next(attempt, problem) == then


@pytest.mark.parametrize("problem", [Problem.ENGINE_ERROR, Problem.TIMEOUT])
@pytest.mark.parametrize(
    ("attempt", "then"),
    [(Attempt(1, 0.0), Attempt(2, 0.0)), (Attempt(2, 0.2), None), (Attempt(3, 0.5), None)],
)
def test_a_refused_page_is_tried_again_as_it_was_and_not_for_long(problem, attempt, then):
    assert POLICY.next(attempt, problem) == then


@pytest.mark.parametrize("problem", [Problem.EMPTY, Problem.UNPARSEABLE, Problem.MISSING_LABEL])
def test_modes_are_climbed_beside_the_temperatures_the_last_ones_stay(problem):
    policy = RetryPolicy(temperatures=(0.1, 0.2), modes=("", "a", "b"))
    second, third = Attempt(2, 0.2, "a"), Attempt(3, 0.2, "b")
    assert policy.first == Attempt(1, 0.1)
    assert policy.next(policy.first, problem) == second
    assert policy.next(second, problem) == third
    assert policy.next(third, problem) is None
    assert policy.next(second, Problem.REFUSED) is None
    assert RetryPolicy(modes=("a",)).first == Attempt(1, 0.0, "a")


def test_a_refused_page_is_tried_again_as_it_was_one_that_ends_oddly_is_not():
    crop = Attempt(1, 0.2, "a", "large", (1, 2, 3, 4))
    assert POLICY.next(crop, Problem.REFUSED) == Attempt(2, 0.2, "a", "large", (1, 2, 3, 4))
    assert POLICY.next(Attempt(), Problem.UNKNOWN_ENDING) is None


def test_a_policy_of_one_attempt_never_tries_again():
    once = RetryPolicy(temperatures=(0.0,), engine_error_attempts=1)
    assert [once.next(Attempt(), problem) for problem in Problem] == [None] * len(Problem)


@pytest.mark.parametrize("wrong", [{"temperatures": ()}, {"engine_error_attempts": 0}, {"patience": 3}])
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        RetryPolicy(**wrong)


def test_every_ladder_ends():
    for problem in Problem:
        attempt, count = Attempt(), 0
        while (attempt := POLICY.next(attempt, problem)) is not None:
            count += 1
            assert count < 10
