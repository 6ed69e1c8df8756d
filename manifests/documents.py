"""A document to read: one manifest row, checked and resolved."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

PDF_SUFFIXES = frozenset({".pdf"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
SUFFIXES = PDF_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Document:
    """One source document and what is wanted of it.

    ``doc_id`` is the identity in every row: a POSIX path relative to the input root, never absolute.
    ``uri`` is an absolute local path or an ``s3://`` address; open a local one by ``local_path(uri)``.
    ``pages`` is the selection as written (``"1-10,15"``), ``""`` for all pages.
    ``max_pages`` cuts a trial run after that many pages of the selection; 0 means no cut.
    ``version`` is what the listing knew of the source: ``"<size>-<mtime_ns>"`` for a local file,
    the ETag without quotes for S3, ``""`` where it becomes known only when the source is fetched.
    ``markdown`` is the document's file below ``markdown/``, extension excluded, chosen when planned.
    ``metadata`` is a JSON object with the manifest's unknown columns, ``""`` when there are none.
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

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, so that footers stay small."""
        return {name: value for name in FIELDS if (value := getattr(self, name)) not in ("", 0)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Document:
        """Undo ``to_json``. Raises TypeError on a field of a newer version."""
        return cls(**fields)


FIELDS = tuple(field.name for field in fields(Document))


def local_path(uri: str) -> Path:
    """The file a local ``uri`` stands for; the only way to turn a ``Document.uri`` into a path.

    Nearly every local uri is the absolute path itself. A name that is not valid UTF-8 could not
    travel through JSON or Parquet, so it is kept as ``file://`` with percent-encoded bytes.
    Raises ValueError for an ``s3://`` address.
    """
    if uri.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
    if uri.startswith("s3://"):
        raise ValueError(f"{uri} is not a local file")
    return Path(uri)
