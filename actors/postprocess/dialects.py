"""The dialects by name, and how an answer is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.engines import finish
from actors.engines.base import NO_TEXT_FLAG, Completion
from actors.postprocess.grounded import parse_grounded
from actors.postprocess.markdown import parse_markdown
from actors.postprocess.parsed import Parsed
from actors.retry import Problem

PLAIN = "plain"
"""The answer is the text."""
DIALECTS: Mapping[str, Callable[[str], Parsed]] = {
    PLAIN: Parsed,
    "markdown": parse_markdown,
    "grounded": parse_grounded,
}
"""How each is read. A reader is pure, never raises and never loses text."""
ENDINGS: Mapping[str, Problem | None] = {
    finish.STOP: None,
    finish.LENGTH: Problem.TRUNCATED,
    finish.REPETITION: Problem.REPETITION,
    finish.ABORT: Problem.TIMEOUT,
    finish.REFUSAL: Problem.REFUSED,
    finish.ERROR: Problem.ENGINE_ERROR,
}


def parse(dialect: str, answer: str) -> Parsed:
    """An answer's text, regions, flags and what is wrong with it by its dialect (``""``: plain)."""
    return DIALECTS[dialect or PLAIN](answer)


def problem_of(completion: Completion, parsed: Parsed) -> Problem | None:
    """What is wrong with an answer: by how it ended, by there being nothing in it, by its dialect.

    An engine that looked for print and tells what it found need not find any.
    """
    problem = ENDINGS.get(completion.finish_reason, Problem.UNKNOWN_ENDING)
    explained = completion.unread or NO_TEXT_FLAG in completion.flags
    if problem is None and not (parsed.text.strip() or parsed.regions or completion.regions or explained):
        problem = Problem.EMPTY
    return problem or parsed.problem
