"""Documents that lie on S3: listing a prefix and fetching one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from aws.attempts import Broken, body_reads, error_code, read
from aws.client import connect, etag, forget_credentials, objects, split_uri
from aws.explain import BAD_CREDENTIALS, S3_ERRORS, explained, explanation, symptom
from aws.settings import S3Config
from manifests.blame import FolderGone, Nearby, Symptom, is_documents_fault
from manifests.errors import DocumentError, InputError, SourceUnavailable
from manifests.sources import SourceStat

T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
_MAX_TRIED = 3
"""Objects beside a refused one that are tried before none of them counts as readable."""


class S3Source:
    """The ``RemoteSource`` of ``s3://`` addresses; keeps the last object had of each bucket as a witness.

    An object is blamed only when it cannot be had before *and* after another one of its bucket could.
    """

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._witnesses: dict[str, str] = {}

    def fetch(self, uri: str, target: Path) -> SourceStat:
        """Download the whole object to ``target`` with one GET, begun anew when it breaks half-way.

        ``target`` is written over and left behind whole or not at all. An OSError of writing it (a full
        disk) is no fault of the document and passes as it is.
        """
        bucket, key = _object(uri)
        given_up = Event()
        try:
            return self._had(bucket, key, lambda: self._fetch_once(bucket, key, target, given_up))
        except BaseException:
            given_up.set()
            target.unlink(missing_ok=True)
            raise

    def stat(self, uri: str) -> SourceStat:
        """Size and version by one HEAD."""
        bucket, key = _object(uri)

        def once() -> SourceStat:
            head = self._client().head_object(Bucket=bucket, Key=key)
            return SourceStat(int(head["ContentLength"]), etag(head))

        return self._had(bucket, key, once)

    def _fetch_once(self, bucket: str, key: str, target: Path, given_up: Event) -> SourceStat:
        answer = self._client().get_object(Bucket=bucket, Key=key)
        with closing(answer["Body"]) as body, body_reads():
            if given_up.is_set():
                raise Broken("given up")
            with target.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)
                    if given_up.is_set():
                        raise Broken("given up")
                size = file.tell()
        wanted = int(answer.get("ContentLength", size))
        if size != wanted:
            raise Broken(f"the answer ended after {size} of {wanted} bytes")
        return SourceStat(size, etag(answer))

    def _had(self, bucket: str, key: str, once: Callable[[], T]) -> T:
        """What ``once`` returns of the object. Raises DocumentError or SourceUnavailable."""
        answer = self._asked(once)
        if isinstance(answer, Exception):
            first = symptom(answer)
            if first in (Symptom.OUTAGE, Symptom.MALFORMED):
                raise self._error(bucket, key, answer, first, Nearby.UNREACHABLE)
            nearby = self._look_around(bucket, key, first)
            answer = self._asked(once)
            if isinstance(answer, Exception):
                again = symptom(answer)
                raise self._error(bucket, key, answer, again if again is first else Symptom.OUTAGE, nearby)
        self._witnesses[bucket] = key
        return answer

    def _asked(self, once: Callable[[], T]) -> T | Exception:
        try:
            return read(self._config, once)
        except S3_ERRORS as error:
            return error

    def _error(
        self, bucket: str, key: str, error: Exception, sign: Symptom, nearby: Nearby
    ) -> DocumentError | SourceUnavailable:
        if error_code(error) in BAD_CREDENTIALS:
            forget_credentials()
        message = f"s3://{bucket}/{key}: {explanation(error, self._config, then='it is asked again')}"
        if is_documents_fault(sign, nearby, was_listed=True):
            return DocumentError(message)
        if is_documents_fault(sign, nearby, was_listed=False):
            return FolderGone(f"{message}; nothing is left under s3://{bucket}/{_folder(key)}")
        if sign is Symptom.DENIED:
            message = f"{message}; nor can what lies beside it be read"
        return SourceUnavailable(message)

    def _look_around(self, bucket: str, key: str, sign: Symptom) -> Nearby:
        """Evidence about the bucket. A refused object is measured by one that may be read."""
        witness = self._witnesses.get(bucket, key)
        is_sibling = witness != key and (sign is Symptom.DENIED or _folder(witness) == _folder(key))
        if is_sibling and self._may_be_read(bucket, witness):
            return Nearby.SIBLING_SEEN
        try:
            if sign is Symptom.DENIED:
                return self._readable_sibling(bucket, key)
            return self._seen(bucket, key)
        except S3_ERRORS as error:
            may_not_list = symptom(error) is Symptom.DENIED
            return Nearby.FOLDER_MISSING if may_not_list and sign is Symptom.MISSING else Nearby.UNREACHABLE

    def _seen(self, bucket: str, key: str) -> Nearby:
        """What listings show around a missing object. Raises what S3 raises."""
        if any(item["Key"] == key for item in self._listed(bucket, key)):
            return Nearby.UNREACHABLE  # the server contradicts itself
        if self._listed(bucket, _folder(key)):
            return Nearby.SIBLING_SEEN
        return Nearby.FOLDER_MISSING if self._listed(bucket, "") else Nearby.EMPTY

    def _readable_sibling(self, bucket: str, key: str) -> Nearby:
        others = [item["Key"] for item in self._listed(bucket, _folder(key)) if item["Key"] != key]
        proven = any(self._may_be_read(bucket, other) for other in others[:_MAX_TRIED])
        return Nearby.SIBLING_SEEN if proven else Nearby.UNREACHABLE

    def _listed(self, bucket: str, prefix: str) -> list[dict[str, Any]]:
        """The first few objects of a prefix."""
        few = _MAX_TRIED + 1
        return list(islice(objects(self._config, bucket, prefix, MaxKeys=few), few))

    def _may_be_read(self, bucket: str, key: str) -> bool:
        """Whether bytes of an object are handed out now: HEAD alone is answered where GET is refused."""

        def once() -> None:
            answer = self._client().get_object(Bucket=bucket, Key=key, Range="bytes=0-0")
            with closing(answer["Body"]) as body, body_reads():
                body.read()

        answer = self._asked(once)
        return not isinstance(answer, Exception) or error_code(answer) in ("InvalidRange", "416")

    def _client(self) -> Any:
        return connect(self._config)


def list_documents(uri: str, config: S3Config) -> Iterator[tuple[str, int, str]]:
    """Address, bytes and ETag of the object at ``uri`` itself and of all below ``uri/``, sorted.

    Yields nothing when there is none: which names are documents, and whether none is an error, is for
    the caller to say. Raises InputError when the bucket cannot be listed, SourceUnavailable when that
    may be over without anything being corrected.
    """
    bucket, key = split_uri(uri, InputError)
    folder = key if key.endswith("/") or not key else f"{key}/"
    with explained(InputError, uri, config, outage=SourceUnavailable):
        if key != folder:
            first = next(objects(config, bucket, key, MaxKeys=1), None)
            if first is not None and first["Key"] == key:
                yield _described(bucket, first)
        for item in objects(config, bucket, folder):
            yield _described(bucket, item)


def _described(bucket: str, item: dict[str, Any]) -> tuple[str, int, str]:
    return f"s3://{bucket}/{item['Key']}", int(item["Size"]), etag(item)


def _folder(key: str) -> str:
    return key[: key.rfind("/") + 1]


def _object(uri: str) -> tuple[str, str]:
    bucket, key = split_uri(uri, DocumentError)
    if not key:
        raise DocumentError(f"{uri!r} names a bucket and no object: write s3://bucket/key")
    return bucket, key
