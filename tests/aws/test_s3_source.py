"""Documents on S3: one GET each, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from aws.client import connect
from aws.s3_source import S3Source, list_documents
from aws.s3_store import S3Store
from manifests.blame import FolderGone
from manifests.errors import DocumentError, InputError, SourceUnavailable, StoreError
from manifests.sources import SourceStat
from tests.s3_server import Fault, S3Server

DATA = bytes(range(256)) * 12_000  # three chunks


@pytest.fixture
def source(s3: S3Server) -> S3Source:
    s3.client().put_object(Bucket=s3.bucket, Key="in/Ωμέγα %20+#?.pdf", Body=DATA)
    return S3Source(s3.config())


@pytest.fixture
def uri(s3: S3Server) -> str:
    return f"{s3.uri}/in/Ωμέγα %20+#?.pdf"


def test_a_fetch_is_one_get(source: S3Source, s3: S3Server, uri: str, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    version = hashlib.md5(DATA).hexdigest()
    assert source.fetch(uri, target) == SourceStat(len(DATA), version)
    assert target.read_bytes() == DATA
    assert s3.proxy.requests == {("GET", uri.removeprefix("s3://")): 1}


def test_a_stat_fetches_nothing(source: S3Source, s3: S3Server, uri: str) -> None:
    assert source.stat(uri) == SourceStat(len(DATA), hashlib.md5(DATA).hexdigest())
    assert s3.proxy.requests == {("HEAD", uri.removeprefix("s3://")): 1}


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_a_fetch_survives_a_fault(
    source: S3Source, s3: S3Server, uri: str, tmp_path: Path, fault: Fault
) -> None:
    s3.proxy.fail(fault, times=3, method="GET")
    assert source.fetch(uri, tmp_path / "copy").size == len(DATA)
    assert (tmp_path / "copy").read_bytes() == DATA
    assert s3.proxy.count("GET") == 4


def test_a_fetch_that_always_breaks_off_is_an_outage_and_leaves_no_half(
    s3: S3Server, source: S3Source, uri: str, tmp_path: Path
) -> None:
    s3.proxy.fail(Fault.CUT_BODY, times=99, method="GET")
    with pytest.raises(
        SourceUnavailable, match=r"after 3 attempts .the connection broke while reading"
    ) as caught:
        S3Source(s3.config(max_attempts=3)).fetch(uri, tmp_path / "copy")
    assert str(caught.value).startswith(uri)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    assert list(tmp_path.iterdir()) == []
    assert s3.proxy.count("GET") == 3


def test_a_full_disk_is_no_fault_of_the_document(
    source: S3Source, s3: S3Server, uri: str, tmp_path: Path
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this machine")
    target = tmp_path / "copy"
    target.symlink_to(full)
    with pytest.raises(OSError, match="No space left") as caught:
        source.fetch(uri, target)
    assert caught.value.errno == errno.ENOSPC
    assert not os.path.lexists(target)


@pytest.fixture
def beside(s3: S3Server) -> str:
    """Another object under the same prefix."""
    s3.client().put_object(Bucket=s3.bucket, Key="in/other.pdf", Body=b"other")
    return f"{s3.uri}/in/other.pdf"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "NoSuchBucket", "no such bucket"),
        (404, "NoSuchKey", "no such object"),  # of all objects: the listing still has them
        (403, "AccessDenied", "access denied .*: allow s3:GetObject.*; nor can what lies beside it be read"),
        (400, "ExpiredToken", "S3 refuses the credentials"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (400, "SomethingElse", "S3 refuses with SomethingElse"),
        (301, "PermanentRedirect", "in another region"),
        (500, "InternalError", "still answers InternalError after 8 attempts"),
        (503, "SlowDown", "still answers SlowDown after 8 attempts"),
        (429, "TooManyRequests", "still answers TooManyRequests after 8 attempts"),
    ],
)
def test_what_every_object_suffers_is_no_fault_of_one(
    source: S3Source,
    s3: S3Server,
    uri: str,
    beside: str,
    tmp_path: Path,
    status: int,
    code: str,
    message: str,
) -> None:
    source.fetch(beside, tmp_path / "copy")
    for fresh in (source, S3Source(s3.config())):
        s3.proxy.answer(status, code, times=999, method="GET", path="in/")
        with pytest.raises(SourceUnavailable, match=message):
            fresh.fetch(uri, tmp_path / "copy")
        with pytest.raises(SourceUnavailable, match=message):
            fresh.fetch(uri, tmp_path / "copy")
        s3.proxy.reset()
        assert fresh.fetch(uri, tmp_path / "copy").size == len(DATA)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "access denied"),
        (400, "SomethingElse", "S3 refuses with SomethingElse"),
        (403, "InvalidObjectState", "the object is archived: restore it"),
    ],
)
@pytest.mark.parametrize("may_list", [True, False])
def test_an_object_is_blamed_beside_one_that_can_be_read(
    source: S3Source,
    s3: S3Server,
    uri: str,
    beside: str,
    tmp_path: Path,
    status: int,
    code: str,
    message: str,
    may_list: bool,
) -> None:
    if not may_list:
        source.fetch(beside, tmp_path / "copy")
        s3.proxy.deny_listing(s3.bucket)
    s3.proxy.answer(status, code, times=99, path="Ωμέγα")
    with pytest.raises(DocumentError, match=message):
        source.fetch(uri, tmp_path / "copy")
    assert not isinstance(_caught(lambda: source.stat(uri)), SourceUnavailable)
    assert list(tmp_path.iterdir()) == []


def _caught(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def test_a_refusal_that_is_over_when_asked_again_is_none(
    source: S3Source, s3: S3Server, uri: str, beside: str, tmp_path: Path
) -> None:
    s3.proxy.answer(403, "AccessDenied", times=1, method="GET", path="Ωμέγα")
    assert source.fetch(uri, tmp_path / "copy").size == len(DATA)


def test_an_object_that_is_gone_is_blamed_beside_others(source: S3Source, s3: S3Server, beside: str) -> None:
    for fresh in (source, S3Source(s3.config())):
        with pytest.raises(DocumentError, match="no such object") as caught:
            fresh.stat(f"{s3.uri}/in/none.pdf")
        assert type(caught.value) is DocumentError


def test_a_missing_object_of_a_bucket_that_may_not_be_listed_is_blamed(
    source: S3Source, s3: S3Server, beside: str, tmp_path: Path
) -> None:
    """Without s3:ListBucket a missing object reads 403, or 404 on other servers."""
    source.fetch(beside, tmp_path / "copy")
    s3.proxy.deny_listing(s3.bucket)
    s3.proxy.answer(403, "AccessDenied", times=99, path="in/none.pdf")
    for name in ("none.pdf", "none2.pdf"):
        with pytest.raises(DocumentError, match=f"/in/{name}: "):
            source.fetch(f"{s3.uri}/in/{name}", tmp_path / "copy")


def test_a_prefix_that_is_gone_is_for_who_knows_what_was_listed(source: S3Source, s3: S3Server) -> None:
    with pytest.raises(FolderGone, match=f"nothing is left under {s3.uri}/moved/"):
        source.stat(f"{s3.uri}/moved/none.pdf")


def test_a_bucket_that_is_empty_all_at_once_is_an_outage(s3: S3Server) -> None:
    with pytest.raises(SourceUnavailable, match="no such object"):
        S3Source(s3.config()).stat(f"{s3.uri}/in/none.pdf")


def test_a_lost_bucket_is_an_outage(s3: S3Server, tmp_path: Path) -> None:
    source = S3Source(s3.config())
    for ask in (
        lambda: source.fetch("s3://not-there/a", tmp_path / "a"),
        lambda: source.stat("s3://not-there/a"),
    ):
        assert isinstance(_caught(ask), SourceUnavailable)


def test_renewed_credentials_are_read_anew(
    s3: S3Server, source: S3Source, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = connect(s3.config())
    s3.proxy.answer(400, "ExpiredToken", times=1, method="HEAD")
    s3.proxy.answer(400, "ExpiredToken", times=1, method="GET")
    assert isinstance(_caught(lambda: source.fetch(uri, Path("/nowhere"))), SourceUnavailable)
    assert connect(s3.config()) is not before


class Dripping:
    """A server that sends ``head`` and then a byte now and then, for ever."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._head)
            while not self._over.wait(0.02):
                connection.sendall(b"x")

    def stop(self) -> None:
        self._over.set()
        self._listener.close()


