"""What is nobody's business, by how it is called: never stored, never shown, no part of a result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MASK = "…"
SHORTEST = 6
"""Shorter values are words like EMPTY, which texts hold by themselves: they are not searched for in them."""

_KINDS = "token|key|secret|password|passwd|passphrase|authorization|credential|cookie|signature"
_NAME = re.compile(rf"(?:^|[_\-.\s]|(?<=[a-z])(?=[A-Z]))(?i:(?:api|access)?(?:{_KINDS})s?)$")
_MODEL_TOKEN = re.compile(
    r"(?:^|[_\-.])(?:additional|answer|audio|bad|begin|bos|cls|end|eos|first|fake|image|img|last|mask|max|min|"
    r"model|new|num|pad|page|prompt|sep|special|start|stop|unk|video|vision|word)[_\-.](?:\w+[_\-.])*tokens?$"
    r"|^tokens$|_tokens$|(?:^|[_\-.])sort[_\-.]keys?$",
    re.IGNORECASE,
)
"""Tokens that a model reads, which shape its answers, and not those that open doors."""
_ASSIGNED = re.compile(
    rf"""(?P<name>[\w\-.]*(?:{_KINDS})s?)(?P<is>["']?\s*[:=]\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|(?:(?:Bearer|Basic)\s+)?[^\s,;&}\])"']+)""",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<userinfo>[^/\s?#@'\"]+)@")
_LOOKS = re.compile(
    r"\b(?:(?:Bearer|Basic)\s+[\w\-.=+/~]{6,}|hf_[A-Za-z0-9]{16,}|sk-[\w\-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|AKIA[0-9A-Z]{16})"
)


def is_secret(name: str) -> bool:
    """Whether what goes by this name is a secret: ``hf_token``, ``X-Api-Key``, ``Authorization``."""
    return bool(_NAME.search(name)) and not _MODEL_TOKEN.search(name)


def masked(value: Any) -> Any:
    """Settings with a mask in place of every secret: by name, in addresses, and by how it looks."""
    if isinstance(value, Mapping):
        return {name: MASK if _hides(name, its) else masked(its) for name, its in value.items()}
    if isinstance(value, str):
        return _LOOKS.sub(MASK, _USERINFO.sub(rf"\g<scheme>{MASK}@", value))
    return [masked(each) for each in value] if isinstance(value, Sequence) else value


def without_secrets(value: Any) -> Any:
    """Settings without the secrets among them, whether plain or masked."""
    if isinstance(value, Mapping):
        return {name: without_secrets(its) for name, its in value.items() if not _hides(name, its)}
    if isinstance(value, str):
        return _LOOKS.sub(MASK, _USERINFO.sub(r"\g<scheme>", value))
    return [without_secrets(each) for each in value] if isinstance(value, Sequence) else value


def masked_words(text: str) -> str:
    """What somebody typed, like ``engine.engine_args={hf_token: …}``, with its secrets masked."""

    def mask(found: re.Match[str]) -> str:
        return f"{found['name']}{found['is']}{MASK}" if is_secret(found["name"]) else found[0]

    return str(masked(_ASSIGNED.sub(mask, text)))


def secrets_in(value: Any, hidden: bool = False) -> Iterator[str]:
    """Every secret that is long enough to be known again in a text."""
    if isinstance(value, Mapping):
        for name, its in value.items():
            yield from secrets_in(its, hidden or _hides(name, its))
    elif isinstance(value, str):
        found = [value] if hidden else [each["userinfo"] for each in _USERINFO.finditer(value)]
        yield from (secret for secret in found if len(secret) >= SHORTEST and secret != MASK)
    elif isinstance(value, Sequence):
        for each in value:
            yield from secrets_in(each, hidden)


def _hides(name: object, value: Any) -> bool:
    return is_secret(str(name)) and value not in (None, "", True, False)
