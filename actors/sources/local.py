"""Finding documents on local and mounted file systems, and telling whose fault it is when that fails."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from manifests.blame import Nearby, Symptom, is_documents_fault, local_symptom
from manifests.documents import Document, local_path
from manifests.errors import DocumentError, SourceUnavailable
from manifests.files import irregular_kind, open_regular
from manifests.local_files import look_around

_REFUSED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a document was not had."""

    symptom: Symptom
    reason: str


class LocalFiles:
    """Finds local documents, and remembers the last one found as a witness for the next. Picklable."""

    def __init__(self) -> None:
        self._witness: Path | None = None

    def find(self, document: Document) -> tuple[Path, os.stat_result]:
        """The document's path and what it is, once it has been opened for a moment.

        Raises DocumentError for what is wrong with this document, SourceUnavailable for everything else. A
        document is blamed only when it cannot be had before *and* after another one beside it could.
        """
        path = local_path(document.uri)
        first = found = _ask(path)
        if isinstance(first, _Refusal):
            nearby = self._look_around(path, first.symptom)
            found = _ask(path)
            if isinstance(found, _Refusal):
                symptom = found.symptom if found.symptom is first.symptom else Symptom.OUTAGE
                raise _error(document, path, _Refusal(symptom, found.reason), nearby)
        assert not isinstance(found, _Refusal)  # noqa: S101  for the type checker
        self._witness = path
        return path, found

    def _look_around(self, path: Path, symptom: Symptom) -> Nearby:
        """Evidence about the place. A file that may not be read is measured by one that may."""
        if symptom is not Symptom.DENIED:
            return look_around(path)
        witness = self._witness
        if witness and witness != path and _on_one_device(witness, path) and _may_be_read(str(witness)):
            return Nearby.SIBLING_SEEN
        return look_around(path, _may_be_read)


def unreadable(path: Path, uri: str, error: OSError) -> DocumentError | SourceUnavailable:
    """The error for a document that was found, and then could not be read.

    The document is to blame where its own bytes are (a damaged sector, ``EIO``) while a file beside it
    can be read.
    """
    reason = error.strerror or str(error)
    if error.errno in (errno.EIO, *_REFUSED) and look_around(path, _may_be_read) is Nearby.SIBLING_SEEN:
        return DocumentError(f"cannot be read: {reason}")
    return SourceUnavailable(f"{uri}: cannot be read at present: {reason}")


def _ask(path: Path) -> os.stat_result | _Refusal:
    try:
        found = os.stat(path)  # noqa: PTH116  the same call as everywhere else in finding documents
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file" if missing else getattr(error, "strerror", None) or str(error)
        return _Refusal(local_symptom(error), reason)
    if stat.S_ISDIR(found.st_mode):
        return _Refusal(Symptom.MALFORMED, "is a directory; give its files, or the directory as an input")
    if kind := irregular_kind(found.st_mode):
        return _Refusal(Symptom.MALFORMED, f"is {kind}, not a regular file")
    try:
        open_regular(path).close()
    except OSError as error:
        if error.errno in _REFUSED:
            return _Refusal(Symptom.DENIED, "permission denied")
        return _Refusal(local_symptom(error), error.strerror or str(error))
    return found


def _error(
    document: Document, path: Path, refusal: _Refusal, nearby: Nearby
) -> DocumentError | SourceUnavailable:
    if is_documents_fault(refusal.symptom, nearby, document.was_listed):
        return DocumentError(f"{document.uri}: {refusal.reason}")
    remedy = {
        Nearby.EMPTY: f": its folder {path.parent} is empty: is it mounted?",
        Nearby.FOLDER_MISSING: f": its folder {path.parent} is gone: was it renamed, or is it not mounted?",
        Nearby.UNREACHABLE: f": nothing in its folder {path.parent} can be read either",
        Nearby.SIBLING_SEEN: " at present",
    }
    return SourceUnavailable(f"{document.uri}: {refusal.reason}{remedy[nearby]}")


def _on_one_device(one: Path, other: Path) -> bool:
    try:
        return os.stat(one).st_dev == os.stat(other).st_dev  # noqa: PTH116
    except OSError:
        return False


def _may_be_read(path: str) -> bool:
    """Whether it is a file from which a byte can be read now, or an empty one."""
    try:
        with open_regular(path) as file:
            file.read(1)
    except (OSError, ValueError):
        return False
    return True