@pytest.mark.parametrize(
    "head",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\nETag: "e"\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
    ],
    ids=["body", "header"],
)
def test_a_server_that_drips_is_given_up(s3: S3Server, tmp_path: Path, head: bytes) -> None:
    server = Dripping(head)
    try:
        config = s3.config(endpoint_url=server.url, download_timeout_s=0.4)
        started = time.monotonic()
        for ask, error in (
            (lambda: S3Source(config).fetch("s3://bucket/a.pdf", tmp_path / "copy"), SourceUnavailable),
            (lambda: list(list_documents("s3://bucket/in/", config)), SourceUnavailable),
            (lambda: S3Store("s3://bucket/out", config).read("job.json"), StoreError),
        ):
            with pytest.raises(error, match=r"not finished after 0\.4 s \(s3\.download_timeout_s\)"):
                ask()
        assert time.monotonic() - started < 60
        assert list(tmp_path.iterdir()) == []
    finally:
        server.stop()


def test_what_is_not_there_has_no_stat(source: S3Source, s3: S3Server, beside: str) -> None:
    with pytest.raises(DocumentError, match=f"^{s3.uri}/in/none.pdf: no such object"):
        source.stat(f"{s3.uri}/in/none.pdf")


@pytest.mark.parametrize("uri", ["in/a.pdf", "s3://", "s3://bucket", "s3://bucket/", "https://bucket/a"])
def test_an_address_of_no_object_is_refused(s3: S3Server, uri: str, tmp_path: Path) -> None:
    source = S3Source(s3.config())
    with pytest.raises(DocumentError, match="write s3://bucket/key"):
        source.stat(uri)
    with pytest.raises(DocumentError, match="write s3://bucket/key"):
        source.fetch(uri, tmp_path / "copy")


