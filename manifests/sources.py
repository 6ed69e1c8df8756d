"""Where documents come from: the protocol of a remote source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceStat:
    """Bytes and version of a source: ``"<size>-<mtime_ns>"`` of a local file, the ETag of an object."""

    size: int
    version: str


class RemoteSource(Protocol):
    """Fetches documents of one URI scheme. Picklable; connects lazily; retries by itself.

    Every method raises DocumentError for what is wrong with this document (``manifests.blame``), FolderGone
    when only what was seen before can tell, and SourceUnavailable for everything else, with the address and
    the remedy.
    """

    def fetch(self, uri: str, target: Path) -> SourceStat:
        """Download the whole object to ``target`` with one GET and tell what was fetched.

        A fetch that fails leaves no ``target`` behind; an OSError of writing it passes as it is.
        """

    def stat(self, uri: str) -> SourceStat:
        """Size and version without fetching."""


def local_version(size: int, mtime_ns: int) -> str:
    """The version of a local file."""
    return f"{size}-{mtime_ns}"
