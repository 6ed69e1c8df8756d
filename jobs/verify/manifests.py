"""What manifests name, read for ``verify`` without the code that plans jobs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import posixpath
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.verify.format import Hashes, contains, hash64, hashes, merged_spans
from manifests.errors import InputError, ManifestError

MAX_ID_BYTES = 1024
_NOT_IN_IDS = re.compile(r"[\x00-\x1f\x7f-\x9f]|\A\.+\Z")
_KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_PACKED = (".gz", ".zst")
_MAX_CELL = 4 << 20
_COLUMNS = frozenset({"id", "qid", "uri", "image", "images", "pages"})


@dataclass(frozen=True, slots=True)
class NamedDocument:
    """One row of a manifest: the document it names and the pages it asks for."""

    doc_id: str
    pages: str
    place: str


class Named:
    """All documents of all manifests, in 12 bytes each; selections are kept once each."""

    def __init__(self, manifests: Sequence[str]) -> None:
        ids, chosen = array("Q"), array("L")
        numbers: dict[str, int] = {}
        for entry in named_documents(manifests):
            ids.append(hash64(entry.doc_id))
            chosen.append(numbers.setdefault(entry.pages, len(numbers)))
        self._selections = list(numbers)
        order = np.argsort(np.frombuffer(ids, dtype=np.uint64), kind="stable")
        self._ids: Hashes = np.frombuffer(ids, dtype=np.uint64)[order]
        self._chosen = np.array(chosen, dtype=np.uint32)[order]

    def selections(self, doc_ids: Sequence[str]) -> list[str | None]:
        """The pages a manifest asks for of each document, ``""`` meaning all; None if none names it."""
        wanted = hashes(doc_ids)
        at = np.searchsorted(self._ids, wanted)
        return [
            self._selections[int(self._chosen[place])] if is_there else None
            for place, is_there in zip(at, contains(self._ids, wanted), strict=True)
        ]


def named_documents(manifests: Sequence[str]) -> Iterator[NamedDocument]:
    """Every row, streamed. Raises InputError for what is no manifest, ManifestError for a bad row."""
    for manifest in manifests:
        for path in _files(Path(manifest)):
            folder = path.absolute().parent
            for place, row in _rows(path):
                yield _named_document(place, row, folder)


def _files(path: Path) -> list[Path]:
    """The manifest itself, or the Parquet files of a folder of them."""
    parts = sorted(part for part in path.rglob("*.parquet") if not part.name.startswith((".", "_")))
    if path.is_file() or not parts:
        return [path]
    return parts


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{str(path)!r}: no such manifest: it must be a local JSONL, CSV or Parquet file")
    plain = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    kind = _KINDS.get(plain.suffix.lower())
    if kind is None:
        raise InputError(f"{str(path)!r}: a manifest's extension must be one of {', '.join(_KINDS)}")
    try:
        if kind == "parquet":
            yield from _parquet_rows(path)
            return
        with _unpacked(path, newline="\n" if kind == "jsonl" else "") as file:
            yield from _json_rows(path, file) if kind == "jsonl" else _csv_rows(path, file, kind)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error


@contextmanager
def _unpacked(path: Path, newline: str) -> Iterator[io.TextIOWrapper]:
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        packed: Any = file
        if magic[:2] == b"\x1f\x8b":
            packed = gzip.GzipFile(fileobj=file)
        elif magic == b"\x28\xb5\x2f\xfd":
            packed = io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
        yield io.TextIOWrapper(packed, encoding="utf-8-sig", newline=newline)


def _json_rows(path: Path, file: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"{path}:{number}: json: {error}") from error
        if not isinstance(row, dict):
            raise ManifestError(f"{path}:{number}: json: must be an object")
        yield f"{path}:{number}", row


def _csv_rows(path: Path, file: Iterable[str], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(_MAX_CELL)
    reader = csv.reader(file, delimiter="\t" if kind == "tsv" else ",")
    filled = ([cell.strip() for cell in cells] for cells in reader if any(map(str.strip, cells)))
    header = next(filled, [])
    for cells in filled:
        row: dict[str, Any] = dict(zip_longest(header, cells[: len(header)], fillvalue=""))
        for name in ("id", "qid"):  # a CSV has no numbers: 1001.0 is how a float is written
            row[name] = re.sub(r"\A(-?\d+)\.0+\Z", r"\1", row.get(name, ""))
        for name in {"image", "images"} & row.keys():
            row[name] = row[name] if row[name].startswith("[") else row[name].split("|")
        yield f"{path}:{reader.line_num}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with pq.ParquetFile(str(path)) as file:
        names = {name: name.strip() for name in file.schema_arrow.names}
        wanted = [name for name, known in names.items() if known in _COLUMNS]
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}:row {number}", {names[name]: value for name, value in row.items()}


def _named_document(place: str, row: dict[str, Any], folder: Path) -> NamedDocument:
    """Raises ManifestError for a row that names no document, or pages that are no selection."""
    uri, pages = _text(row.get("uri")) or _first_image(row), _text(row.get("pages"))
    pages = re.sub(r"\A\s*(\d+)\.0*\s*\Z", r"\1", pages)
    doc_id = _text(row.get("id")) or _text(row.get("qid")) or (default_id(uri, folder) if uri else "")
    if not doc_id:
        raise ManifestError(f"{place}: uri: must be given: a path or an s3:// address")
    try:
        merged_spans(pages)
    except ValueError:
        raise ManifestError(f"{place}: pages: must be like 1-10,15, got {pages!r:.80}") from None
    return NamedDocument(doc_id, pages, place)


def _first_image(row: dict[str, Any]) -> str:
    images = row.get("images") or row.get("image") or ""
    if isinstance(images, str) and images.lstrip().startswith("["):
        images = json.loads(images)
    return (
        next((text for image in images if (text := _text(image))), "") if isinstance(images, list) else images
    )


def _text(value: Any) -> str:
    """A cell as text; empty cells of every format are ``""``, a whole number has no ``.0``."""
    if value is None or value != value:
        return ""
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def default_id(uri: str, folder: Path) -> str:
    """The id of a row without one: the path relative to the manifest's folder, or the bucket and key.

    An absolute path outside that folder is taken from the root of the file system.
    """
    if remote := re.match(r"(?i)s3[an]?://", uri):
        return _storable(uri[remote.end() :])
    if uri.startswith("file://"):
        uri = os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
    path = posixpath.normpath(uri)
    below = f"{str(folder).rstrip('/')}/"
    return _storable(path.removeprefix(below) if path.startswith(below) else path.lstrip("/"))


def _storable(path: str) -> str:
    """The path, unless it holds control characters or bytes that are not UTF-8, is only dots or too long.

    Those are replaced or cut, and ``~`` with 8 digits of the path's hash stands before the extension.
    """
    raw = path.encode("utf-8", "surrogateescape")
    text = _NOT_IN_IDS.sub("\ufffd", raw.decode("utf-8", "replace"))
    if text == path and len(raw) <= MAX_ID_BYTES:
        return path
    stem, extension = posixpath.splitext(text)
    ending = f"~{blake2b(raw, digest_size=4).hexdigest()}{extension[:16]}".encode()
    return stem.encode()[: MAX_ID_BYTES - len(ending)].decode("utf-8", "ignore") + ending.decode()
