"""Prompts: text in which ``<image>`` stands for an image; and what belongs to one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from manifests.errors import EngineError

IMAGE = "<image>"
"""The placeholder of prompts everywhere in pagefleet; engines put the model's own in its place."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a mode asks a model, and in which dialect it answers (``actors.postprocess``; ``""``: plain).

    ``max_tokens`` cuts its answers sooner than engine.sampling.max_tokens; 0: not sooner.
    """

    prompt: str = ""
    dialect: str = ""
    max_tokens: int = 0


def split_prompt(prompt: str, images: int) -> list[str]:
    """The prompt as parts in order: texts, and ``IMAGE`` for each image.

    Images that a prompt has no placeholder for come first. Raises EngineError where it has too many.
    """
    parts = [part for part in re.split(f"({re.escape(IMAGE)})", prompt) if part]
    named = parts.count(IMAGE)
    if named > images:
        raise EngineError(
            f"the prompt has {_count(named, f'{IMAGE} placeholder')} for {_count(images, 'image')}: "
            f"write {IMAGE} at most once for each image, where it belongs"
        )
    return [IMAGE] * (images - named) + parts


def chat_content(parts: Iterable[str]) -> list[dict[str, str]]:
    """The parts of a prompt as chat templates take them, which put line breaks of their own around images."""
    content = []
    for part in parts:
        if part == IMAGE:
            content.append({"type": "image"})
        elif text := part.strip("\n"):
            content.append({"type": "text", "text": text})
    return content


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
