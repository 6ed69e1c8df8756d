"""Opening files that users name: what is no regular file is refused before it can hang whoever reads it."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


class NotRegular(OSError):
    """What was to be read is a pipe, a device or a socket. ``strerror`` says which, and what to do."""


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading. Raises OSError; NotRegular for what is neither a file nor a folder.

    A pipe without a writer would hold up ``open`` for good: it is looked at first, and then opened without
    waiting in case it was exchanged meanwhile.
    """
    _refuse_irregular(os.stat(path), path)  # noqa: PTH116  opening a device can act on it
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse_irregular(os.fstat(descriptor), path)
        return open(descriptor, "rb")  # noqa: PTH123  the caller closes it
    except BaseException:
        os.close(descriptor)
        raise


def irregular_kind(mode: int) -> str:
    """What a file is that is neither regular nor a folder: ``a pipe``; ``""`` for the other two."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _refuse_irregular(found: os.stat_result, path: str | Path) -> None:
    if kind := irregular_kind(found.st_mode):
        raise NotRegular(
            errno.EINVAL, f"is {kind}, not a regular file: write its content to a file", str(path)
        )
