"""What postprocessing makes of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from actors.retry import Problem
from results.rows import Region


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer's text without the model's own marks, and what those marks said.

    ``problem`` is what is wrong with an answer by the rules of its dialect; the text is kept all the same.
    """

    text: str
    regions: tuple[Region, ...] = ()
    flags: tuple[str, ...] = ()
    problem: Problem | None = None
