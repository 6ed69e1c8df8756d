"""Documents that lie on S3: listing a prefix and fetching one object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from aws.client import Broken, body_reads, connect, etag, explained, objects, retries, split_uri
from aws.config import S3Config
from manifests.errors import DocumentError, InputError
from manifests.sources import SourceStat

_CHUNK_BYTES = 1 << 20


class S3Source:
    """The ``RemoteSource`` of ``s3://`` addresses. Raises DocumentError with the address and the remedy."""

    def __init__(self, config: S3Config) -> None:
        self._config = config

    def fetch(self, uri: str, target: Path) -> SourceStat:
        """Download the whole object to ``target`` with one GET, begun anew when it breaks half-way.

        ``target`` is written over and left behind whole or not at all. An OSError of writing it (a full
        disk) is no fault of the document and passes as it is.
        """
        with explained(DocumentError, uri, self._config):
            try:
                return retries(self._config)(self._fetch_once, uri, target)
            except BaseException:
                target.unlink(missing_ok=True)
                raise

    def stat(self, uri: str) -> SourceStat:
        """Size and version by one HEAD."""
        bucket, key = _object(uri)
        with explained(DocumentError, uri, self._config):
            head = retries(self._config)(connect(self._config).head_object, Bucket=bucket, Key=key)
            return SourceStat(int(head["ContentLength"]), etag(head))

    def _fetch_once(self, uri: str, target: Path) -> SourceStat:
        bucket, key = _object(uri)
        answer = connect(self._config).get_object(Bucket=bucket, Key=key)
        size = int(answer["ContentLength"])
        with closing(answer["Body"]) as body, target.open("wb") as file, body_reads():
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                file.write(chunk)
            if file.tell() != size:
                raise Broken(f"the answer ended after {file.tell()} of {size} bytes")
        return SourceStat(size, etag(answer))


def list_documents(uri: str, config: S3Config) -> Iterator[tuple[str, int, str]]:
    """Address, bytes and ETag of the object at ``uri`` itself and of all below ``uri/``, sorted.

    Yields nothing when there is none: which names are documents, and whether none is an error, is for
    the caller to say. Raises InputError when the bucket cannot be listed.
    """
    bucket, key = split_uri(uri, InputError)
    folder = key if key.endswith("/") or not key else f"{key}/"
    with explained(InputError, uri, config):
        if key != folder:
            first = next(objects(config, bucket, key, MaxKeys=1), None)
            if first is not None and first["Key"] == key:
                yield _described(bucket, first)
        for item in objects(config, bucket, folder):
            yield _described(bucket, item)


def _described(bucket: str, item: dict[str, Any]) -> tuple[str, int, str]:
    return f"s3://{bucket}/{item['Key']}", int(item["Size"]), etag(item)


def _object(uri: str) -> tuple[str, str]:
    bucket, key = split_uri(uri, DocumentError)
    if not key:
        raise DocumentError(f"{uri!r} names a bucket and no object: write s3://bucket/key")
    return bucket, key
