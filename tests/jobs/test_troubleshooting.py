"""The pages that explain messages quote us as we speak."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "aws", "cluster", "jobs", "manifests", "results")
PAGES = ("docs/troubleshooting.md", "docs/operations.md")
OURS = "| pagefleet says |"
HOLE = "\0"
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
"""In a template that ``str.format`` fills."""


def quoted(page: str) -> Iterator[str]:
    """Messages in backticks in the first column of the tables that quote pagefleet."""
    ours = False
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            ours = False
        elif line.startswith(OURS):
            ours = True
        elif ours and not line.startswith("|---"):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


@lru_cache(maxsize=1)
def spoken() -> tuple[str, ...]:
    """Every text in our source as it is put together, with a hole for what differs."""
    texts = list[str]()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            constants = {
                target.id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name) and isinstance(node.value.value, str)
            }
            texts += [
                PLACEHOLDER.sub(HOLE, text) for node in ast.walk(tree) if (text := _text(node, constants))
            ]
    return tuple(texts)


def _text(node: ast.AST, constants: dict[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.FormattedValue):
        return constants.get(node.value.id, HOLE) if isinstance(node.value, ast.Name) else HOLE
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, constants) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, constants) + _text(node.right, constants)
    return ""


def is_spoken(message: str) -> bool:
    """Whether some text of ours holds the parts of a message in order; ``…`` is anything."""
    parts = [part.strip() for part in message.split("…") if part.strip(" :;,()'")]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    return any(pattern.search(text) for text in spoken())


@pytest.mark.parametrize("page", PAGES)
def test_every_message_of_ours_that_is_quoted_is_one(page: str) -> None:
    messages = list(quoted(page))
    assert len(messages) > 20
    assert [message for message in messages if not is_spoken(message)] == []
