"""Manifests as CSV, and as TSV: the same with tabs.

White space around header names, and around cells of the columns that we know, does not count (but in
``prompt``); and a CSV has no numbers, so that an ``id`` like ``1001.0`` is 1001 as a float writes it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifests.errors import ManifestError
from manifests.formats.files import MAX_LINE_BYTES, Line, raw_lines
from manifests.identity import shown

STRIPPED = frozenset({"uri", "image", "images", "id", "qid", "pages", "sha256", "size", "version", "etag"})
_FLOAT_ID = re.compile(r"(-?\d+)\.0+")
_PARTED_BY = {";": "semicolons", "\t": "tabs"}


def csv_lines(path: Path, delimiter: str = ",") -> Iterator[Line]:
    """The rows; lines without any cell do not count. Raises ManifestError where reading cannot go on."""
    csv.field_size_limit(MAX_LINE_BYTES)  # of the process; 131,072 characters unless told
    reader = csv.reader(_decoded(path), strict=True, delimiter=delimiter)
    name, header, first = shown(path), list[str](), 1
    try:
        for cells in reader:
            location, first = f"{name}:{first}", reader.line_num + 1
            if not any(map(str.strip, cells)):
                continue
            if not header:
                header = _header(location, cells, delimiter)
            elif any(cells[len(header) :]):
                problem = f"row: must have at most {len(header)} cells like the header, got {len(cells)}"
                yield Line(location, problem=problem)
            else:
                yield Line(location, dict(zip(header, map(csv_value, header, cells), strict=False)))
    except csv.Error as error:
        raise ManifestError(f"{name}:{first}: row: {_explained(str(error))}") from error


def csv_value(column: str, cell: str) -> Any:
    """What a cell of a column stands for."""
    if column not in STRIPPED:
        return cell
    text = cell.strip()
    if column in ("id", "qid") and (number := _FLOAT_ID.fullmatch(text)):
        return number[1]
    if column in ("image", "images") and "|" in text and not text.startswith("["):
        return [part.strip() for part in text.split("|") if part.strip()]
    return text


def _decoded(path: Path) -> Iterator[str]:
    for number, raw in enumerate(raw_lines(path), start=1):
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            raise ManifestError(f"{shown(path)}:{number}: encoding: must be UTF-8") from None


def _header(location: str, cells: list[str], delimiter: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    while not header[-1]:
        header.pop()
    if not {"uri", "image", "images"} & set(header):
        parted = "tabs" if delimiter == "\t" else "commas"
        other = next((name for sign, name in _PARTED_BY.items() if sign in header[0]), "")
        hint = f": its cells are parted by {other}, save it with {parted}" if other else ""
        got = ", ".join(header)[:200]
        raise ManifestError(
            f"{location}: header: must name a column uri, cells parted by {parted}, got {got!r}{hint}"
        )
    if "" in header or len(set(header)) < len(header):
        raise ManifestError(f"{location}: header: every column must have a name of its own")
    return header


def _explained(error: str) -> str:
    if "field limit" in error:
        return f"a cell must be at most {MAX_LINE_BYTES} characters: is a quotation mark left open?"
    if "new-line character" in error:
        return "lines must end with LF or CRLF, not with CR alone"
    return f"must be valid CSV: {error}"
