"""One line of a dry run: something that was looked at, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WIDTH = 10


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found of one thing. ``remedy`` are settings with which it would be no problem."""

    verdict: str
    about: str
    text: str
    remedy: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_problem(self) -> bool:
        return self.verdict == "problem"

    def __str__(self) -> str:
        further = f"\n{' ' * 2 * WIDTH}"
        return f"{self.verdict:<{WIDTH}}{self.about:<{WIDTH}}{further.join(self.text.splitlines())}"


def ok(about: str, text: str) -> CheckResult:
    return CheckResult("ok", about, text)


def warning(about: str, text: str) -> CheckResult:
    """It will run, but perhaps not as meant."""
    return CheckResult("warning", about, text)


def problem(about: str, text: str, remedy: Mapping[str, str] | None = None) -> CheckResult:
    """It will not run."""
    return CheckResult("problem", about, text, remedy or {})
