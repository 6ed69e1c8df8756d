"""The S3 client: connecting, retrying what breaks on the way, and saying what to do about the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import urllib3.exceptions
from botocore import exceptions as aws
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from aws.config import S3Config
from manifests.errors import PagefleetError

_BAD_CREDENTIALS = frozenset(
    (
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException"),
        *("InvalidToken", "InvalidClientTokenId", "TokenRefreshRequired", "UnrecognizedClientException"),
    )
)
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"})
_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_PASSING = frozenset(
    (
        *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "OperationAborted"),
        *("Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded"),
    )
)
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
_LONGEST_PAUSE_S = 20.0
_AGAIN = "run the same command again; nothing stored is lost"

_NO_CREDENTIALS = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)
_NO_LOGIN = (aws.SSOError, aws.TokenRetrievalError, aws.NoAuthTokenError)
_UNREACHABLE = (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError)


class Broken(Exception):
    """A transfer that broke on the way and is worth repeating as a whole. Never leaves ``aws``."""


def connect(config: S3Config) -> Any:
    """A thread-safe boto3 S3 client; sends nothing yet.

    One per process and configuration, made on the first call (0.5 s): what is pickled or forked carries
    the configuration only and connects where it arrives.
    """
    return _connect(config, os.getpid())


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


def retries(config: S3Config) -> Retrying:
    """Runs a callable again while what it raises may pass: lost connections, 5xx, throttling, Broken.

    botocore's own retries are off: its quota per client runs dry under a burst of 503 and from then on
    every request of the process fails at its first fault. They also end before the body of an answer.
    """
    return Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(config.max_attempts),
        wait=wait_random_exponential(multiplier=config.backoff_s, max=_LONGEST_PAUSE_S),
        reraise=True,
    )


def objects(config: S3Config, bucket: str, prefix: str, **limit: int) -> Iterator[dict[str, Any]]:
    """Key, Size and ETag of what starts with ``prefix``, sorted by key; no folder markers of a console.

    ``MaxKeys`` may lower S3's 1,000 objects per request.
    """
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **limit}
    while True:
        answer = retries(config)(connect(config).list_objects_v2, **request)
        yield from (item for item in answer.get("Contents", ()) if not item["Key"].endswith("/"))
        if not answer.get("IsTruncated"):
            return
        request["ContinuationToken"] = answer["NextContinuationToken"]


@contextmanager
def body_reads() -> Iterator[None]:
    """Raise Broken when the body of an answer breaks off half-way."""
    try:
        yield
    except (
        aws.HTTPClientError,
        aws.IncompleteReadError,
        aws.FlexibleChecksumError,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise Broken(f"the connection broke while reading: {error}") from error


@contextmanager
def explained(kind: type[PagefleetError], uri: str, config: S3Config) -> Iterator[None]:
    """Raise ``kind``, with ``uri`` and the remedy in words, for everything botocore and ``retries`` raise."""
    try:
        yield
    except (aws.ClientError, aws.BotoCoreError, Broken) as error:
        raise kind(f"{uri}: {_explanation(error, config)}") from error


def split_uri(uri: str, kind: type[PagefleetError]) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key is taken as it stands. Raises ``kind``."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise kind(f"{uri!r} is no S3 address: write s3://bucket/key")
    return bucket, key


def error_code(error: aws.ClientError) -> str:
    """S3's own code, or the status where an answer without a body (HEAD) has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: aws.ClientError) -> bool:
    """Whether the object, not the bucket, is what is missing."""
    return error_code(error) in _MISSING


def etag(answer: dict[str, Any]) -> str:
    """The ETag without its quotes: the version of an object."""
    return str(answer["ETag"]).strip('"')


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return error_code(error) in _PASSING or status in _PASSING_STATUS
    return isinstance(error, (Broken, aws.ConnectionError, aws.HTTPClientError))


def _explanation(error: Exception, config: S3Config) -> str:
    if isinstance(error, aws.ClientError):
        return _refusal(error, config)
    if isinstance(error, aws.ProfileNotFound):
        return f"{error}: correct the profile or add it to ~/.aws/config"
    if isinstance(error, _NO_CREDENTIALS):
        return f"{error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an instance role"
    if isinstance(error, _NO_LOGIN):
        return f"{error}: log in again with 'aws sso login'"
    if isinstance(error, _UNREACHABLE):
        return f"cannot reach S3 ({error}): check endpoint_url, region and the network, then {_AGAIN}"
    if isinstance(error, aws.ParamValidationError):
        return f"S3 does not allow this address: {' '.join(str(error).split())}"
    return f"S3 does not answer as it should after {config.max_attempts} attempts ({error}): {_AGAIN}"


def _refusal(error: aws.ClientError, config: S3Config) -> str:
    code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
    if code in _BAD_CREDENTIALS:
        who = f"the profile {config.profile!r}" if config.profile else "AWS_ACCESS_KEY_ID and its secret"
        return f"S3 refuses the credentials ({code}): correct or renew {who}"
    if code in _DENIED:
        return (
            f"access denied ({code}): allow s3:GetObject and s3:ListBucket here, for an output"
            " s3:PutObject and s3:DeleteObject too; without s3:ListBucket a missing object reads like this"
        )
    if code == "NoSuchBucket":
        return "no such bucket: correct its name, or create it with 'aws s3 mb'"
    if code in _MISSING:
        return "no such object: correct its address"
    if code in _ELSEWHERE:
        return f"the bucket is in another region ({message}): set region"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is wrong: set it"
    if code == "KeyTooLongError":
        return "the name is longer than S3 allows: shorten the document's id or the output's prefix"
    if _may_pass(error):
        return f"S3 still answers {code} after {config.max_attempts} attempts: {_AGAIN}"
    return f"S3 refuses with {code}: {message or 'no reason given'}"
