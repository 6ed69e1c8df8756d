"""Phrases that sentences are made of, by language; they are in ``words.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Language:
    """The phrases of one language, and how it writes quotations, prices, months and dates."""

    subjects: tuple[str, ...]
    predicates: tuple[str, ...]
    endings: tuple[str, ...]
    headings: tuple[str, ...]
    items: tuple[str, ...]
    names: tuple[str, ...]
    places: tuple[str, ...]
    months: tuple[str, ...]
    quotes: tuple[str, ...]
    said: str
    prices: tuple[str, ...]
    date: str


@cache
def language(code: str) -> Language:
    """A language by its ISO 639-1 code. Raises KeyError for one there are no phrases of."""
    return _languages()[code]


@cache
def _languages() -> dict[str, Language]:
    text = Path(__file__).with_name("words.yaml").read_text("utf-8")
    return {code: _language(phrases) for code, phrases in yaml.safe_load(text).items()}


def _language(phrases: dict[str, Any]) -> Language:
    values: dict[str, Any] = {
        name: value if isinstance(value, str) else tuple(value) for name, value in phrases.items()
    }
    return Language(**values)
