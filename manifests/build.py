"""Write what was found in folders, globs and prefixes as a manifest, to read, edit and share."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.blame import does_not_answer
from manifests.documents import Document, Source, is_remote, local_path
from manifests.errors import DocumentError, ManifestError, SourceUnavailable
from manifests.files import open_regular
from manifests.formats.parquet import BATCH_ROWS
from manifests.formats.table import csv_value
from manifests.identity import shown
from manifests.inputs import InputSet
from manifests.sources import SourceStat
from manifests.survey import survey

WRITABLE = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
COLUMNS = ("id", "uri", "size", "version", "pages", "prompt", "sha256", "page_count", "error")


@dataclass(frozen=True, slots=True)
class BuiltManifest:
    """What a manifest holds: its rows, and those of them whose document could not be read."""

    documents: int
    errors: int


def build_manifest(
    inputs: InputSet,
    output: Path,
    *,
    hashes: bool = False,
    stat_remote: Callable[[str], SourceStat] | None = None,
    count_pages: Callable[[Document], int] | None = None,
) -> BuiltManifest:
    """List the documents in ``output``: JSONL, CSV or Parquet by its extension, whole or not at all.

    Read back, the manifest gives the same documents in the same order: same id, size and version.
    With ``hashes`` the version of local files is their SHA-256 instead of size and time; remote
    documents are not fetched for it. A file below the manifest's folder is named relative to it, so
    that the folder can be moved; any other, and a name that is not UTF-8, by its absolute uri.
    A document that cannot be read is listed with an ``error``. ``count_pages`` (None: no column
    ``page_count``) and ``stat_remote`` (for ``s3://`` rows without a version) raise DocumentError.
    Raises ManifestError if nothing can be written there, there is nothing to list, an id stands twice
    or a row of an earlier manifest is malformed.
    """
    form = WRITABLE.get(output.suffix.lower())
    if form is None:
        raise ManifestError(f"{shown(output)}: a manifest's extension must be one of {', '.join(WRITABLE)}")
    survey(inputs)  # refuses what a job would refuse, all of it at once
    describe = _Describer(
        folder=output.absolute().parent,
        count_pages=count_pages,
        stat_remote=stat_remote,
        hashes=hashes,
    )
    rows = _Counted(map(describe.row, inputs))
    numbers = {"size", "page_count"} if count_pages else {"size"}
    _write_whole(output, lambda file: _write_rows(file, form, rows, inputs, numbers))
    return BuiltManifest(rows.documents, rows.errors)


class _Counted:
    """Rows on their way to the file, counted as they pass."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.documents = 0
        self.errors = 0
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            self.documents += 1
            self.errors += "error" in row
            yield row


@dataclass(frozen=True, slots=True)
class _Describer:
    """How a document becomes a row; ``folder`` is the manifest's."""

    folder: Path
    count_pages: Callable[[Document], int] | None
    stat_remote: Callable[[str], SourceStat] | None
    hashes: bool

    def row(self, document: Document) -> dict[str, Any]:
        """The row's columns, empty ones left out. Columns of an earlier manifest are kept."""
        row: dict[str, Any] = json.loads(document.metadata or "{}")
        row.pop("error", None)
        if self.count_pages:
            row.pop("page_count", None)
        sources, reasons = list(document.each_source()), list[str]()
        for i, source in enumerate(sources):
            try:
                sources[i] = self._looked_up(source)
            except (DocumentError, OSError, ValueError) as error:
                reasons.append(_reason(error, source.uri))
        row |= {"id": document.doc_id, **self._addresses(sources, several=bool(document.sources))}
        row |= {"pages": document.pages, "prompt": document.prompt}
        try:
            if self.count_pages and not reasons:
                row["page_count"] = 1 if document.sources else self.count_pages(document)
        except DocumentError as error:
            reasons.append(str(error))
        if reasons:
            row["error"] = reasons[0]
        return {name: value for name, value in row.items() if value != ""}

    def _addresses(self, sources: Sequence[Source], several: bool) -> dict[str, Any]:
        """The columns of the sources: values of one, lists of several."""
        columns: dict[str, list[Any]] = {
            "images" if several else "uri": [self._uri(source.uri) for source in sources],
            "size": [source.size for source in sources],
            "version": [source.version for source in sources],
            "sha256": [source.sha256 for source in sources],
        }
        if not several:
            return {name: values[0] for name, values in columns.items()}
        return {name: values for name, values in columns.items() if all(v != "" for v in values)}

    def _uri(self, uri: str) -> str:
        path = Path(uri)
        below = path.is_absolute() and ".." not in path.parts and path.is_relative_to(self.folder)
        return str(path.relative_to(self.folder)) if below else uri

    def _looked_up(self, source: Source) -> Source:
        """The source with what is known only by opening it. Raises OSError or DocumentError."""
        if is_remote(source.uri):
            if source.version or not self.stat_remote:
                return source
            remote = self.stat_remote(source.uri)
            return replace(source, size=remote.size, version=remote.version)
        with open_regular(local_path(source.uri)) as file:
            if not self.hashes or source.sha256:
                return source
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return replace(source, sha256=digest)


def _reason(error: Exception, uri: str) -> str:
    """What the column ``error`` says. Raises SourceUnavailable for what is no fault of the document."""
    if isinstance(error, OSError):
        if does_not_answer(error):
            raise SourceUnavailable(f"{uri}: cannot be read: {error.strerror or error}") from error
        return error.strerror or "cannot be read"
    return str(error)


def _write_whole(output: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write beside the target under a hidden name, make it durable, and only then give it its name."""
    temporary = output.with_name(f".{uuid4().hex}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ManifestError(f"{shown(output)}: cannot be written: {error.strerror or error}") from error


def _write_rows(
    file: IO[bytes], form: str, rows: Iterable[dict[str, Any]], inputs: InputSet, numbers: set[str]
) -> None:
    remaining = iter(rows)
    first = list(islice(remaining, 1))
    if not first:
        raise ManifestError("no document to list: a manifest names at least one")
    rows = chain(first, remaining)
    if form == "jsonl":
        file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        return
    columns = [*COLUMNS, *_extra_columns(inputs)]
    if form == "csv":
        file.writelines(_csv_lines(columns, rows))
    else:
        _write_parquet(file, columns, rows, numbers - {"size"} if "images" in columns else numbers)


def _extra_columns(inputs: InputSet) -> list[str]:
    """Columns that not every manifest has, sorted. CSV and Parquet must know them before the first row."""
    names = set[str]()
    for document in inputs:
        names |= json.loads(document.metadata or "{}").keys()
        if document.sources:
            names.add("images")
    return sorted(names - set(COLUMNS))


class _Echo:
    """A file for ``csv.writer`` whose ``write`` returns the line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    writer = csv.writer(_Echo())
    yield str(writer.writerow(columns)).encode()
    for row in rows:
        cells = {name: _text(value) for name, value in row.items()}
        for name in ("id", "uri"):
            if csv_value(name, cells.get(name, "")) != cells.get(name, ""):
                raise ManifestError(
                    f"{name}: {cells[name]!r} would be read otherwise from CSV: write .jsonl or .parquet"
                )
        yield str(writer.writerow([cells.get(name, "") for name in columns])).encode()


def _write_parquet(
    file: IO[bytes], columns: Sequence[str], rows: Iterable[dict[str, Any]], numbers: set[str]
) -> None:
    """``numbers`` as int64, everything else as text: an earlier manifest's columns may hold anything."""
    schema = pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in columns])
    remaining = iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while batch := list(islice(remaining, BATCH_ROWS)):
            arrays = [
                pa.array([_cell(row.get(field.name), field.name in numbers) for row in batch], field.type)
                for field in schema
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _cell(value: Any, is_number: bool) -> Any:
    return value if value is None or is_number else _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
