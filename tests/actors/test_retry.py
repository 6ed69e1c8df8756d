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
