"""Local files that manifests name: their sizes, and whether those that are missing have lost their place."""

from __future__ import annotations

from pathlib import Path

from manifests.blame import Place, is_documents_fault, local_symptom
from manifests.errors import SourceUnavailable
from manifests.identity import shown
from manifests.places import look_around
from manifests.sources import local_version

_MAX_FOLDERS = 10_000
"""Folders of missing files that are remembered."""


class LocalStats:
    """Asks the files that one pass over a manifest names, and looks at each missing one's folder once."""

    def __init__(self) -> None:
        self._asked = 0
        self._lost = 0
        self._first_lost: Path | None = None
        self._folders: dict[Path, Place] = {}

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
        symptom, place = local_symptom(error), self._place(path)
        if not is_documents_fault(symptom, place, was_listed=False):
            reason = getattr(error, "strerror", None) or error
            where = f"{shown(path.parent)}, which is {'empty' if place is Place.EMPTY else 'not to be read'}"
            raise SourceUnavailable(f"{shown(path)}: {reason} in {where}: is it mounted?")
        if place is Place.FOLDER_MISSING:
            self._lost += 1
            self._first_lost = self._first_lost or path

    def _place(self, path: Path) -> Place:
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
