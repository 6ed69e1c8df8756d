"""Asking S3 again while what went wrong may pass, and no longer than a read may take in all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

import urllib3.exceptions
from botocore import exceptions as aws
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from aws.settings import S3Config

P = ParamSpec("P")
T = TypeVar("T")

MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_PASSING = frozenset(
    (
        *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "OperationAborted"),
        *("Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded"),
    )
)
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
_LONGEST_PAUSE_S = 20.0


class Broken(Exception):
    """A transfer that broke on the way and is worth repeating as a whole. Never leaves ``aws``."""


class TookTooLong(Exception):
    """A read that was not over in time, however it went on dripping. Never leaves ``aws``."""


def retries(config: S3Config) -> Retrying:
    """Runs a callable again while what it raises may pass: lost connections, 5xx, throttling, Broken.

    botocore's own retries are off: its quota per client runs dry under a burst of 503 and from then on
    every request of the process fails at its first fault. They also end before the body of an answer.
    """
    return Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_after_attempt(config.max_attempts),
        wait=wait_random_exponential(multiplier=config.backoff_s, max=_LONGEST_PAUSE_S),
        reraise=True,
    )


def read(config: S3Config, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that only reads, again while what it raises may pass, ``download_timeout_s`` in all.

    Each attempt has a thread of its own: the time limits of sockets start anew with every byte, so that a
    server which drips would hold its caller for ever. An attempt that is given up ends with its connection,
    and whoever wrote the call sees to it that it then does no harm.
    """
    ends = time.monotonic() + config.download_timeout_s

    def attempt() -> T:
        return _within(ends, lambda: call(*args, **kwargs), config)

    return retries(config)(attempt)


def _within(ends: float, call: Callable[[], T], config: S3Config) -> T:
    answers: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001  it is raised where the caller waits
            answers.put((None, error))

    threading.Thread(target=run, name="s3-read", daemon=True).start()
    try:
        answer, error = answers.get(timeout=max(0.0, ends - time.monotonic()))
    except Empty:
        raise TookTooLong(
            f"not finished after {config.download_timeout_s:g} s (s3.download_timeout_s)"
        ) from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # None only where the call returns it


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


def error_code(error: Exception) -> str:
    """S3's own code, or the status where an answer without a body (HEAD) has none; ``""`` without answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, aws.ClientError) else ""


def is_missing(error: Exception) -> bool:
    """Whether the object, not the bucket, is what is missing."""
    return error_code(error) in MISSING


def may_pass(error: BaseException) -> bool:
    """Whether asking again at once may help."""
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return error_code(error) in _PASSING or status in _PASSING_STATUS
    return isinstance(error, (Broken, aws.ConnectionError, aws.HTTPClientError))
