"""Where a local Ray may put its sockets: their paths are short, whatever TMPDIR says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from manifests.errors import ConfigError, JobError

MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path (unix(7): 108 with the zero at its end)."""
BELOW = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""What Ray adds to the folder, with the longest process id."""
MAX_LENGTH = MAX_SOCKET_PATH - BELOW
ALTERNATIVES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - Ray makes folders of its own there


def choose(env: Mapping[str, str]) -> str:
    """The folder for ``RAY_TMPDIR``, empty where Ray's own choice (TMPDIR, else ``/tmp``) will do.

    Raises ConfigError where the user has set ``RAY_TMPDIR`` to one that cannot be used, JobError where
    there is none at all.
    """
    if (named := env.get("RAY_TMPDIR")) is not None:
        if problem := problem_of(named):
            raise ConfigError(
                f"RAY_TMPDIR={named!r}: {problem}; name a writable folder of at most {MAX_LENGTH} bytes, "
                "or unset it"
            )
        return ""
    own = env.get("TMPDIR", "/tmp")  # noqa: S108 - as Ray does
    if not (problem := problem_of(own)):
        return ""
    for folder in ALTERNATIVES:
        if not problem_of(folder):
            return folder
    raise JobError(
        f"Ray finds no folder for its sockets (TMPDIR={own!r}: {problem}): set RAY_TMPDIR to a "
        f"writable folder whose path has at most {MAX_LENGTH} bytes, or read with --single-process"
    )


def problem_of(folder: str) -> str:
    """Why Ray cannot put its sockets below a folder, empty when it can."""
    if not folder:
        return "no name"
    if len(os.fsencode(folder)) > MAX_LENGTH:
        return "its path is too long for sockets"
    below = Path(folder) / "ray"
    try:
        tempfile.TemporaryDirectory(dir=below if below.exists() else folder).cleanup()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""
