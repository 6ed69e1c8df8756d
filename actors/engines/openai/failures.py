"""What it means when a server does not answer well: whose fault it is, and when to ask again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

LONGEST_MESSAGE = 500


class Fault(StrEnum):
    """What a failure speaks against."""

    REQUEST = "request"
    """It will never be answered; others are."""
    SPOILED = "spoiled"
    """The answer came to nothing. Another attempt may do."""
    TIMEOUT = "timeout"
    """Nothing came within the time one page has."""
    BUSY = "busy"
    """The server wants fewer requests, or later."""
    DOWN = "down"
    """The server is not there for anybody."""
    SETUP = "setup"
    """The server wants another key, model or path: for people to see to."""


STATUS_FAULTS = {
    400: Fault.REQUEST,
    401: Fault.SETUP,
    402: Fault.SETUP,
    403: Fault.SETUP,
    404: Fault.SETUP,
    405: Fault.SETUP,
    408: Fault.SPOILED,  # of proxies that saw no answer in time
    409: Fault.SPOILED,
    413: Fault.REQUEST,
    415: Fault.REQUEST,
    422: Fault.REQUEST,
    425: Fault.BUSY,
    429: Fault.BUSY,
    502: Fault.DOWN,
    503: Fault.DOWN,
    529: Fault.BUSY,  # "overloaded", by several providers
}


class ServerFailure(Exception):
    """One request to one server that was not answered well.

    ``status`` is HTTP's, where it came to one; ``retry_after_s`` is the server's wish.
    """

    def __init__(
        self, fault: Fault, message: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s


def failure_of_status(status: int, headers: Mapping[str, str], body: bytes) -> ServerFailure:
    """The failure an HTTP status other than 200 stands for."""
    fault = STATUS_FAULTS.get(status, Fault.SPOILED if status >= 500 else Fault.SETUP)
    retry_after_s = retry_after(headers.get("Retry-After", ""), time.time())
    detail = message_in(body)
    moved = f" to {headers['Location']}" if "Location" in headers else ""
    later = f" (asks to wait {retry_after_s:,.0f} s)" if retry_after_s else ""
    message = f"HTTP {status}{moved}{later}{': ' if detail else ''}{detail}"
    return ServerFailure(fault, message, status, retry_after_s)


def retry_after(value: str, now: float) -> float | None:
    """Seconds from ``now`` (Unix time) that a Retry-After header asks for, in either of its forms."""
    try:
        return max(0.0, float(value)) if float(value) < float("inf") else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def message_in(body: bytes) -> str:
    """What a server says in the body of a refusal, on one line."""
    text = body.decode(errors="replace")
    try:
        found = _find_message(json.loads(text))
    except (ValueError, RecursionError):
        found = ""
    return " ".join((found or text).split())[:LONGEST_MESSAGE]


def _find_message(value: Any) -> str:
    """OpenAI's ``error.message``, FastAPI's ``detail``, or a plain ``message``."""
    if not isinstance(value, dict):
        return ""
    for name in ("error", "message", "detail"):
        inner = value.get(name)
        if isinstance(inner, str) and inner:
            return inner
        if inner:
            return _find_message(inner) or json.dumps(inner)
    return ""
