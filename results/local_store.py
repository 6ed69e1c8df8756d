"""The store on a local or shared folder: temporary file, fsync, then one atomic link or rename."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from manifests.errors import StoreError
from manifests.files import open_regular
from results.store import TEMPORARY, Created, Entry, object_path

T = TypeVar("T")

STALE_S = 3600.0
COPY_BYTES = 2**20
_LOCK = "lock"
_FOLDER_RACES = 100  # a parent folder can vanish under a writer once per concurrent delete
_SAFE = "and run the same command again; nothing stored is lost"
_NO_PERMISSION = "no permission for {where}: grant this user access or choose another output folder"
_NO_LINKS = (
    "the file system of {where} has no hard links, so that nothing can be created exactly once:"
    " put the output on a local disk, NFS or s3://"
)

_CAUSES = {
    errno.ENOSPC: f"no space left on {{where}}: free space {_SAFE}",
    errno.EDQUOT: f"disk quota exceeded at {{where}}: free space or raise the quota {_SAFE}",
    errno.EROFS: f"read-only file system at {{where}}: mount it writable {_SAFE}",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.ENAMETOOLONG: "name too long at {where}: shorten the document's id or the output folder's path",
    errno.ENOTDIR: "a file stands where {where} needs a folder: move it away or choose another output folder",
    errno.EISDIR: "a folder stands at {where} where a file belongs: move it away or choose another output",
    errno.EXDEV: "{where} is on another file system than the output folder: keep all of it on one",
    errno.EIO: f"the disk reports an input/output error at {{where}}: check it {_SAFE}",
    errno.ESTALE: f"stale network file handle at {{where}}: mount the file system again {_SAFE}",
    errno.EMFILE: f"too many open files at {{where}}: raise the limit (ulimit -n) {_SAFE}",
    errno.ENOLCK: "no file locks on the file system of {where}: mount it with locking or choose another",
    errno.ELOOP: "symbolic links go round in a circle at {where}: remove them from the output folder",
}


class LocalStore:
    """The ``Store`` protocol on a folder, safe between threads, processes and NFS clients.

    Objects are written to ``.tmp`` and linked (create) or renamed (replace) into place, so a reader
    sees whole objects only. Creates and replaces are on disk when they return; a delete may come back
    after a power cut. Every OSError becomes a StoreError that names the path and the remedy.
    """

    def __init__(self, root: str | Path) -> None:
        self._written = str(root)
        self._root = Path(root).absolute()  # a worker in another working folder means the same place
        self._temporary = self._root / TEMPORARY

    @property
    def root(self) -> str:
        """The root as the user wrote it, for messages."""
        return self._written

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose path starts with ``prefix``, sorted; one folder's names in memory."""
        folder = prefix.rpartition("/")[0]
        start = self._root / object_path(folder) if folder else self._root
        with _explained(start):
            yield from self._walk(start, f"{folder}/" if folder else "", prefix)

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Content and version, or None when there is no such object."""
        return self._read(path, None)

    def read_tail(self, path: str, size: int) -> bytes | None:
        """The last ``size`` bytes (all of a shorter object), or None when there is no such object."""
        found = self._read(path, size)
        return None if found is None else found[0]

    def create(self, path: str, data: bytes) -> Created:
        """Write only if nothing is there; exactly one of any number of writers gets CREATED."""
        return self._create(path, self._temporary_file(data))

    def replace(self, path: str, data: bytes, if_match: str | None = None) -> str | None:
        """Write over what is there and return the new version, or None when ``if_match`` does not hold."""
        return self._replace(path, self._temporary_file(data), if_match)

    def create_file(self, path: str, file: Path) -> Created:
        """See ``Store``. A file on the store's own file system is linked, not copied."""
        return self._create(path, self._temporary_link(file))

    def replace_file(self, path: str, file: Path, if_match: str | None = None) -> str | None:
        """See ``Store``. A file on the store's own file system is linked, not copied."""
        return self._replace(path, self._temporary_link(file), if_match)

    @contextmanager
    def local_file(self, path: str) -> Iterator[Path | None]:
        """The object's own file: once opened, it stays what it was whatever becomes of the object."""
        target = self._target(path)
        with _explained(target):
            found = _version_at(target) is not None
        yield target if found else None

    @contextmanager
    def scratch_file(self) -> Iterator[Path]:
        """A name below ``.tmp``, so that what is written there can be linked into its place."""
        with _explained(self._temporary):
            scratch = self._temporary_name()
        try:
            yield scratch
        except OSError as error:
            raise _explanation(scratch, error) from error
        finally:
            with suppress(OSError):
                scratch.unlink()

    def delete(self, path: str) -> None:
        """Remove the object and the folders it leaves empty; no error when it is already gone."""
        target = self._target(path)
        with _explained(target):
            if _version_at(target) is None:
                return
            with self._locked(), suppress(FileNotFoundError):
                target.unlink()
            with suppress(OSError):  # not empty, or gone already
                for folder in target.relative_to(self._root).parents[:-1]:
                    (self._root / folder).rmdir()

    def sweep(self) -> int:
        """Remove temporary files that no living writer can own (older than an hour); tell how many."""
        count = 0
        with _explained(self._temporary), suppress(FileNotFoundError):
            for file in self._temporary.iterdir():
                with suppress(FileNotFoundError):  # another process sweeps too
                    if file.name != _LOCK and file.stat().st_mtime < time.time() - STALE_S:
                        file.unlink()
                        count += 1
        return count

    def _create(self, path: str, content: AbstractContextManager[Path]) -> Created:
        target = self._target(path)
        with _explained(target):
            if _is_taken(target):
                return Created.EXISTS
            with content as temporary:
                return _placed(target, lambda: _link(temporary, target))

    def _replace(self, path: str, content: AbstractContextManager[Path], if_match: str | None) -> str | None:
        target = self._target(path)
        with _explained(target):
            if if_match is not None and _version_at(target) != if_match:
                return None
            # What is replaced under a condition is never replaced without one: only those need the lock.
            lock = self._locked() if if_match is not None else nullcontext()
            with content as temporary, lock:
                if if_match is not None and _version_at(target) != if_match:
                    return None
                version = _version(temporary.stat())
                _placed(target, lambda: temporary.replace(target))
                return version

    def _target(self, path: str) -> Path:
        return self._root / object_path(path)

    def _temporary_name(self) -> Path:
        _make_folder(self._temporary)
        return self._temporary / f"{os.getpid()}-{uuid.uuid4().hex}"

    def _read(self, path: str, tail: int | None) -> tuple[bytes, str] | None:
        target = self._target(path)
        with _explained(target):
            try:
                file = open_regular(target)  # a pipe named job.json would hold us up for good
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            with file:
                info = os.fstat(file.fileno())  # of what we read: files are never changed in place
                if tail is not None:
                    file.seek(max(0, info.st_size - max(0, tail)))
                return file.read(), _version(info)

    def _walk(self, folder: Path, base: str, prefix: str) -> Iterator[Entry]:
        """Depth first. A folder sorts by its name with the slash, so that whole paths come sorted."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name + "/" * entry.is_dir())
        except FileNotFoundError:
            return  # never written, or emptied by a delete while we walk
        except NotADirectoryError:
            if folder == self._root:
                raise
            return  # an object named like the prefix's folder has nothing below it
        for entry in entries:
            path = base + entry.name
            if path == TEMPORARY:
                continue
            if entry.is_dir():
                if f"{path}/".startswith(prefix):
                    yield from self._walk(folder / entry.name, f"{path}/", prefix)
            elif path.startswith(prefix):
                with suppress(FileNotFoundError):
                    info = entry.stat()
                    yield Entry(path, info.st_size, _version(info))

    @contextmanager
    def _temporary_file(self, data: bytes) -> Iterator[Path]:
        """A file on disk with ``data``, on the root's file system; gone at the end unless renamed."""
        temporary = self._temporary_name()
        try:
            with temporary.open("xb") as file:
                file.write(data)
                _finish(file)
            yield temporary
        finally:
            with suppress(OSError):  # the error under way matters more; sweep() takes what stays
                temporary.unlink()

    @contextmanager
    def _temporary_link(self, source: Path) -> Iterator[Path]:
        """A second name for a file, or a copy where there can be none; gone at the end unless renamed."""
        temporary = self._temporary_name()
        try:
            try:
                os.link(source, temporary)
                if source.parent == self._temporary:  # a scratch file, not yet on disk for sure
                    with temporary.open("rb+") as file:
                        _finish(file)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                with source.open("rb") as content, temporary.open("xb") as file:
                    shutil.copyfileobj(content, file, COPY_BYTES)
                    _finish(file)
            yield temporary
        finally:
            with suppress(OSError):
                temporary.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The store's lock. ``flock``, since POSIX locks do not hold between threads of a process."""
        _make_folder(self._temporary)
        fd = os.open(self._temporary / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)  # closing alone leaves it with a child forked meanwhile
            os.close(fd)


