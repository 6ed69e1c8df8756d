"""Answers that repeat themselves: told by their tail, or kept from it by an n-gram guard. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

MIN_TOKENS = 200
MIN_CHARACTERS = 600
"""A tail shorter than this is a list, a form or a poem's refrain."""
MIN_TIMES = 6
MAX_PATTERN = 400
"""Tokens, or characters, of the longest pattern looked for: a paragraph."""
FILLER_FACTOR = 6
"""Dot leaders, rules and empty table cells fill a page honestly, but not six times as much."""

_FILLER = re.compile(r"(?:<[^<>]*>|&nbsp;|\\[a-z]+|[\W_])+")


def tail_repeats(tokens: Sequence[int], min_span: int = MIN_TOKENS) -> bool:
    """Whether the tail is one run of tokens over and over: ``MIN_TIMES`` and ``min_span`` tokens at least.

    Cheap enough for every few tokens, but blind to what they say: see ``text_repeats``.
    """
    return any(_period_spans(tokens, size, max(min_span, MIN_TIMES * size)) for size in _sizes(tokens))


def text_repeats(text: str) -> bool:
    """Whether the tail of a text is one piece over and over, far beyond what a page would hold.

    Pieces without a letter or a digit (dot leaders, rules, empty cells) must go on for much longer.
    """
    for size in _sizes(text):
        span = max(MIN_CHARACTERS, MIN_TIMES * size)
        if _period_spans(text, size, span):
            filler = _FILLER.fullmatch(_whole(text, size)) is not None
            if not filler or _period_spans(text, size, span * FILLER_FACTOR):
                return True
    return False


def banned_tokens(tokens: Sequence[int], size: int, window: int, allowed: Collection[int]) -> set[int]:
    """Tokens that would complete a run of ``size`` tokens seen within the last ``window``, once more.

    The guard that DeepSeek-OCR's own scripts use; ``allowed`` tokens (table tags) are never banned.
    """
    recent = list(tokens[-window:])
    start = recent[len(recent) - size + 1 :]
    runs = (recent[at : at + size] for at in range(len(recent) - size + 1))
    return {run[-1] for run in runs if run[:-1] == start}.difference(allowed)


def _sizes(sequence: Sequence[object]) -> range:
    return range(1, min(MAX_PATTERN, len(sequence) // MIN_TIMES) + 1)


def _period_spans(sequence: Sequence[object], size: int, span: int) -> bool:
    """Whether the last ``span`` elements repeat with this period."""
    end = len(sequence)
    if end < span or sequence[-1] != sequence[-1 - size]:  # mostly decided here, without a copy
        return False
    return sequence[end - span : end - size] == sequence[end - span + size :]


def _whole(text: str, size: int) -> str:
    """A pattern of this size, turned so that it starts with a tag where one is cut by its ends."""
    pattern = text[-size:]
    at = pattern.find("<")
    return pattern[at:] + pattern[:at] if at > 0 else pattern
