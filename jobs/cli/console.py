"""Speaking to people and pipes so that whatever becomes of them, the work and its exit status do not suffer.

A reader that went away (``| head``), a closed or full stream, an encoding that lacks a letter: what cannot be
said is lost, the command goes on. Only what was asked for on standard output and found no room there makes a
success a failure.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from manifests.errors import ConfigError
from manifests.secrets import MASK

_HIDDEN: set[str] = set()
_GONE: set[str] = set()
"""The working directory, if it was no more when the process began."""


class _SteadyStream(io.TextIOWrapper):
    """A standard stream that never raises for what became of its other end."""

    error: OSError | None = None
    """The last that went wrong, besides a reader that went away."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._withstand(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._withstand(error)

    def settle(self) -> OSError | None:
        """Flush for the last time; what cannot be written is given up. Returns what went wrong."""
        self.flush()
        if self.error is not None:
            self._to_nowhere()
        return self.error

    def _withstand(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            self._to_nowhere()  # whatever else writes there, libraries in C too, would meet it again
        else:
            self.error = error

    def _to_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """To be called first in a process of ours: names of files become UTF-8, streams steady."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        _begin_again_in_utf8()
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a closed standard stream: the next file to be opened would have taken its place
    os.close(descriptor)
    sys.stdout = _steady(1, sys.stdout)
    sys.stderr = _steady(2, sys.stderr)
    try:
        _remember(str(Path.cwd()))
    except OSError:
        _GONE.add(os.environ.get("PWD", "?"))
        os.chdir("/")


def say(line: str) -> None:
    """One plain line for people, on standard error so that pipes stay clean. Names no secret."""
    _write(sys.stderr, line)


def answer(text: str) -> None:
    """What a command was asked for, on standard output."""
    _write(sys.stdout, text)


def hide(secrets: Iterable[str]) -> None:
    """Let nothing that is said from now on tell these."""
    _HIDDEN.update(secrets)


def settle() -> str:
    """Flush both streams for the last time. Returns what kept an answer from being written, if anything."""
    lost = [stream.settle() for stream in (sys.stdout, sys.stderr) if isinstance(stream, _SteadyStream)]
    return f"standard output cannot be written: {lost[0].strerror}" if lost and lost[0] else ""


def check_place(name: str) -> None:
    """Raise ConfigError for a relative name where there is no place it is relative to."""
    if _GONE and "://" not in name and not Path(name).is_absolute():
        raise ConfigError(
            f"{name}: the working directory ({', '.join(_GONE)}) is gone: change to one that exists, or name "
            "all files by absolute paths"
        )


def _write(stream: TextIO, text: str) -> None:
    for secret in _HIDDEN:
        text = text.replace(secret, MASK)
    stream.write(f"{text}\n")
    stream.flush()


def _steady(descriptor: int, stream: TextIO | None) -> _SteadyStream:
    """``stream`` is None where Python found the descriptor closed."""
    encoding = stream.encoding if stream is not None else "utf-8"
    return _SteadyStream(
        open(descriptor, "wb", closefd=False),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


def _remember(place: str) -> None:
    """The working directory may be removed while we run. Libraries ask where they are, and do not expect to
    be nowhere: they are told where that was."""
    real = os.getcwd

    def getcwd() -> str:
        try:
            return real()
        except OSError:
            return place

    os.getcwd = getcwd


def _begin_again_in_utf8() -> None:
    """Names of documents are Unicode, and files are named by them: a locale must not forbid that. What is
    said keeps the locale's encoding."""
    encoding = sys.stderr.encoding if sys.stderr is not None else "utf-8"
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (this very command)
