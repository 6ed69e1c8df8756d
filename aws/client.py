"""The S3 client: connecting, listing, and addresses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from aws.attempts import read
from aws.settings import S3Config
from manifests.errors import PagefleetError


def connect(config: S3Config) -> Any:
    """A thread-safe boto3 S3 client; sends nothing yet.

    One per process and configuration, made on the first call (0.5 s): what is pickled or forked carries
    the configuration only and connects where it arrives.
    """
    return _connect(config, os.getpid())


def forget_credentials() -> None:
    """Let the next ``connect`` read the credentials anew: who renewed them has written them somewhere."""
    _connect.cache_clear()


@lru_cache(maxsize=8)
def _connect(config: S3Config, process: int) -> Any:
    import boto3  # 0.4 s: only for who really talks to S3
    from botocore.config import Config

    options: dict[str, Any] = {
        "retries": {"mode": "standard", "total_max_attempts": 1},  # see retries()
        "connect_timeout": config.connect_timeout_s,
        "read_timeout": config.read_timeout_s,
        "max_pool_connections": config.max_pool_connections,
    }
    if config.endpoint_url:
        # Servers other than AWS seldom have a host name per bucket, and many refuse the newer checksums.
        options |= {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    session = boto3.Session(profile_name=config.profile, region_name=config.region)
    return session.client("s3", endpoint_url=config.endpoint_url, config=Config(**options))


def objects(config: S3Config, bucket: str, prefix: str, **limit: int) -> Iterator[dict[str, Any]]:
    """Key, Size and ETag of what starts with ``prefix``, sorted by key; no folder markers of a console.

    ``MaxKeys`` may lower S3's 1,000 objects per request.
    """
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **limit}
    while True:
        answer = read(config, connect(config).list_objects_v2, **request)
        yield from (item for item in answer.get("Contents", ()) if not item["Key"].endswith("/"))
        if not answer.get("IsTruncated"):
            return
        request["ContinuationToken"] = answer["NextContinuationToken"]


def split_uri(uri: str, kind: type[PagefleetError]) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key is taken as it stands. Raises ``kind``."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise kind(f"{uri!r} is no S3 address: write s3://bucket/key")
    return bucket, key


def etag(answer: dict[str, Any]) -> str:
    """The ETag without its quotes: the version of an object; ``""`` from a server that gives none."""
    return str(answer.get("ETag", "")).strip('"')
