"""Why answers end, as a table: whatever an engine calls it, only a whole answer is ok."""

from __future__ import annotations

import pytest

from actors.engines.base import Completion
from actors.engines.finish import finish_reason
from actors.postprocess.dialects import problem_of
from actors.postprocess.parsed import Parsed
from actors.retry import Problem


@pytest.mark.parametrize(
    ("word", "ours", "problem"),
    [
        ("stop", "stop", None),
        ("STOP", "stop", None),
        ("eos_token", "stop", None),
        ("end_turn", "stop", None),
        (None, "stop", None),
        ("", "stop", None),
        ("length", "length", Problem.TRUNCATED),
        ("max_tokens", "length", Problem.TRUNCATED),
        ("MAX_TOKENS", "length", Problem.TRUNCATED),
        ("model_length", "length", Problem.TRUNCATED),
        ("FinishReason.MAX_TOKENS", "length", Problem.TRUNCATED),
        ("FINISH_REASON_MAX_TOKENS", "length", Problem.TRUNCATED),
        ("model-context-window exceeded", "length", Problem.TRUNCATED),
        ("repetition", "repetition", Problem.REPETITION),
        ("abort", "abort", Problem.TIMEOUT),
        ("SAFETY", "refusal", Problem.REFUSED),
        ("content_filter", "refusal", Problem.REFUSED),
        ("PROHIBITED_CONTENT", "refusal", Problem.REFUSED),
        ("refusal", "refusal", Problem.REFUSED),
        ("error", "error", Problem.ENGINE_ERROR),
        ("insufficient_system_resource", "error", Problem.ENGINE_ERROR),
        ("tool_calls", "tool_calls", Problem.UNKNOWN_ENDING),
        ("OTHER", "other", Problem.UNKNOWN_ENDING),
    ],
)
def test_a_finish_reason_by_any_name(word: object, ours: str, problem: Problem | None) -> None:
    assert finish_reason(word) == ours
    assert problem_of(Completion("text", ours), Parsed("text")) is problem


@pytest.mark.parametrize("text", ["", " \n", "\u00a0"])
def test_an_answer_without_text_is_a_problem_unless_it_has_regions(text: str) -> None:
    assert problem_of(Completion(text), Parsed(text)) is Problem.EMPTY
    assert problem_of(Completion(text, "length"), Parsed(text)) is Problem.TRUNCATED
