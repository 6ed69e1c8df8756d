"""Where ``verify`` reads from: the output on a disk or S3, and the sources as they are now."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

import pyarrow as pa
from pyarrow import fs

from manifests.errors import InputError

S3 = "s3://"
SHA256 = "sha256:"


@dataclass(frozen=True, slots=True)
class VerifyS3Options:
    """How to reach S3; what is not given comes from the environment as usual."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None


class Place(Protocol):
    """An output folder, read only. Paths are relative POSIX paths. Every method may raise OSError."""

    def files(self, folder: str) -> Iterator[str]:
        """Every file below a folder, one folder's names in memory at once; none if it is not there."""

    def read(self, path: str) -> bytes | None:
        """A file's content, or None when there is no such file."""

    def open(self, path: str) -> Any:
        """A file as pyarrow reads it."""


class LocalPlace:
    """Implements ``Place`` on a disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self, folder: str) -> Iterator[str]:
        top = self._root / folder
        for parent, folders, names in os.walk(top, onerror=_raise_unless_gone):
            folders.sort()
            base = Path(parent).relative_to(self._root).as_posix()
            yield from (f"{base}/{name}" for name in sorted(names))

    def read(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str) -> Any:
        return pa.OSFile(os.fsencode(self._root / path))


class S3Place:
    """Implements ``Place`` below ``bucket/prefix``."""

    def __init__(self, filesystem: Any, base: str) -> None:
        self._filesystem = filesystem
        self._base = base.rstrip("/")

    def files(self, folder: str) -> Iterator[str]:
        """One request per folder."""
        selector = fs.FileSelector(f"{self._base}/{folder}", allow_not_found=True)
        found = sorted(self._filesystem.get_file_info(selector), key=lambda info: str(info.path))
        for info in found:
            path = str(info.path).removeprefix(f"{self._base}/")
            if info.type == fs.FileType.Directory:
                yield from self.files(path)
            elif info.type == fs.FileType.File:
                yield path

    def read(self, path: str) -> bytes | None:
        try:
            with self._filesystem.open_input_file(f"{self._base}/{path}") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def open(self, path: str) -> Any:
        return self._filesystem.open_input_file(f"{self._base}/{path}")


def open_place(out: str, s3: VerifyS3Options) -> Place:
    """The output's place. Raises InputError when there is none, or no pagefleet job in it."""
    try:
        if remote := re.match(r"(?i)s3[an]?://", out):
            base = out[remote.end() :].rstrip("/")
            place: Place = S3Place(s3_filesystem(s3, base.partition("/")[0]), base)
        else:
            if not Path(out).is_dir():
                raise InputError(f"{out!r}: no such folder: name the output folder of a pagefleet job")
            place = LocalPlace(Path(out))
        job = place.read("job.json")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{out!r}: cannot be read: {error}") from error
    if job is None:
        raise InputError(f"{out!r}: holds no pagefleet job (no job.json): name a job's output folder")
    return place


def s3_filesystem(options: VerifyS3Options, bucket: str) -> Any:
    """A client for one bucket. Raises OSError or ArrowException when there is no way to one."""
    if options.profile:
        os.environ["AWS_PROFILE"] = options.profile  # the only way to name a profile to Arrow's client
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    endpoint = options.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        return fs.S3FileSystem(
            endpoint_override=parts.netloc, scheme=parts.scheme, region=region or "us-east-1"
        )
    return fs.S3FileSystem(region=region or fs.resolve_s3_region(bucket))


@dataclass(frozen=True, slots=True)
class Drift:
    """How a source is not what was read: changed, or (a warning only) not to be seen any more."""

    changed: bool
    what: str


class Sources:
    """Compares sources with the version that was read. Safe between threads."""

    def __init__(self, s3: VerifyS3Options, check_hashes: bool) -> None:
        self._s3 = s3
        self._check_hashes = check_hashes
        self._clients: dict[str, Any] = {}
        self.s3_problem = ""

    def drift(self, uri: str, version: str) -> Drift | None:
        """None when the source is as it was read, or when nothing is known to compare."""
        if not uri or not version or (version.startswith(SHA256) and not self._check_hashes):
            return None
        try:
            now = self._s3_version(uri, version) if uri.startswith(S3) else _local_version(uri, version)
        except (FileNotFoundError, NotADirectoryError):
            return Drift(False, f"its source {uri} is no longer there")
        except (OSError, pa.ArrowException) as error:
            if uri.startswith(S3):
                self.s3_problem = f"sources on S3 were not all compared: {uri}: {error}"
                return None
            return Drift(False, f"its source {uri} cannot be looked at: {error.strerror}")
        if now in (None, version):
            return None
        return Drift(True, f"its source {uri} changed: it was {version} when read and is {now} now")

    def _s3_version(self, uri: str, version: str) -> str | None:
        if self.s3_problem:
            return None
        path = uri.removeprefix(S3)
        bucket = path.partition("/")[0]
        if bucket not in self._clients:
            self._clients[bucket] = s3_filesystem(self._s3, bucket)
        with self._clients[bucket].open_input_file(path) as file:
            if version.startswith(SHA256):
                return SHA256 + hashlib.file_digest(file, "sha256").hexdigest()
            etag = file.metadata().get("ETag", b"")
        return etag.decode().strip('"') or None


def _local_version(uri: str, version: str) -> str | None:
    """The version of a local file now, in the form of ``version``; None if it has another form."""
    path = (
        Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
        if uri.startswith("file://")
        else Path(uri)
    )
    if version.startswith(SHA256):
        with path.open("rb") as file:
            return SHA256 + hashlib.file_digest(file, "sha256").hexdigest()
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}" if re.fullmatch(r"\d+-\d+", version) else None


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
