"""The files of the source cache: entries, their locks, and least-recently-used eviction.

For each key the folder holds the fetched file ``<key>``, its facts ``<key>.json`` (an entry exists
when both do; facts alone are a note that a local file was verified), ``<key>.part`` while it is being
fetched and ``<key>.lock`` while somebody holds the key. ``used`` is the sum of all bytes, kept so
that the folder is listed only when it is full; listing it corrects the sum.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from manifests.errors import JobError, SourceUnavailable
from manifests.sources import SourceStat

T = TypeVar("T")
_FULL = (errno.ENOSPC, errno.EDQUOT)

NOTE_BYTES = 4096
"""What a small file is counted as."""
KEEP_FRACTION = 0.9
"""A full cache is emptied down to this, so that it is not listed for every fetch."""


@dataclass(frozen=True, slots=True)
class CachedSource:
    """What was fetched, and the sha256 it was found to have (``""``: never asked)."""

    stat: SourceStat
    sha256: str = ""


class CacheFiles:
    """One cache folder, shared by all processes of a node.

    Raises JobError when the folder cannot be used: that is no fault of a document.
    """

    def __init__(self, folder: Path, max_bytes: int, private: bool) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        with self._usable():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if private and folder.lstat().st_uid != os.getuid():
                raise JobError(f"source cache {folder} belongs to another user: set render.cache_dir")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Raise an OSError as the error with the remedy: a full disk may pass, all else stops the job."""
        try:
            yield
        except OSError as error:
            kind = SourceUnavailable if error.errno in _FULL else JobError
            raise kind(
                f"source cache {self._folder}: {error.strerror or error};"
                " free space there or set render.cache_dir"
            ) from error

    def fitted(self, write: Callable[[], T], needed_bytes: int, key: str) -> T:
        """Run what writes to the folder for ``key``; where the disk is full, evict older entries for it.

        Of the processes that find the disk full one writes at a time, so that no half-fetched files keep
        one another from fitting. Raises SourceUnavailable when nothing is left to evict.
        """
        with self._usable():
            try:
                return write()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
            with self._alone():
                while True:
                    freed = self._evict(key, max(1, needed_bytes))
                    try:
                        return write()
                    except OSError as error:
                        if error.errno not in _FULL or not freed:
                            raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder against others that found the disk full. The folder itself can be locked: a
        lock file might not fit any more."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def path(self, key: str) -> Path:
        """Where the fetched file of a key is."""
        return self._folder / key

    def partial_path(self, key: str) -> Path:
        """Where to fetch to; only while the key is locked."""
        return self._folder / f"{key}.part"

    def get(self, key: str) -> CachedSource | None:
        """The entry, if its file is here too."""
        entry = self._read_facts(key)
        return entry if entry and self.path(key).exists() else None

    def has_note(self, key: str) -> bool:
        """Whether facts were written for the key, with or without a file."""
        return self._read_facts(key) is not None

    def touch(self, key: str) -> None:
        """Mark as used now. The file may be gone already, and a disk too full to note it."""
        with suppress(OSError):
            os.utime(self.path(key))

    def add(self, key: str, entry: CachedSource) -> None:
        """Make the partial file the entry's; then evict others while there are too many bytes."""
        with self._usable():
            self.partial_path(key).replace(self.path(key))
        self.write_entry(key, entry, entry.stat.size)

    def write_entry(self, key: str, entry: CachedSource, file_bytes: int = 0) -> None:
        """Write the facts of a key that is locked, and count what was added."""
        facts = {"size": entry.stat.size, "version": entry.stat.version, "sha256": entry.sha256}
        temporary = self._folder / f"{key}.facts"

        def write() -> None:
            temporary.write_text(json.dumps(facts))
            temporary.replace(self._facts_path(key))

        self.fitted(write, NOTE_BYTES, key)
        with self._usable():
            self._count(file_bytes + NOTE_BYTES, keep=key)

    def _facts_path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _read_facts(self, key: str) -> CachedSource | None:
        try:
            facts = json.loads(self._facts_path(key).read_text())
            return CachedSource(SourceStat(facts["size"], facts["version"]), facts["sha256"])
        except (FileNotFoundError, ValueError, KeyError):
            return None

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold a key; other processes wait. The lock of a killed process is free at once."""
        path = self._folder / f"{key}.lock"
        descriptor = self.fitted(lambda: _lock(path), NOTE_BYTES, key)
        try:
            yield
        finally:
            self.partial_path(key).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _count(self, added_bytes: int, keep: str) -> None:
        """Add to the sum of bytes, and make room when it is beyond the limit.

        A sum that cannot be written is empty, which counts as a full cache: the next one counts anew.
        """
        with suppress(OSError), (self._folder / "used").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            used = added_bytes + (int(text) if text.isdecimal() else self._max_bytes)
            file.truncate(0)
            if used > self._max_bytes:
                used = self._evict_down(keep)
            file.write(str(used))

    def _evict_down(self, keep: str) -> int:
        """Evict until what is left is well below the limit; returns what is left."""
        found = self._listing()
        used = sum(size for _, size in found.values())
        return used - self._remove_oldest(found, keep, used - int(self._max_bytes * KEEP_FRACTION))

    def _evict(self, keep: str, wanted_bytes: int) -> int:
        """Evict until so many bytes are free; returns how many are, 0 when there is nothing to evict.

        The sum of bytes is not told, which only makes the folder be listed sooner.
        """
        return self._remove_oldest(self._listing(), keep, wanted_bytes)

    def _remove_oldest(self, found: dict[str, tuple[float, int]], keep: str, wanted_bytes: int) -> int:
        """Remove the least recently used keys for so many bytes; returns how many bytes they had."""
        freed = 0
        for key in sorted(found, key=lambda key: found[key][0]):
            if freed >= wanted_bytes:
                break
            if key != keep:
                self._facts_path(key).unlink(missing_ok=True)
                self.path(key).unlink(missing_ok=True)
                freed += found[key][1]
        return freed

    def _listing(self) -> dict[str, tuple[float, int]]:
        """Last use and bytes of every key; parts left by killed processes are removed on the way."""
        found: dict[str, tuple[float, int]] = {}
        for item in os.scandir(self._folder):
            key, _, suffix = item.name.partition(".")
            if suffix in ("part", "facts"):
                self._remove_stale(key, suffix)
            elif suffix in ("", "json") and len(key) == 64:
                with suppress(FileNotFoundError):
                    status = item.stat()
                    used_at, size = found.get(key, (0.0, 0))
                    size += NOTE_BYTES if suffix else status.st_size
                    found[key] = max(used_at, status.st_mtime), size
        return found

    def _remove_stale(self, key: str, suffix: str) -> None:
        """Remove what a killed process left half-written, unless somebody holds the key."""
        path = self._folder / f"{key}.lock"
        with suppress(OSError):
            descriptor = _lock(path, wait=False)
            (self._folder / f"{key}.{suffix}").unlink(missing_ok=True)
            path.unlink()
            os.close(descriptor)


def _lock(path: Path, wait: bool = True) -> int:
    """Lock a file that its holder removes: what was locked must still be what has the name."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