def test_a_source_survives_pickling_after_use(source: S3Source, uri: str) -> None:
    assert pickle.loads(pickle.dumps(source)).stat(uri) == source.stat(uri)


def test_a_prefix_is_a_folder(s3: S3Server) -> None:
    client = s3.client()
    for key in ("in/b/c.pdf", "in/a.pdf", "in/", "in2/x.pdf", "in.pdf", "z"):
        client.put_object(Bucket=s3.bucket, Key=key, Body=key.encode())
    found = list(list_documents(f"{s3.uri}/in", s3.config()))
    assert [(uri, size) for uri, size, _ in found] == [
        (f"{s3.uri}/in/a.pdf", 8),
        (f"{s3.uri}/in/b/c.pdf", 10),
    ]
    assert found[0][2] == hashlib.md5(b"in/a.pdf").hexdigest()
    assert list(list_documents(f"{s3.uri}/in/", s3.config())) == found
    assert [uri for uri, _, _ in list_documents(f"{s3.uri}/in.pdf", s3.config())] == [f"{s3.uri}/in.pdf"]
    assert len(list(list_documents(s3.uri, s3.config()))) == 5
    assert list(list_documents(f"{s3.uri}/none", s3.config())) == []


def test_a_bucket_that_cannot_be_listed_is_the_users_to_fix(s3: S3Server) -> None:
    with pytest.raises(InputError, match="s3://not-there/in: no such bucket"):
        list(list_documents("s3://not-there/in", s3.config()))
    with pytest.raises(InputError, match="is no S3 address"):
        list(list_documents("in", s3.config()))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (503, "SlowDown", SourceUnavailable),
        (400, "ExpiredToken", SourceUnavailable),
        (403, "RequestTimeTooSkewed", SourceUnavailable),
        (403, "AccessDenied", InputError),
        (403, "InvalidAccessKeyId", InputError),
    ],
)
def test_a_listing_tells_an_outage_from_what_the_user_must_correct(
    s3: S3Server, status: int, code: str, error: type[Exception]
) -> None:
    s3.proxy.answer(status, code, times=99)
    with pytest.raises(error, match=f"^{s3.uri}/in: "):
        list(list_documents(f"{s3.uri}/in", s3.config(max_attempts=5)))
    assert (error.exit_status == 1) is (error is SourceUnavailable)
