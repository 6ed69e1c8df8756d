"""Documents on S3: one GET each, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
from pathlib import Path

import pytest

from aws.s3_source import S3Source, list_documents
from manifests.errors import DocumentError, InputError
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


def test_a_fetch_that_always_breaks_off_fails_the_document_and_leaves_no_half(
    s3: S3Server, source: S3Source, uri: str, tmp_path: Path
) -> None:
    s3.proxy.fail(Fault.CUT_BODY, times=99, method="GET")
    with pytest.raises(
        DocumentError, match=r"after 3 attempts .the connection broke while reading"
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


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "NoSuchKey", "no such object: correct its address"),
        (404, "NoSuchBucket", "no such bucket"),
        (403, "AccessDenied", "access denied .*: allow s3:GetObject"),
        (500, "InternalError", "still answers InternalError after 8 attempts"),
    ],
)
def test_what_cannot_be_fetched_is_explained(
    source: S3Source, s3: S3Server, uri: str, tmp_path: Path, status: int, code: str, message: str
) -> None:
    s3.proxy.answer(status, code, times=99)
    with pytest.raises(DocumentError, match=message):
        source.fetch(uri, tmp_path / "copy")


def test_what_is_not_there_has_no_stat(source: S3Source, s3: S3Server) -> None:
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
