"""The retry ladder: from what went wrong to what is tried next. Pure; the page reader obeys it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Problem(StrEnum):
    """What can be wrong with an answer."""

    TRUNCATED = "truncated"
    REPETITION = "repetition"
    TIMEOUT = "timeout"
    ENGINE_ERROR = "engine error"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a page. Attempts count from 1."""

    number: int = 1
    temperature: float = 0.0


class RetryPolicy(BaseModel):
    """How often and how a page is tried again within one reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperatures: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(0.0, 0.2, 0.5), min_length=1, description="Sampling temperature of each attempt in turn."
    )
    engine_error_attempts: int = Field(default=2, ge=1, description="Attempts at a page the engine refuses.")

    def next(self, attempt: Attempt, problem: Problem) -> Attempt | None:
        """The attempt after this one, or None when the ladder ends."""
        if problem in (Problem.ENGINE_ERROR, Problem.TIMEOUT):
            if attempt.number >= self.engine_error_attempts:
                return None
            return Attempt(attempt.number + 1, attempt.temperature)
        if attempt.number >= len(self.temperatures):
            return None
        return Attempt(attempt.number + 1, self.temperatures[attempt.number])
