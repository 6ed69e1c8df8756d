"""A document to read: one manifest row, checked and resolved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

PDF_SUFFIXES = frozenset({".pdf"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
SUFFIXES = PDF_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Source:
    """One of several files of a document; the fields mean what those of ``Document`` mean."""

    uri: str
    sha256: str = ""
    size: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One document to read, from one source or several, and what is wanted of it.

    ``doc_id`` is the identity in every row: a POSIX path relative to the input root, never absolute.
    ``uri`` is an absolute local path or an ``s3://`` address; open a local one by ``local_path(uri)``.
    ``pages`` is the selection as written (``"1-10,15"``), ``""`` for all pages.
    ``max_pages`` cuts a trial run after that many pages of the selection; 0 means no cut.
    ``version`` is what the listing knew of the source: ``"<size>-<mtime_ns>"`` for a local file,
    the ETag without quotes for S3, ``""`` where it becomes known only when the source is fetched.
    ``markdown`` is the document's file below ``markdown/``, extension excluded, chosen when planned.
    ``metadata`` is a JSON object with the manifest's unknown columns, ``""`` when there are none.
    ``sources`` is empty where ``uri``, ``sha256``, ``size`` and ``version`` tell of the one source. Else it
    holds all of them in order, images that one page shows together; then ``uri`` is that of the first,
    ``size`` is of all, ``version`` digests theirs and ``sha256`` is ``""``.
    """

    doc_id: str
    uri: str
    pages: str = ""
    max_pages: int = 0
    prompt: str = ""
    sha256: str = ""
    size: int = 0
    version: str = ""
    markdown: str = ""
    metadata: str = ""
    sources: tuple[Source, ...] = ()

    @property
    def was_listed(self) -> bool:
        """Whether it was seen where it lies when the inputs were listed: only then its size is known."""
        return self.size > 0

    def each_source(self) -> tuple[Source, ...]:
        """All sources in order: the one, or the several."""
        return self.sources or (Source(self.uri, self.sha256, self.size, self.version),)

    def of_source(self, index: int) -> Document:
        """The document as if it had only this one of its sources, for whoever looks at one at a time."""
        one = self.each_source()[index]
        return replace(self, uri=one.uri, sha256=one.sha256, size=one.size, version=one.version, sources=())

    def source_keys(self) -> tuple[str, ...]:
        """What tells several sources apart in the digests of units and inputs, wherever they lie; none for
        one. Where a version is not known yet, the source's name stands for it."""
        return tuple(source.version or source.uri.rpartition("/")[2] for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, so that footers stay small."""
        kept = _given(self, FIELDS)
        if self.sources:
            kept["sources"] = [_given(source, _SOURCE_FIELDS) for source in self.sources]
        return kept

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Document:
        """Undo ``to_json``. Raises TypeError on a field of a newer version."""
        if "sources" not in fields:
            return cls(**fields)
        return cls(**{**fields, "sources": tuple(Source(**source) for source in fields["sources"])})


def sources_version(versions: Sequence[str]) -> str:
    """The version of a document with several sources; ``""`` while that of one is not known."""
    if not all(versions):
        return ""
    digest = blake2b("\0".join(versions).encode(), digest_size=16).hexdigest()
    return f"{len(versions)}-{digest}"


FIELDS = tuple(field.name for field in fields(Document))
_SOURCE_FIELDS = tuple(field.name for field in fields(Source))


def _given(record: Document | Source, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a record that are not their defaults."""
    return {name: value for name in names if (value := getattr(record, name)) not in ("", 0, ())}


def is_remote(uri: str) -> bool:
    """Whether a ``uri`` is an ``s3://`` address and no local file."""
    return uri.startswith("s3://")


def local_path(uri: str) -> Path:
    """The file a local ``uri`` stands for; the only way to turn a ``Document.uri`` into a path.

    Nearly every local uri is the absolute path itself. A name that is not valid UTF-8 could not
    travel through JSON or Parquet, so it is kept as ``file://`` with percent-encoded bytes.
    Raises ValueError for an ``s3://`` address.
    """
    if uri.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
    if is_remote(uri):
        raise ValueError(f"{uri} is not a local file")
    return Path(uri)
