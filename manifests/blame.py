"""Whose fault it is that a document cannot be had: its own, or that of the place it lies in.

A pure policy over evidence that whoever asked for the document gathers: what asking came to, and what a
look at the place showed at that moment. In doubt it is the place: then the job waits and stops resumable,
where a document that is blamed wrongly would be lost behind a ``failed`` row.
"""

from __future__ import annotations

import errno
from enum import Enum, auto

from manifests.errors import DocumentError


class Symptom(Enum):
    """What asking for one document came to."""

    MISSING = auto()
    """The place answers, and says that it has no such document."""
    DENIED = auto()
    """The place refuses to hand it out, or its bytes cannot be read."""
    MALFORMED = auto()
    """Nothing that the place could do would help: the address, or what stands there, is wrong in itself."""
    OUTAGE = auto()
    """Anything else: timeouts, 5xx, expired credentials, a stale mount, a folder that may not be entered."""


class Nearby(Enum):
    """What a look at the document's folder or prefix showed."""

    SIBLING_SEEN = auto()
    """Another document beside it is there; after DENIED one that can be read."""
    FOLDER_MISSING = auto()
    """The folder is not there, but the nearest one above is and holds something."""
    EMPTY = auto()
    """The folder, or the nearest one above, is there and holds nothing: so an unmounted one looks."""
    UNREACHABLE = auto()
    """The place cannot be looked at, or nothing there can be read."""


class FolderGone(DocumentError):
    """A document is missing with all its folder: no fault of its own if it was seen there before."""


def is_documents_fault(symptom: Symptom, nearby: Nearby, was_listed: bool) -> bool:
    """Whether the document is to blame, so that it becomes a failed row.

    ``was_listed`` tells that the document was seen there when the inputs were listed: then its whole folder
    was, too, and a folder that is gone since was renamed, moved or unmounted.
    """
    if symptom is Symptom.MALFORMED:
        return True
    if symptom is Symptom.OUTAGE:
        return False
    if nearby is Nearby.SIBLING_SEEN:
        return True
    return symptom is Symptom.MISSING and nearby is Nearby.FOLDER_MISSING and not was_listed


def does_not_answer(error: OSError | ValueError) -> bool:
    """Whether a local path can be neither had nor done without: anything but absent, forbidden, malformed."""
    return local_symptom(error) is Symptom.OUTAGE and not isinstance(error, PermissionError)


_MALFORMED = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ})


def local_symptom(error: OSError | ValueError) -> Symptom:
    """What looking up a local path came to. A folder on the way that may not be entered is an outage."""
    if not isinstance(error, OSError):
        return Symptom.MALFORMED  # a null byte
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Symptom.MISSING
    return Symptom.MALFORMED if error.errno in _MALFORMED else Symptom.OUTAGE
