"""Manifests of one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from manifests.formats.files import Line, raw_lines
from manifests.identity import shown


def jsonl_lines(path: Path) -> Iterator[Line]:
    """The rows; blank lines do not count."""
    name = shown(path)
    for number, raw in enumerate(raw_lines(path), start=1):
        if raw.strip():
            yield _line(f"{name}:{number}", raw)


def _line(location: str, raw: bytes) -> Line:
    try:
        value = json.loads(raw.decode())
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return Line(location, problem="encoding: must be UTF-8")
    except UnicodeEncodeError:
        return Line(location, problem="json: must be valid Unicode, got a lone surrogate")
    except (ValueError, RecursionError) as error:
        return Line(location, problem=f"json: must be one JSON object per line: {error}")
    if not isinstance(value, dict):
        return Line(location, problem=f"json: must be an object, got {type(value).__name__}")
    return Line(location, value)
