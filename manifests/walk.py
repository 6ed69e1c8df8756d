"""Walking folders, matching globs, and counting what is left out on the way."""

from __future__ import annotations

import difflib
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from manifests.blame import does_not_answer
from manifests.errors import SourceUnavailable
from manifests.files import open_regular
from manifests.identity import shown

JOB_FILE = "job.json"


@dataclass(slots=True)
class Tally:
    """What one pass left out, counted, with the first few names of each sort."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str) -> None:
        """Count one more of the sort ``what``."""
        self.counts[what] += 1
        if self.counts[what] <= 3:
            self.examples.setdefault(what, []).append(shown(name))

    def sentences(self) -> list[str]:
        """One for each sort, in the order met: ``folders that cannot be read (1): locked/ (…)``."""
        return [self._sentence(what, count) for what, count in self.counts.items()]

    def _sentence(self, what: str, count: int) -> str:
        named = self.examples[what]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        return f"{what} ({count}): {', '.join(named)}{more}"


def walk(base: str, pattern: tuple[str, ...], tally: Tally) -> Iterator[str]:
    """Paths below ``base`` of all files in folders that ``pattern`` may reach, hidden ones left out.

    Relative to ``base``; a folder's files sorted by name, then its folders. ``("**",)`` reaches
    everything; any other pattern the files have yet to match. A linked folder is followed once, and
    not at all where it leads back up or, when everything is read anyway, to another place below
    ``base``. A folder that may not be read goes to ``tally``; raises SourceUnavailable if ``base`` is not
    there or a folder does not answer: what would be left out unseen is not missing.
    """
    try:
        seen = {_inode(base)}
    except OSError as error:
        raise SourceUnavailable(_lost(base, error)) from error
    real_base = str(Path(base).resolve())
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            files, folders = _scan(posixpath.join(base, inside))
        except OSError as error:
            if does_not_answer(error) or (not inside and not isinstance(error, PermissionError)):
                raise SourceUnavailable(_lost(posixpath.join(base, inside), error)) from error
            tally.add("folders that cannot be read", f"{inside or base} ({error.strerror})")
            continue
        if is_output(posixpath.join(base, inside), files):
            tally.add("outputs of pagefleet, not read", inside or base)
            continue
        yield from (inside + name for name in files)
        inner = [
            inside + name
            for name in folders
            if _may_hold(inside + name, pattern)
            and _is_new(posixpath.join(base, inside + name), real_base, pattern == ("**",), seen)
        ]
        waiting += [f"{path}/" for path in reversed(inner)]


def is_output(folder: str, files: Sequence[str]) -> bool:
    """Whether a folder is a job's output: the page images it may hold are no input, least of all of
    the job that reads the folder around it."""
    if JOB_FILE not in files:
        return False
    try:
        with open_regular(Path(folder, JOB_FILE)) as file:
            return b'"fingerprint"' in file.read(64)
    except OSError:
        return False


def _lost(folder: str, error: OSError) -> str:
    reason = error.strerror or error
    return f"{shown(folder)}: cannot be listed: {reason}: was it renamed, or is it not mounted?"


def _scan(folder: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in a folder, each sorted."""
    files, folders = list[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if _is_folder(entry) else files).append(entry.name)
    return sorted(files), sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where we may not look
        return False


def _inode(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def _is_new(path: str, real_base: str, reads_all: bool, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is to be entered; remembers that it was."""
    try:
        if Path(path).is_symlink():
            target = str(Path(path).resolve())
            leads_up = f"{real_base}/".startswith(target.rstrip("/") + "/")
            if leads_up or (reads_all and within(real_base, target)):
                return False
        inode = _inode(path)
    except OSError:
        return True  # scanning it fails too, and tells
    if inode in seen:
        return False
    seen.add(inode)
    return True


def matches(name: str, pattern: tuple[str, ...]) -> bool:
    """Whether a relative path matches a glob, given by components; ``**`` stands for any number of them.

    Case counts, and ``*`` stays within its component.
    """
    return _parts_match(tuple(name.split("/")), pattern)


def _parts_match(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _parts_match(parts, pattern[1:]) or (bool(parts) and _parts_match(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _parts_match(parts[1:], pattern[1:])


def _may_hold(folder: str, pattern: tuple[str, ...]) -> bool:
    """Whether files that match may lie below a folder."""
    parts = folder.split("/")
    for part, wanted in zip(parts, pattern, strict=False):
        if wanted == "**":
            return True
        if not fnmatchcase(part, wanted):
            return False
    return len(parts) < len(pattern)


def within(base: str, path: str) -> bool:
    """Whether walking ``base`` comes by ``path``: it is below, and nothing on the way is hidden."""
    inside = path.removeprefix(base.rstrip("/") + "/")
    return path == base or (inside != path and not any(part.startswith(".") for part in inside.split("/")))


def suggestion(path: Path) -> str:
    """A near name for the first component of an absolute path that does not exist.

    It ends a message (``: did you mean …?``); ``""`` if nothing is near or the folder cannot be read.
    """
    missing = path
    while not missing.parent.exists() and missing.parent != missing:
        missing = missing.parent
    try:
        with os.scandir(missing.parent) as entries:
            names = [entry.name for entry in islice(entries, 5000)]
    except OSError:
        return ""
    near = difflib.get_close_matches(missing.name, names, n=1)
    return f": did you mean {shown(missing.parent / near[0])!r}?" if near else ""
