"""What kind of manifest a file is, and opening it: by its name, checked against what it begins with."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from manifests.blame import does_not_answer
from manifests.errors import ManifestError, SourceUnavailable
from manifests.files import NotRegular, open_regular
from manifests.identity import shown

TEXT_KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
KINDS = {**TEXT_KINDS, ".parquet": "parquet"}
PACKED = (".gz", ".zst")
EXTENSIONS = f"{', '.join(KINDS)}; text also packed as {' or '.join(PACKED)}"
MAX_LINE_BYTES = 4 << 20
"""Of a line, a cell and a row's own columns: what a manifest says of one document is no book."""

_HEAD_BYTES = 512
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Line:
    """One row before it is checked: where it stands, its columns, or why it has none."""

    location: str
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def kind_by_name(name: str) -> str:
    """``jsonl``, ``csv``, ``tsv`` or ``parquet``; ``""`` for a name that no manifest has."""
    plain = name.lower()
    packed = next((ending for ending in PACKED if plain.endswith(ending)), "")
    suffix = Path(plain.removesuffix(packed)).suffix
    return TEXT_KINDS.get(suffix, "") if packed else KINDS.get(suffix, "")


def manifest_kind(path: Path) -> str:
    """The kind of a manifest by its name, else by its content.

    Raises ManifestError when neither tells, when they contradict, or when the file cannot be read.
    """
    with opened(path) as file:
        head = file.read(_HEAD_BYTES)
    by_content = "parquet" if head.startswith(b"PAR1") else "jsonl" if _looks_like_json(head) else ""
    named = kind_by_name(path.name) or by_content
    if not named:
        raise ManifestError(f"{shown(path)}: a manifest's extension must be one of {EXTENSIONS}")
    if head and (named == "parquet") != (by_content == "parquet"):
        real = "is a Parquet file" if by_content == "parquet" else "is not a Parquet file"
        raise ManifestError(f"{shown(path)}: {real}: give it the extension of what it is")
    if named != "parquet" and _is_wide(head):
        raise ManifestError(f"{shown(path)}: encoding: must be UTF-8, this is UTF-16 or UTF-32")
    return named


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A manifest's bytes, unpacked where it is packed, whatever its name says.

    Raises ManifestError for what is wrong with the file, SourceUnavailable where it does not answer.
    """
    try:
        with open_regular(path) as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(_GZIP):
                yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
            elif magic == _ZSTD:
                yield cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(file, "zstd")))
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException) as error:
        raise ManifestError(f"{shown(path)}: cannot be unpacked: {error}") from error
    except NotRegular as error:
        raise ManifestError(f"{shown(path)}: {error.strerror}") from error
    except OSError as error:
        kind = SourceUnavailable if error.errno and does_not_answer(error) else ManifestError
        raise kind(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def raw_lines(path: Path) -> Iterator[bytes]:
    """The lines of a text file with their ends, a byte order mark left out."""
    with opened(path) as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ManifestError(f"{shown(path)}:{number}: line: must be at most {MAX_LINE_BYTES} bytes")
            yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _looks_like_json(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def _is_wide(head: bytes) -> bool:
    """UTF-16 or UTF-32: by its mark, or by a NUL beside every other of its first characters."""
    pairs = list(zip(head[:32:2], head[1:32:2], strict=False))
    unmarked = bool(pairs) and all((first == 0) != (second == 0) for first, second in pairs)
    return head.startswith(_WIDE) or unmarked
