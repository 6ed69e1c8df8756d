"""Local files for documents wherever they are: a node-local, byte-bounded cache of remote sources."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from actors.sources.files import CachedSource, CacheFiles
from actors.sources.local import LocalFiles, unreadable
from manifests.blame import FolderGone
from manifests.documents import Document
from manifests.errors import DocumentError, SourceUnavailable
from manifests.sources import RemoteSource, SourceStat, local_version

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """A document as a local file, with the bytes and the version that were found."""

    path: Path
    stat: SourceStat


class SourceCache:
    """Finds documents, and fetches remote ones at most once per node. Picklable; connects lazily.

    Entries are keyed by address and ``document.version``; where the listing did not know a version,
    by address and ``run_key``, so that another run looks again. Least recently used files are
    removed beyond ``max_bytes``, but never the one just fetched.
    """

    def __init__(
        self, cache_dir: str, max_bytes: int, remote: Mapping[str, RemoteSource], run_key: str = ""
    ) -> None:
        self._cache_dir = cache_dir
        self._max_bytes = max_bytes
        self._remote = remote
        self._run_key = run_key
        self._local = LocalFiles()

    def locate(self, document: Document, max_source_bytes: int) -> LocatedSource:
        """The document, of one source, as a local file; a cached one costs no request.

        A file in the cache may be evicted by another process before it is opened: locate it again.
        Raises DocumentError for what is wrong with this document (not found beside others that are, not
        allowed, empty, too large, wrong sha256), SourceUnavailable when it cannot be had for any other
        reason, a full disk included, and JobError when the cache cannot be used at all.
        """
        if document.sources:
            raise DocumentError(f"{document.uri}: is one of {len(document.sources)} images of a page")
        if _SCHEME.match(document.uri) and not document.uri.startswith("file://"):
            located = self._locate_remote(document, max_source_bytes)
        else:
            located = self._locate_local(document, max_source_bytes)
            if document.sha256:
                self._verify_local(document, located)
        if not document.sha256:
            return located
        return replace(located, stat=SourceStat(located.stat.size, _sha256_version(document)))

    def _locate_remote(self, document: Document, max_source_bytes: int) -> LocatedSource:
        files = self._files()
        key = _key(document.uri, document.version or f"run {self._run_key}")
        entry = files.get(key)
        if entry is None or (document.sha256 and entry.sha256 != document.sha256.lower()):
            with files.locked(key):
                entry = self._fetch_or_verify(files, key, document, max_source_bytes)
        _check_size(document.uri, entry.stat.size, max_source_bytes)
        files.touch(key)
        return LocatedSource(files.path(key), entry.stat)

    def _fetch_or_verify(
        self, files: CacheFiles, key: str, document: Document, max_source_bytes: int
    ) -> CachedSource:
        """With the entry locked: what another process fetched meanwhile, else fetch it."""
        entry = files.get(key)
        if entry is None:
            source, part = self._remote_source(document.uri), files.partial_path(key)
            with _blamed(document):
                size = document.size or source.stat(document.uri).size
                _check_size(document.uri, size, max_source_bytes)
                fetched = files.fitted(lambda: source.fetch(document.uri, part), size, key)
            entry = CachedSource(fetched, _verified(part, document))
            files.add(key, entry)
        elif document.sha256 and entry.sha256 != document.sha256.lower():
            entry = CachedSource(entry.stat, _verified(files.path(key), document))
            files.write_entry(key, entry)
        return entry

    def _locate_local(self, document: Document, max_source_bytes: int) -> LocatedSource:
        path, found = self._local.find(document)
        _check_size(document.uri, found.st_size, max_source_bytes)
        version = local_version(found.st_size, found.st_mtime_ns)
        return LocatedSource(path, SourceStat(found.st_size, version))

    def _verify_local(self, document: Document, located: LocatedSource) -> None:
        """Read a local file's content once per node and version, and remember that it was right."""
        files = self._files()
        key = _key(document.uri, located.stat.version, document.sha256.lower())
        if files.has_note(key):
            return
        with files.locked(key):
            if not files.has_note(key):
                files.write_entry(key, CachedSource(located.stat, _verified(located.path, document)))

    def _remote_source(self, uri: str) -> RemoteSource:
        scheme = uri.partition("://")[0].lower()
        try:
            return self._remote[scheme]
        except KeyError:
            known = ", ".join(f"{name}://" for name in sorted(self._remote)) or "local paths only"
            raise DocumentError(f"{uri}: cannot read {scheme}:// addresses; known: {known}") from None

    def _files(self) -> CacheFiles:
        folder = Path(self._cache_dir) if self._cache_dir else default_cache_dir()
        return CacheFiles(folder, self._max_bytes, private=not self._cache_dir)


def default_cache_dir() -> Path:
    """This user's cache below the temporary folder."""
    return Path(tempfile.gettempdir()) / f"pagefleet-cache-{os.getuid()}"


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def _sha256_version(document: Document) -> str:
    return f"sha256:{document.sha256.lower()}"


@contextmanager
def _blamed(document: Document) -> Iterator[None]:
    """A folder that is gone is no fault of a document that was listed in it."""
    try:
        yield
    except FolderGone as error:
        if document.was_listed:
            raise SourceUnavailable(str(error)) from error
        raise


def _check_size(uri: str, size: int, max_source_bytes: int) -> None:
    if size == 0:
        raise DocumentError(f"{uri}: the file is empty")
    if size > max_source_bytes:
        raise DocumentError(
            f"{uri}: has {size:,} bytes, more than the {max_source_bytes:,} allowed (render.max_source_bytes)"
        )


def _verified(path: Path, document: Document) -> str:
    """The sha256 of a file, where the document gives one. Raises DocumentError when they differ."""
    if not document.sha256:
        return ""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, document.uri, error) from error
    if found != document.sha256.lower():
        raise DocumentError(f"{document.uri}: its sha256 is {found}, the manifest says {document.sha256}")
    return found
