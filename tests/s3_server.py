"""A real S3-protocol server on loopback for tests, behind a proxy that injects faults and counts requests.

``S3Server`` runs moto in this process and a ``FaultProxy`` before it. Other processes reach both by URL.
"""

from __future__ import annotations

import http.client
import logging
import os
import random
import threading
import urllib.request
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "date", "server"}


class Fault(Enum):
    """What can happen to a request on its way."""

    ERROR_500 = "the server answers 500 and does nothing"
    ERROR_503 = "the server answers 503 and does nothing"
    DROP = "the connection closes before the request is served"
    CUT_BODY = "the request is served and the connection closes half-way through the answer's body"
    LOSE_ANSWER = "the request is served and the connection closes before the answer"


_ERRORS = {Fault.ERROR_500: (500, "InternalError"), Fault.ERROR_503: (503, "ServiceUnavailable")}


@dataclass
class _Rule:
    action: Fault | tuple[int, str]
    times: int
    method: str
    path: str
    exact: bool = False

    def takes(self, method: str, key: str) -> bool:
        fits = self.path == key if self.exact else self.path in key
        return self.times > 0 and self.method in ("", method) and fits


@dataclass
class _State:
    """What the proxy was told and what it saw; guarded by ``lock``."""

    rules: list[_Rule] = field(default_factory=list)
    dice: random.Random | None = None
    probability: float = 0.0
    faults: tuple[Fault, ...] = tuple(Fault)
    unheeded: frozenset[str] = frozenset()
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, method: str, key: str) -> Fault | tuple[int, str] | None:
        """Count the request and say what must go wrong with it."""
        with self.lock:
            self.requests[method, key] += 1
            action = self._action(method, key)
            if action is not None:
                self.injected[action.name if isinstance(action, Fault) else action[1]] += 1
            return action

    def _action(self, method: str, key: str) -> Fault | tuple[int, str] | None:
        for rule in self.rules:
            if rule.takes(method, key):
                rule.times -= 1
                return rule.action
        if self.dice is not None and self.dice.random() < self.probability:
            return self.dice.choice(self.faults)
        return None


class FaultProxy:
    """An HTTP proxy before one server. Requests are known by method and ``bucket/key``, unquoted."""

    def __init__(self, upstream: str) -> None:
        self._state = _State()
        handler = type(
            "Handler",
            (_Handler,),
            {"upstream": urlsplit(upstream).netloc, "proxy": self, "writes": threading.Lock()},
        )
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def state(self) -> _State:
        """For the handler."""
        return self._state

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """How often each ``(method, "bucket/key")`` came in, failed or not. A listing has no key."""
        with self._state.lock:
            return Counter(self._state.requests)

    @property
    def injected(self) -> Counter[str]:
        """How many faults were injected, by name."""
        with self._state.lock:
            return Counter(self._state.injected)

    def count(self, method: str = "", path: str = "") -> int:
        """Requests with this method (any if empty) whose ``bucket/key`` contains ``path``."""
        return sum(n for (m, key), n in self.requests.items() if method in ("", m) and path in key)

    def fail(self, fault: Fault, times: int = 1, method: str = "", path: str = "") -> None:
        """Do this to the next ``times`` requests with this method whose ``bucket/key`` contains ``path``."""
        self._add(_Rule(fault, times, method, path))

    def answer(self, status: int, code: str, times: int = 1, method: str = "", path: str = "") -> None:
        """Answer the next matching requests with S3's XML error ``code``, unserved."""
        self._add(_Rule((status, code), times, method, path))

    def deny_listing(self, bucket: str) -> None:
        """Be a bucket that hands out objects and may not be listed."""
        self._add(_Rule((403, "AccessDenied"), 1_000_000, "GET", bucket, exact=True))

    def at_random(self, probability: float, seed: int, faults: tuple[Fault, ...] = tuple(Fault)) -> None:
        """From now on, let this share of all requests suffer one of ``faults``."""
        with self._state.lock:
            self._state.dice, self._state.probability, self._state.faults = (
                random.Random(seed),
                probability,
                faults,
            )

    def ignore_conditions(self, *headers: str) -> None:
        """Be a server that takes these headers (all conditions of a write if none is named), and does not
        heed them."""
        self._state.unheeded = frozenset(name.lower() for name in headers or ("If-None-Match", "If-Match"))

    def reset(self) -> None:
        """Forget all faults and counts."""
        self._state = _State()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _add(self, rule: _Rule) -> None:
        with self._state.lock:
            self._state.rules.append(rule)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream: str
    proxy: FaultProxy
    writes: threading.Lock

    def do_ANY(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        body = self._body()
        action = self.proxy.state.seen(self.command, path)
        if action is Fault.DROP:
            self.close_connection = True
        elif isinstance(action, tuple):
            self._refuse(*action)
        elif action in _ERRORS:
            self._refuse(*_ERRORS[action])
        else:
            self._pass_on(body, action)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_ANY

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _refuse(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>injected by the test</Message></Error>".encode()
        self._send(status, "injected", [("Content-Type", "application/xml")], text)

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        reading = self.command in ("GET", "HEAD")
        with nullcontext() if reading else self.writes:  # moto checks conditions without a lock; S3 does not
            connection = http.client.HTTPConnection(self.upstream, timeout=60)
            left_out = _HOP_BY_HOP | (frozenset() if reading else self.proxy.state.unheeded)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
        if fault is Fault.LOSE_ANSWER or (fault is Fault.CUT_BODY and not content):
            self.close_connection = True
            return
        self._send(answer.status, answer.reason, answer.getheaders(), content, fault is Fault.CUT_BODY)

    def _send(
        self, status: int, reason: str, headers: list[tuple[str, str]], content: bytes, cut: bool = False
    ) -> None:
        self.send_response(status, reason)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value if self.command == "HEAD" else length
            elif name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.wfile.flush()
        self.close_connection = self.close_connection or cut

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class S3Server:
    """moto behind the proxy. ``url`` passes through the proxy; ``moto_url`` does not and is not counted."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self.moto_url = "http://127.0.0.1:{1}".format(*self._moto.get_host_and_port())
        self.proxy = FaultProxy(self.moto_url)
        self.url = self.proxy.url
        self.bucket = ""
        self._buckets = 0

    @property
    def uri(self) -> str:
        """The bucket of this test: ``s3://bucket-1``."""
        return f"s3://{self.bucket}"

    @property
    def env(self) -> dict[str, str]:
        """What another process needs to reach this server even without an ``endpoint_url`` of its own."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": self.url}

    def config(self, **fields: Any) -> Any:
        """An ``S3Config`` for this server, through the proxy, without a pause between attempts."""
        from aws.settings import S3Config

        return S3Config(**({"endpoint_url": self.url, "backoff_s": 0} | fields))

    def client(self) -> Any:
        """A plain boto3 client past the proxy: its requests are neither counted nor disturbed."""
        import boto3

        return boto3.client("s3", endpoint_url=self.moto_url)

    def reset(self) -> None:
        """Forget every object, fault and count; a fresh, empty bucket."""
        self.proxy.reset()
        request = urllib.request.Request(f"{self.moto_url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=30).close()
        self._buckets += 1
        self.bucket = f"bucket-{self._buckets}"
        put = urllib.request.Request(f"{self.moto_url}/{self.bucket}", method="PUT")
        urllib.request.urlopen(put, timeout=30).close()

    def stop(self) -> None:
        self.proxy.stop()
        self._moto.stop()