def _finish(file: BinaryIO) -> None:
    """The file is on disk. Its time is set by us: two writes within one tick of the file system's clock
    differ in version."""
    file.flush()
    now = time.time_ns()
    os.utime(file.fileno(), ns=(now, now))
    os.fsync(file.fileno())


def _version(info: os.stat_result) -> str:
    return f"{info.st_mtime_ns}-{info.st_size}-{info.st_ino}"


def _version_at(target: Path) -> str | None:
    """The version of the object at ``target``; None when there is none, or a folder."""
    try:
        info = target.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISDIR(info.st_mode) else _version(info)


def _is_taken(target: Path) -> bool:
    """Whether an object is there. Raises IsADirectoryError for a folder."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    return _version_at(target) is not None


def _link(temporary: Path, target: Path) -> Created:
    try:
        os.link(temporary, target)
    except FileExistsError:
        # NFS repeats a link whose answer was lost: then the link that stands in the way is ours.
        return Created.CREATED if temporary.samefile(target) else Created.EXISTS
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise StoreError(_NO_LINKS.format(where=target)) from error
        raise
    return Created.CREATED


def _placed(target: Path, place: Callable[[], T]) -> T:
    """``place()`` once the target's folder exists, made again when a delete takes it away; then synced."""
    for left in reversed(range(_FOLDER_RACES)):
        try:
            _make_folder(target.parent)
            answer = place()
            break
        except FileNotFoundError:
            if not left:
                raise
    _sync_folder(target.parent)
    return answer


def _make_folder(folder: Path) -> None:
    """Like ``mkdir -p``, with every new name on disk. A file in the way shows when it is used."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    with suppress(FileNotFoundError):  # emptied and removed meanwhile
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
                raise
        finally:
            os.close(fd)


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    """Raise StoreError, cause and remedy in words, for every OSError about ``where``."""
    try:
        yield
    except OSError as error:
        raise _explanation(where, error) from error


def _explanation(where: Path, error: OSError) -> StoreError:
    cause = _CAUSES.get(error.errno or 0)
    if cause is None:
        cause = f"cannot use {{where}}: {error.strerror or error}: check the output folder {_SAFE}"
    return StoreError(cause.format(where=where))
