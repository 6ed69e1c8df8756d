"""Reasons of failures made alike, so that those of one kind count as one."""

from __future__ import annotations

import re

WIDTH = 200
NO_REASON = "no reason given"
_VARYING = (
    (re.compile(r"\w+://[^\s,;'\")]*[^\s,;:.'\")]"), "…"),  # addresses
    (re.compile(r"(?<![\w.…/])~?/[^\s,;:'\")]+"), "…"),  # absolute paths
    (re.compile(r"[^\s/'\"]+\.(?:pdf|png|jpe?g|tiff?|webp|bmp|gif|parquet)\b(?:#\d+)?", re.IGNORECASE), "…"),
    (re.compile(r"\'[^\']*\'|\"[^\"]*\""), "'…'"),  # what is quoted
    (
        re.compile(r"\b(?:0x)?(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE),
        "…",
    ),  # hashes, addresses in memory
    (
        re.compile(r"(?<!\w)(?<!answered )(?<!status )(?<!HTTP )(?<!\()\d[\d.,:]*(?<=\d)"),
        "N",
    ),  # no HTTP status
)


def alike(reason: str, *names: str) -> str:
    """The first line of a reason without numbers, paths and names; ``names`` are those of its document."""
    line = next(iter(reason.strip().splitlines()), "") or NO_REASON
    for name in sorted(filter(None, names), key=len, reverse=True):
        line = line.replace(name, "…")
    for pattern, instead in _VARYING:
        line = pattern.sub(instead, line)
    line = " ".join(line.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
