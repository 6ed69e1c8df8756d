"""The store on S3: conditional PUTs, and a nonce that tells a write of ours whose answer was lost."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from aws.attempts import Broken, body_reads, error_code, is_missing, read, retries
from aws.client import connect, etag, objects, split_uri
from aws.explain import explained
from aws.settings import S3Config
from manifests.errors import ConfigError, StoreError
from results.store import Created, Entry, object_path

_NONCE = "pagefleet-nonce"
PART_BYTES = 64 * 2**20
"""A file above this goes up in parts of it; 10,000 of them are the most S3 takes (640 GB)."""


class S3Store:
    """The ``Store`` protocol below ``s3://bucket/prefix``. A version is an ETag without quotes.

    A PUT whose answer was lost is repeated, and S3 then answers 412 to the condition that our first PUT
    has already used up. Every write carries a nonce, and the one found there decides whose it is. An ETag
    stands for the bytes: a conditional replace by the very bytes that are there does not change it.
    """

    def __init__(self, uri: str, config: S3Config) -> None:
        """Raises ConfigError when ``uri`` is no S3 address; connects on the first call."""
        bucket, prefix = split_uri(uri, ConfigError)
        self._uri = uri
        self._bucket = bucket
        self._base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._config = config

    @property
    def root(self) -> str:
        """The address as the user wrote it, for messages."""
        return self._uri

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose path starts with ``prefix``, sorted by path, a page of 1,000 at a time."""
        with self._explained(prefix):
            for item in objects(self._config, self._bucket, self._base + prefix):
                yield Entry(item["Key"].removeprefix(self._base), item["Size"], etag(item))

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Content and version, or None when there is no such object."""
        return self._get(path)

    def read_tail(self, path: str, size: int) -> bytes | None:
        """The last ``size`` bytes (all of a shorter object), or None when there is no such object."""
        wanted = max(0, size)
        found = self._get(path, Range=f"bytes=-{max(1, wanted)}")  # S3 refuses a range of nothing
        return None if found is None else found[0][max(0, len(found[0]) - wanted) :]

    def create(self, path: str, data: bytes) -> Created:
        """Write only if nothing is there; a write of ours whose answer was lost is CREATED."""
        version = self._put(path, data, IfNoneMatch="*")
        return Created.EXISTS if version is None else Created.CREATED

    def replace(self, path: str, data: bytes, if_match: str | None = None) -> str | None:
        """Write over what is there and return the new version, or None when ``if_match`` does not hold."""
        if if_match is None:
            return self._put(path, data)
        return self._put(path, data, IfMatch=f'"{if_match}"')

    def create_file(self, path: str, file: Path) -> Created:
        """See ``Store``. A large file goes up in parts; the condition is that of the last request."""
        version = self._put_file(path, file, IfNoneMatch="*")
        return Created.EXISTS if version is None else Created.CREATED

    def replace_file(self, path: str, file: Path, if_match: str | None = None) -> str | None:
        """See ``Store``. A large file goes up in parts; the condition is that of the last request."""
        condition = {} if if_match is None else {"IfMatch": f'"{if_match}"'}
        return self._put_file(path, file, **condition)

    @contextmanager
    def local_file(self, path: str) -> Iterator[Path | None]:
        """A copy in the folder for temporary files."""
        address = self._address(path)
        with self.scratch_file() as file:

            def download() -> None:
                answer = self._client().get_object(**address)
                with closing(answer["Body"]) as body, body_reads(), file.open("wb") as target:
                    shutil.copyfileobj(body, target, 2**20)

            found = True
            with self._explained(path):
                try:
                    retries(self._config)(download)
                except ClientError as error:
                    if not is_missing(error):
                        raise
                    found = False
            yield file if found else None

    @contextmanager
    def scratch_file(self) -> Iterator[Path]:
        """A name in the folder for temporary files (``TMPDIR``)."""
        folder = Path(tempfile.gettempdir())
        scratch = folder / f"pagefleet-{uuid.uuid4().hex}"
        try:
            yield scratch
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot hold a file on its way to {self._uri} ({error.strerror or error}): "
                "free space or set TMPDIR, then run the same command again"
            ) from error
        finally:
            with suppress(OSError):
                scratch.unlink()

    def delete(self, path: str) -> None:
        """Remove the object; no error when it is already gone."""
        address = self._address(path)
        with self._explained(path):
            retries(self._config)(self._client().delete_object, **address)

    def _get(self, path: str, **part: str) -> tuple[bytes, str] | None:
        address = self._address(path)

        def whole() -> tuple[bytes, str]:
            answer = self._client().get_object(**address, **part)
            with closing(answer["Body"]) as body, body_reads():
                return body.read(), etag(answer)

        with self._explained(path):
            try:
                return read(self._config, whole)
            except ClientError as error:
                if is_missing(error):
                    return None
                if error_code(error) in ("InvalidRange", "416"):
                    return b"", ""  # an empty object has no last byte to ask for
                raise

    def _put(self, path: str, data: bytes, **condition: str) -> str | None:
        """The version of our write; None when the condition fails and what is there is not ours."""
        address, nonce = self._address(path), uuid.uuid4().hex
        with self._explained(path):
            return retries(self._config)(self._put_once, address, data, nonce, condition)

    def _put_file(self, path: str, file: Path, **condition: str) -> str | None:
        if file.stat().st_size <= PART_BYTES:
            return self._put(path, file.read_bytes(), **condition)
        address, nonce, again = self._address(path), uuid.uuid4().hex, retries(self._config)
        with self._explained(path):
            begun = again(self._client().create_multipart_upload, **address, Metadata={_NONCE: nonce})
            upload = {**address, "UploadId": begun["UploadId"]}
            try:
                parts = self._put_parts(upload, file)
                finish = partial(
                    self._client().complete_multipart_upload, **upload, MultipartUpload={"Parts": [*parts]}
                )
                stale = "IfMatch" in condition and condition["IfMatch"] != again(self._etag_at, address)
                version = None if stale else again(self._finish_once, finish, address, nonce, condition)
            except BaseException:
                self._abort(upload)
                raise
        if version is None:
            self._abort(upload)
        return version

    def _put_parts(self, upload: dict[str, str], file: Path) -> Sequence[dict[str, Any]]:
        parts: deque[dict[str, Any]] = deque()
        with file.open("rb") as content:
            while data := content.read(PART_BYTES):
                number = len(parts) + 1
                answer = retries(self._config)(
                    self._client().upload_part, **upload, PartNumber=number, Body=data
                )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        return parts

    def _etag_at(self, address: dict[str, str]) -> str:
        """What is there now: some servers do not look at the condition of an upload in parts."""
        try:
            return f'"{etag(self._client().head_object(**address))}"'
        except ClientError as error:
            if is_missing(error):
                return ""
            raise

    def _abort(self, upload: dict[str, str]) -> None:
        with suppress(Exception):  # parts of an upload that came to nothing; a bucket's rules clear them too
            self._client().abort_multipart_upload(**upload)

    def _put_once(
        self, address: dict[str, str], data: bytes, nonce: str, condition: dict[str, str]
    ) -> str | None:
        put = partial(self._client().put_object, **address, Body=data, Metadata={_NONCE: nonce})
        return self._finish_once(put, address, nonce, condition)

    def _finish_once(
        self, request: Callable[..., Any], address: dict[str, str], nonce: str, condition: dict[str, str]
    ) -> str | None:
        """Make an object; None where its condition fails and what is there is not ours."""
        try:
            answer = request(**condition)
        except ClientError as error:
            code = error_code(error)
            if code in ("PreconditionFailed", "412"):
                return self._ours(address, nonce)
            if code in ("ConditionalRequestConflict", "409"):
                raise Broken("other writers keep changing the same object") from error
            if code == "NoSuchUpload":  # completed already, and the answer was lost on its way
                return self._ours(address, nonce)
            if is_missing(error) and "IfMatch" in condition:
                return None  # nothing there to match
            raise
        return etag(answer)

    def _ours(self, address: dict[str, str], nonce: str) -> str | None:
        """The version of what is there if our nonce is on it. Raises Broken when it is gone again."""
        try:
            head: dict[str, Any] = self._client().head_object(**address)
        except ClientError as error:
            if is_missing(error):
                raise Broken("other writers keep deleting the same object") from error
            raise
        return etag(head) if head["Metadata"].get(_NONCE) == nonce else None

    def _client(self) -> Any:
        return connect(self._config)

    def _address(self, path: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._base + object_path(path)}

    def _explained(self, path: str) -> AbstractContextManager[None]:
        return explained(StoreError, f"s3://{self._bucket}/{self._base}{path}", self._config)
