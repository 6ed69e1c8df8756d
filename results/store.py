"""The store: where a job's output lives. Objects appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from manifests.errors import StoreError

TEMPORARY = ".tmp"
"""The folder below the root that is no object's: files on their way to their place."""
NO_VERSION = "00000000000000000000000000000000"
PROBES = 3
"""Another process that clears up old claims may take a probe away, once."""


class Created(Enum):
    """The answer of a create-once."""

    CREATED = "created"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object: its path relative to the store's root, its bytes, its opaque version."""

    path: str
    size: int
    version: str


class Store(Protocol):
    """A flat namespace of objects below one root. Paths are relative POSIX paths.

    Implementations are picklable, connect lazily, retry what is worth retrying by themselves, and
    raise StoreError for what is not. A version is opaque: it changes whenever the content does.
    """

    @property
    def root(self) -> str:
        """The root as the user wrote it, for messages."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose path starts with ``prefix`` (``"pages/"``), sorted by path."""

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Content and version, or None when there is no such object."""

    def read_tail(self, path: str, size: int) -> bytes | None:
        """The last ``size`` bytes (all of a shorter object), or None: a Parquet footer costs one call."""

    def create(self, path: str, data: bytes) -> Created:
        """Write only if nothing is there. Safe against an answer lost on the way: ours is CREATED."""

    def replace(self, path: str, data: bytes, if_match: str | None = None) -> str | None:
        """Write over what is there and return the new version.

        With ``if_match``, only if the stored version is that one; otherwise None and nothing written.
        """

    def create_file(self, path: str, file: Path) -> Created:
        """Like ``create``, with the content of a local file that nobody writes to any more."""

    def replace_file(self, path: str, file: Path, if_match: str | None = None) -> str | None:
        """Like ``replace``, with the content of a local file that nobody writes to any more."""

    def local_file(self, path: str) -> AbstractContextManager[Path | None]:
        """A file with the object's content, to be opened within the block; None if there is none."""

    def scratch_file(self) -> AbstractContextManager[Path]:
        """Where to write a file that is under way, on this machine; it is gone after the block."""

    def delete(self, path: str) -> None:
        """Remove the object; no error when it is already gone."""


def object_path(path: str) -> str:
    """``path`` itself if it is a relative POSIX path that stays below a root; else StoreError."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise StoreError(
            f"{path!r} is no path inside the output: it must be relative, without '..' or empty parts"
        )
    if parts[0] == TEMPORARY:
        raise StoreError(f"{path!r} is no path inside the output: {TEMPORARY}/ is kept for files under way")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{path!r} is no path inside the output: it is not valid Unicode") from error
    return path


def keeps_conditions(store: Store) -> bool:
    """Try create-once and conditional replacement with an object that is gone again afterwards.

    Some servers that speak S3 take ``If-None-Match`` and ``If-Match`` and do not heed them.
    """
    return any(_tried(store) for _ in range(PROBES))


def _tried(store: Store) -> bool:
    path = f"claims/probe-{uuid4().hex}"
    try:
        if store.create(path, b"first") is not Created.CREATED or store.create(path, b"2") is Created.CREATED:
            return False
        if store.replace(path, b"3", if_match=NO_VERSION) is not None:
            return False
        found = store.read(path)
        return found is not None and found[0] == b"first"
    finally:
        with suppress(StoreError):
            store.delete(path)
