"""What documents are called: ids that hold for every machine, local addresses, and names in messages."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote_from_bytes

MAX_ID_BYTES = 1024
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
NOT_IN_IDS = re.compile(rf"{CONTROL.pattern}|\A/|\A\.+\Z")


def valid_id(doc_id: str) -> str:
    """The id itself. Raises ValueError, saying what is allowed, for what a manifest may not name so."""
    if doc_id.startswith("/"):
        raise ValueError(f"must be relative: never start with /, got {doc_id!r}")
    if not doc_id.strip("."):
        raise ValueError(f"must be more than dots, got {doc_id!r}")
    if CONTROL.search(doc_id):
        raise ValueError(f"must not hold NUL or control characters, got {doc_id!r}")
    if (size := len(doc_id.encode())) > MAX_ID_BYTES:
        raise ValueError(f"must be at most {MAX_ID_BYTES} bytes, got {size}")
    return doc_id


def local_uri(path: str | Path) -> str:
    """The uri of an absolute local path; ``documents.local_path`` is its inverse."""
    if isinstance(path, str) and path.isascii():  # nearly all, and there are millions
        return path
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "file://" + quote_from_bytes(raw)


def document_id(path: str) -> str:
    """A relative path or key as a document id: itself wherever an id may be that.

    Bytes that are not UTF-8, control characters, a slash in front and a path of only dots become
    U+FFFD, what is longer than ``MAX_ID_BYTES`` is cut; then ``~`` and 8 hex digits of the path's
    hash stand before the extension.
    """
    if path.isascii() and path.isprintable() and path[:1] not in ("", "/", ".") and len(path) <= MAX_ID_BYTES:
        return path
    raw = path.encode("utf-8", "surrogateescape")
    text = NOT_IN_IDS.sub("\ufffd", raw.decode("utf-8", "replace"))
    if text == path and len(raw) <= MAX_ID_BYTES:
        return text
    stem, extension = posixpath.splitext(text)
    ending = f"~{blake2b(raw, digest_size=4).hexdigest()}{extension[:16]}"
    return cut_bytes(stem, MAX_ID_BYTES - len(ending.encode())) + ending


def cut_bytes(text: str, size: int) -> str:
    """The longest beginning of ``text`` that takes at most ``size`` bytes of UTF-8."""
    return text.encode()[:size].decode("utf-8", "ignore")


def shown(path: object) -> str:
    """A path for a message: printable even when its bytes are not UTF-8."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def normal_uri(uri: str) -> str:
    """An address as we write it: ``s3://`` for what Hadoop and Spark call ``s3a://`` and ``s3n://``."""
    if uri.startswith("s3://"):
        return uri
    scheme, separator, rest = uri.partition("://")
    return f"s3://{rest}" if separator and scheme.lower() in ("s3", "s3a", "s3n") else uri


def default_id(named: Path, folder: Path) -> str:
    """The path that names a manifest's row without an id, before ``document_id``.

    Relative to the manifest's ``folder`` where ``named`` is; never absolute, so a moved folder resumes.
    """
    plain = Path(posixpath.normpath(named))
    if not plain.is_absolute():
        return str(plain)
    base = folder if plain.is_relative_to(folder) else plain.anchor
    return str(plain.relative_to(base))


def shortest_names(bases: Iterable[str]) -> dict[str, str]:
    """For each folder, prefix or pattern's base the name that comes first in the ids below it.

    It is the fewest last components that tell the bases apart, none of them the beginning of another;
    ``""`` for a base that is alone.
    """
    parts = {base: _components(base) for base in bases}
    if len(parts) < 2:
        return dict.fromkeys(parts, "")
    depth = dict.fromkeys(parts, 1)
    while True:
        names = {base: parts[base][-depth[base] :] for base in parts}
        counts = Counter(names.values())
        begun = {name[:size] for name in names.values() for size in range(1, len(name))}
        meeting = [
            base
            for base, name in names.items()
            if depth[base] < len(parts[base])
            and (
                counts[name] > 1
                or name in begun
                or any(name[:size] in counts for size in range(1, len(name)))
            )
        ]
        if not meeting:
            return {base: "/".join(name) for base, name in names.items()}
        for base in meeting:
            depth[base] += 1


def _components(base: str) -> tuple[str, ...]:
    return tuple(part for part in base.replace("s3://", "s3/").split("/") if part) or ("root",)
