"""Manifests: JSONL, CSV and Parquet files that name documents, streamed in the memory of one batch."""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError

from manifests.documents import Document, local_path
from manifests.errors import ManifestError
from manifests.identity import default_id, document_id, local_stat, local_uri, shown, valid_id
from manifests.pages import parse_pages

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
MAX_LINE_BYTES = 4 << 20
MAX_NAMED_PROBLEMS = 20
BATCH_ROWS = 4096
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def _valid_uri(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    if "\0" in uri:
        raise ValueError("must not hold a NUL character")
    bucket, _, key = rest.partition("/")
    if not separator or not SCHEME.fullmatch(scheme) or (scheme == "s3" and bucket and key):
        return uri
    if scheme == "file" and rest.startswith("/") and "%00" not in rest:
        return uri
    raise ValueError(f"must be a path, s3://bucket/key or file:///path, got {uri!r}")


def _valid_pages(pages: str) -> str:
    parse_pages(pages)
    return pages.strip()


def _valid_sha256(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ValueError(f"must be 64 hexadecimal digits, got {digest!r}")
    return digest.lower()


class ManifestRow(BaseModel):
    """One row of a manifest as written. Unknown columns are kept and become the document's metadata.

    ``etag`` is another name for ``version``. Both, and ``size``, count for remote documents only:
    a local file is asked itself.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    uri: Annotated[StrictStr, AfterValidator(_valid_uri)]
    id: Annotated[str, AfterValidator(valid_id)] = Field("", coerce_numbers_to_str=True)
    pages: Annotated[str, AfterValidator(_valid_pages)] = Field("", coerce_numbers_to_str=True)
    prompt: StrictStr = ""
    sha256: Annotated[StrictStr, AfterValidator(_valid_sha256)] = ""
    size: int = Field(0, ge=0, lt=2**63)
    version: str = Field("", coerce_numbers_to_str=True)
    etag: str = Field("", coerce_numbers_to_str=True)


@dataclass(frozen=True, slots=True)
class _Line:
    """One row before it is checked: where it stands, its columns, or why it has none."""

    place: str
    fields: dict[str, Any]
    problem: str = ""


def read_manifest(path: Path) -> Iterator[Document]:
    """The manifest's documents, in order. Raises ManifestError at the first bad row.

    A local file is asked for its size and version as its row is reached. One that does not exist is
    still a document, of size 0 and version ``""``: it becomes a failed row when it is opened.
    """
    return (document for _, document in read_located(path))


def read_located(path: Path) -> Iterator[tuple[str, Document]]:
    """Like ``read_manifest``, each document with its place (``greek.jsonl:17``) for messages."""
    folder = path.absolute().parent
    for line in _lines(path):
        yield line.place, _document(_checked(line), folder)


def validate_manifest(path: Path) -> int:
    """Check every row without touching the documents, and count the rows.

    Raises one ManifestError that names the first bad rows, one per line, and counts the others.
    """
    rows, bad, named = 0, 0, list[str]()
    try:
        for line in _lines(path):
            rows += 1
            try:
                _checked(line)
            except ManifestError as error:
                bad += 1
                if bad <= MAX_NAMED_PROBLEMS:
                    named.append(str(error))
    except ManifestError as error:  # the file cannot be read any further
        bad += 1
        named.append(str(error))
    if bad:
        more = [f"and {bad - len(named)} more"] if bad > len(named) else []
        raise ManifestError("\n".join(named + more))
    return rows


def manifest_format(path: Path) -> str:
    """``jsonl``, ``csv`` or ``parquet``, by extension, else by content.

    Raises ManifestError when neither tells, when they contradict, or when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ManifestError(f"{shown(path)}: cannot be read: {error.strerror}") from error
    by_content = "parquet" if head.startswith(b"PAR1") else "jsonl" if _looks_like_json(head) else ""
    named = FORMATS.get(path.suffix.lower(), by_content)
    if not named:
        raise ManifestError(f"{shown(path)}: a manifest's extension must be one of {', '.join(FORMATS)}")
    if head and (named == "parquet") != (by_content == "parquet"):
        real = "is a Parquet file" if by_content == "parquet" else "is not a Parquet file"
        raise ManifestError(f"{shown(path)}: {real}: give it the extension of what it is")
    return named


def _looks_like_json(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def _lines(path: Path) -> Iterator[_Line]:
    """Every row of any format. Raises ManifestError where reading cannot go on, or without any row."""
    readers = {"jsonl": _jsonl_lines, "csv": _csv_lines, "parquet": _parquet_lines}
    empty = True
    for line in readers[manifest_format(path)](path):
        empty = False
        yield line
    if empty:
        raise ManifestError(f"{shown(path)}: has no rows: a manifest names at least one document")


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ManifestError(f"{shown(path)}:{number}: line: must be at most {MAX_LINE_BYTES} bytes")
            yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _jsonl_lines(path: Path) -> Iterator[_Line]:
    name = shown(path)
    for number, raw in enumerate(_raw_lines(path), start=1):
        if raw.strip():
            yield _json_line(f"{name}:{number}", raw)


def _json_line(place: str, raw: bytes) -> _Line:
    try:
        value = json.loads(raw.decode())
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return _Line(place, {}, "encoding: must be UTF-8")
    except UnicodeEncodeError:
        return _Line(place, {}, "json: must be valid Unicode, got a lone surrogate")
    except (ValueError, RecursionError) as error:
        return _Line(place, {}, f"json: must be one JSON object per line: {error}")
    if not isinstance(value, dict):
        return _Line(place, {}, f"json: must be an object, got {type(value).__name__}")
    return _Line(place, value)


def _decoded(path: Path) -> Iterator[str]:
    for number, raw in enumerate(_raw_lines(path), start=1):
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            raise ManifestError(f"{shown(path)}:{number}: encoding: must be UTF-8") from None


def _csv_lines(path: Path) -> Iterator[_Line]:
    reader = csv.reader(_decoded(path), strict=True)
    name, header, first = shown(path), list[str](), 1
    try:
        for cells in reader:
            place, first = f"{name}:{first}", reader.line_num + 1
            if not any(cells):
                continue
            if not header:
                header = _csv_header(place, cells)
            elif any(cells[len(header) :]):
                problem = f"row: must have at most {len(header)} cells like the header, got {len(cells)}"
                yield _Line(place, {}, problem)
            else:
                yield _Line(place, dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise ManifestError(f"{shown(path)}:{first}: row: must be valid CSV: {error}") from error


def _csv_header(place: str, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    while not header[-1]:
        header.pop()
    if "uri" not in header:
        got = ", ".join(header)
        raise ManifestError(f"{place}: header: must name a column uri, cells parted by commas, got {got!r}")
    if "" in header or len(set(header)) < len(header):
        raise ManifestError(f"{place}: header: every column must have a name of its own")
    return header


def _parquet_lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            names = file.schema_arrow.names
            if "uri" not in names or len(set(names)) < len(names):
                raise ManifestError(f"{shown(path)}: columns: must be unique and include uri, got {names}")
            name, number = shown(path), 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for fields in batch.to_pylist():
                    number += 1
                    yield _Line(f"{name}:row {number}", fields)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{shown(path)}: cannot be read as Parquet: {error}") from error


def _checked(line: _Line) -> ManifestRow:
    """The row as a model; empty cells count as absent. Raises ManifestError with the row's place."""
    if line.problem:
        raise ManifestError(f"{line.place}: {line.problem}")
    present = {
        name: value
        for name, value in line.fields.items()
        if value is not None and value != "" and value == value  # a NaN is how pandas writes an empty cell
    }
    try:
        return ManifestRow.model_validate(present)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors())
        raise ManifestError(f"{line.place}: {problems}") from None


def _problem(detail: Any) -> str:
    field = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"{field}: must be given: a path or an s3:// address"
    if detail["type"] == "value_error":
        return f"{field}: {detail['ctx']['error']}"
    kind = "a number, 0 or more" if field == "size" else "text"
    return f"{field}: must be {kind}, got {detail['input']!r}"


def _metadata(columns: Iterable[tuple[str, Any]]) -> str:
    """Unknown columns as a JSON object of texts and numbers; anything else is kept as its JSON text."""
    kept = {name: _plain(value) for name, value in columns}
    return json.dumps(kept, ensure_ascii=False) if kept else ""


def _plain(value: Any) -> str | int | float:
    if type(value) in (str, int) or (isinstance(value, float) and math.isfinite(value)):
        return value  # type: ignore[no-any-return]  # narrowed by type(), which mypy does not follow
    return json.dumps(value, ensure_ascii=False, default=str)


def _document(row: ManifestRow, folder: Path) -> Document:
    if row.uri.startswith("s3://"):
        uri, name = row.uri, row.uri.removeprefix("s3://")
        size, version = row.size, (row.version or row.etag).strip('"')
    else:
        named = local_path(row.uri)
        uri, name = local_uri(folder / named), default_id(named, folder)
        size, version = local_stat(folder / named)
    return Document(
        doc_id=row.id or document_id(name),
        uri=uri,
        pages=row.pages,
        prompt=row.prompt,
        sha256=row.sha256,
        size=size,
        version=f"sha256:{row.sha256}" if row.sha256 else version,
        metadata=_metadata((row.model_extra or {}).items()),
    )
