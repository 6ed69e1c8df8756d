"""Local files: the sizes of those that manifests name, and what stands around one that cannot be had."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from manifests.blame import Nearby, is_documents_fault, local_symptom
from manifests.errors import SourceUnavailable
from manifests.identity import shown
from manifests.sources import local_version

MAX_TRIED = 32
"""Files beside a document that are tried before none of them counts as readable."""
_MAX_FOLDERS = 10_000
"""Folders of missing files that are remembered."""


class LocalStats:
    """Asks the files that one pass over a manifest names, and looks at each missing one's folder once."""

    def __init__(self) -> None:
        self._asked = 0
        self._lost = 0
        self._first_lost: Path | None = None
        self._folders: dict[Path, Nearby] = {}

    def of(self, path: Path) -> tuple[int, str]:
        """Size and version; ``(0, "")`` of a file that is missing for no fault of its place.

        Raises SourceUnavailable when its folder is empty or does not answer.
        """
        self._asked += 1
        try:
            found = path.stat()
        except (OSError, ValueError) as error:
            self._missing(path, error)
            return 0, ""
        return found.st_size, local_version(found.st_size, found.st_mtime_ns)

    def _missing(self, path: Path, error: OSError | ValueError) -> None:
        symptom, nearby = local_symptom(error), self._nearby(path)
        if not is_documents_fault(symptom, nearby, was_listed=False):
            reason = getattr(error, "strerror", None) or error
            where = (
                f"{shown(path.parent)}, which is {'empty' if nearby is Nearby.EMPTY else 'not to be read'}"
            )
            raise SourceUnavailable(f"{shown(path)}: {reason} in {where}: is it mounted?")
        if nearby is Nearby.FOLDER_MISSING:
            self._lost += 1
            self._first_lost = self._first_lost or path

    def _nearby(self, path: Path) -> Nearby:
        if path.parent not in self._folders:
            if len(self._folders) >= _MAX_FOLDERS:
                self._folders.clear()
            self._folders[path.parent] = look_around(path)
        return self._folders[path.parent]

    def refuse_if_all_are_lost(self, manifest: str) -> None:
        """Raise SourceUnavailable when no document was there, nor any of their folders."""
        if self._lost and self._lost == self._asked:
            raise SourceUnavailable(
                f"{manifest}: none of its {self._asked} documents is there, nor are their folders"
                f" ({shown(self._first_lost)}): mount them, or correct the manifest"
            )


def look_around(path: Path, is_proof: Callable[[str], bool] | None = None) -> Nearby:
    """What the folder of ``path`` shows, hidden names left aside: a mount point may hold those.

    With ``is_proof`` only a neighbour for whose path it returns True counts as seen.
    """
    try:
        with os.scandir(path.parent) as entries:
            others = (entry.path for entry in entries if _counts(entry.name) and entry.name != path.name)
            if is_proof is None:
                return Nearby.SIBLING_SEEN if next(others, None) else Nearby.EMPTY
            proven = any(map(is_proof, islice(others, MAX_TRIED)))
            return Nearby.SIBLING_SEEN if proven else Nearby.UNREACHABLE
    except (FileNotFoundError, NotADirectoryError):
        return _above(path.parent)
    except (OSError, ValueError):
        return Nearby.UNREACHABLE


def _above(folder: Path) -> Nearby:
    """What the nearest folder that is there shows."""
    for above in folder.parents:
        try:
            with os.scandir(above) as entries:
                held = any(_counts(entry.name) for entry in entries)
                return Nearby.FOLDER_MISSING if held else Nearby.EMPTY
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            break
    return Nearby.UNREACHABLE


def _counts(name: str) -> bool:
    return not name.startswith(".")
