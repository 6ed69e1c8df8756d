"""Manifests: files that name documents, streamed in the memory of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from manifests.documents import Document, Source, is_remote, local_path, sources_version
from manifests.errors import ManifestError, SourceUnavailable
from manifests.formats.files import Line, manifest_kind
from manifests.formats.jsonl import jsonl_lines
from manifests.formats.parquet import parquet_lines
from manifests.formats.table import csv_lines
from manifests.identity import default_id, document_id, local_uri, shown
from manifests.local_files import LocalStats
from manifests.rows import DocumentRow, ImagesRow, checked, metadata_json

MAX_NAMED_PROBLEMS = 20

_READERS: dict[str, Callable[[Path], Iterator[Line]]] = {
    "jsonl": jsonl_lines,
    "csv": csv_lines,
    "tsv": partial(csv_lines, delimiter="\t"),
    "parquet": parquet_lines,
}


def read_manifest(path: Path) -> Iterator[Document]:
    """The manifest's documents, in order. Raises ManifestError at the first bad row.

    A local file is asked for its size and version as its row is reached. One that does not exist is
    still a document, of size 0 and version ``""``: it becomes a failed row when it is opened. Raises
    SourceUnavailable where that is no fault of the row: its folder is empty or does not answer.
    """
    return (document for _, document in read_located(path))


def read_located(path: Path, complete: bool = False) -> Iterator[tuple[str, Document]]:
    """Like ``read_manifest``, each document with its location (``greek.jsonl:17``) for messages.

    With ``complete`` it raises SourceUnavailable at the end if neither any document is there nor any folder
    that they lie in.
    """
    folder = path.absolute().parent
    stats = LocalStats()
    for line in _lines(path):
        row = checked(line)
        try:
            document = _document(row, folder, stats)
        except ValueError as error:
            raise ManifestError(f"{line.location}: {error}") from None
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{line.location}: {error}") from error
        yield line.location, document
    if complete:
        stats.refuse_if_all_are_lost(shown(path))


def validate_manifest(path: Path) -> int:
    """Check every row without touching the documents, and count the rows.

    Raises one ManifestError that names the first bad rows, one per line, and counts the others.
    """
    rows, bad, named = 0, 0, list[str]()
    try:
        for line in _lines(path):
            rows += 1
            try:
                checked(line)
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


def _lines(path: Path) -> Iterator[Line]:
    """Every row of any format. Raises ManifestError where reading cannot go on, or without any row."""
    empty = True
    for line in _READERS[manifest_kind(path)](path):
        empty = False
        yield line
    if empty:
        raise ManifestError(f"{shown(path)}: has no rows: a manifest names at least one document")


def _document(row: DocumentRow | ImagesRow, folder: Path, stats: LocalStats) -> Document:
    """Raises ValueError for metadata that is too long."""
    if isinstance(row, DocumentRow):
        first, name = _source(row.uri, row.sha256, row.size, row.version or row.etag, folder, stats)
        digest, size, version, sources = first.sha256, first.size, first.version, tuple[Source, ...]()
    else:
        found = [_source(*one, folder, stats) for one in _described(row)]
        first, name = found[0]
        sources = tuple(source for source, _ in found)
        digest, size = "", sum(source.size for source in sources)
        version = sources_version([source.version for source in sources])
    return Document(
        doc_id=row.id or document_id(name),
        uri=first.uri,
        pages=row.pages,
        prompt=row.prompt,
        sha256=digest,
        size=size,
        version=version,
        metadata=metadata_json(row.model_extra) if row.model_extra else "",
        sources=sources,
    )


def _described(row: ImagesRow) -> Iterator[tuple[str, str, int, str]]:
    """Address, sha256, size and version of each image, as far as the row tells them."""
    blank = ("",) * len(row.images)
    described = (row.sha256 or blank, row.size or (0,) * len(blank), row.version or row.etag or blank)
    return zip(row.images, *described, strict=True)


def _source(
    written: str, sha256: str, size: int, version: str, folder: Path, stats: LocalStats
) -> tuple[Source, str]:
    """A file as its row describes it, and the path that names the row if nothing else does."""
    if is_remote(written):
        uri, name, version = written, written.removeprefix("s3://"), version.strip('"')
    else:
        named = local_path(written)
        uri, name = local_uri(folder / named), default_id(named, folder)
        size, version = stats.of(folder / named)
    return Source(uri, sha256, size, f"sha256:{sha256}" if sha256 else version), name
