"""The retry ladder: from what went wrong to what is tried next. Pure; the page reader obeys it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in 0-999 of a page."""


class Problem(StrEnum):
    """What can be wrong with an answer."""

    TRUNCATED = "truncated"
    REPETITION = "repetition"
    UNPARSEABLE = "unparseable"
    """Its dialect's marks are there, and nothing can be made of them."""
    MISSING_LABEL = "missing label"
    """Its dialect's marks are not there at all."""
    EMPTY = "empty answer"
    """There is ink on the page and nothing in the answer."""
    TIMEOUT = "timeout"
    ENGINE_ERROR = "engine error"
    REFUSED = "refused"
    """By the model itself, or by a filter before or behind it."""
    UNKNOWN_ENDING = "unknown finish reason"


AS_IT_WAS = (Problem.ENGINE_ERROR, Problem.TIMEOUT, Problem.REFUSED)
"""No other way of asking would change these, and no more than a few attempts."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a page; attempts count from 1.

    ``mode`` and ``size`` are the preset's, ``""`` the job's own; ``crop`` is the part of the page that is
    shown, None all of it.
    """

    number: int = 1
    temperature: float = 0.0
    mode: str = ""
    size: str = ""
    crop: Box | None = None


class RetryPolicy(BaseModel):
    """How often and how a page is tried again within one reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperatures: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(0.0, 0.2, 0.5), min_length=1, description="Sampling temperature of each attempt in turn."
    )
    modes: tuple[str, ...] = Field(
        default=(),
        description="Mode of each attempt in turn, by the preset, the last for all that follow; empty: "
        "engine.mode.",
    )
    engine_error_attempts: int = Field(default=2, ge=1, description="Attempts at a page the engine refuses.")

    @property
    def first(self) -> Attempt:
        """How a page is tried first."""
        return self._rung(1)

    def next(self, attempt: Attempt, problem: Problem) -> Attempt | None:
        """The attempt after this one, or None when the ladder ends."""
        if problem is Problem.UNKNOWN_ENDING:
            return None
        if problem in AS_IT_WAS:
            if attempt.number >= self.engine_error_attempts:
                return None
            return replace(attempt, number=attempt.number + 1)
        if attempt.number >= max(len(self.temperatures), len(self.modes)):
            return None
        return self._rung(attempt.number + 1)

    def _rung(self, number: int) -> Attempt:
        temperature = self.temperatures[min(number, len(self.temperatures)) - 1]
        mode = self.modes[min(number, len(self.modes)) - 1] if self.modes else ""
        return Attempt(number, temperature, mode)
