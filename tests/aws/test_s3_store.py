"""The S3 store: the contract of all stores, and what a network can do wrong."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable

import pytest

from aws import s3_store
from aws.s3_store import S3Store
from aws.settings import S3Config
from manifests.errors import ConfigError, StoreError
from results.store import Created
from tests.s3_server import Fault, S3Server
from tests.store_contract import StoreContract, processes

__all__ = ["processes"]

EVERY_FAULT = pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)


@pytest.fixture
def store(s3: S3Server) -> S3Store:
    return S3Store(f"{s3.uri}/out/run", s3.config())


class TestContract(StoreContract):
    pass


@EVERY_FAULT
def test_every_call_survives_a_fault(store: S3Store, s3: S3Server, fault: Fault) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.create("a", b"0123456789"),
        lambda: store.read_tail("a", 4),
        lambda: store.replace("b", b"x"),
        lambda: [entry.path for entry in store.list()],
        lambda: store.delete("b"),
        lambda: store.read("a"),
    ]
    answers = []
    for call in calls:
        s3.proxy.fail(fault, times=2)
        answers.append(call())
    assert answers[:2] == [Created.CREATED, b"6789"]
    assert answers[3:5] == [["a", "b"], None]
    assert answers[5][0] == b"0123456789"  # type: ignore[index]
    assert s3.proxy.injected == {fault.name: 2 * len(calls)}


def test_a_create_whose_answer_was_lost_is_ours(store: S3Store, s3: S3Server) -> None:
    s3.proxy.fail(Fault.LOSE_ANSWER, method="PUT")
    assert store.create("claim", b"mine") is Created.CREATED
    assert s3.proxy.requests == {
        ("PUT", f"{s3.bucket}/out/run/claim"): 2,
        ("HEAD", f"{s3.bucket}/out/run/claim"): 1,
    }


def test_a_conditional_replace_whose_answer_was_lost_is_ours(store: S3Store, s3: S3Server) -> None:
    old = store.replace("claim", b"old")
    s3.proxy.fail(Fault.LOSE_ANSWER, method="PUT")
    new = store.replace("claim", b"new", if_match=old)
    assert new not in (None, old)
    assert store.read("claim") == (b"new", new)


def test_a_lost_answer_does_not_make_the_write_of_another_ours(store: S3Store, s3: S3Server) -> None:
    store.create("claim", b"theirs")
    s3.proxy.fail(Fault.LOSE_ANSWER, method="PUT")
    assert store.create("claim", b"mine") is Created.EXISTS
    s3.proxy.fail(Fault.LOSE_ANSWER, method="PUT")
    assert store.replace("claim", b"mine", if_match="stale") is None
    assert store.read("claim")[0] == b"theirs"  # type: ignore[index]


def test_a_conflict_with_a_write_under_way_is_tried_again(store: S3Store, s3: S3Server) -> None:
    s3.proxy.answer(409, "ConditionalRequestConflict", times=3, method="PUT")
    assert store.create("claim", b"mine") is Created.CREATED
    assert s3.proxy.count("PUT", "claim") == 4


def test_what_stood_in_the_way_and_is_gone_does_not_hold_up_a_create(store: S3Store, s3: S3Server) -> None:
    s3.proxy.answer(412, "PreconditionFailed", method="PUT")
    assert store.create("claim", b"mine") is Created.CREATED


def store_file(store: S3Store, content: bytes, if_match: str | None = "") -> object:
    """Create (or replace, given a version) an object by a file that goes up in three parts."""
    with store.scratch_file() as file:
        file.write_bytes(content)
        if if_match == "":
            return store.create_file("pages/a", file)
        return store.replace_file("pages/a", file, if_match)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 * 2**20)  # S3 takes no smaller ones
    return bytes(range(256)) * (11 * 2**12)


def test_a_large_file_goes_up_in_parts_under_its_condition(
    store: S3Store, s3: S3Server, in_parts: bytes
) -> None:
    assert store_file(store, in_parts) is Created.CREATED
    assert store_file(store, b"other" + in_parts) is Created.EXISTS
    data, version = store.read("pages/a")  # type: ignore[misc]
    assert data == in_parts
    assert store_file(store, in_parts + b"!", if_match="stale") is None
    newer = store_file(store, in_parts + b"!", if_match=version)
    assert store.read("pages/a") == (in_parts + b"!", newer)
    uploads = s3.client().list_multipart_uploads(Bucket=s3.bucket)
    assert not uploads.get("Uploads"), "nothing is left of those that came to nothing"
    with store.local_file("pages/a") as file:
        assert file is not None and file.read_bytes() == in_parts + b"!"


@EVERY_FAULT
def test_a_large_file_survives_a_fault_of_each_request(
    store: S3Store, s3: S3Server, in_parts: bytes, fault: Fault
) -> None:
    for method in ("POST", "PUT"):
        s3.proxy.fail(fault, method=method)
    assert store_file(store, in_parts) is Created.CREATED
    assert store.read("pages/a")[0] == in_parts  # type: ignore[index]


def test_a_completion_whose_answer_was_lost_is_ours(
    store: S3Store, s3: S3Server, in_parts: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, posts = S3Store._finish_once, []

    def finish(self: S3Store, *args: object) -> object:
        if not posts:
            posts.append(s3.proxy.fail(Fault.LOSE_ANSWER, method="POST"))
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(S3Store, "_finish_once", finish)
    assert store_file(store, in_parts) is Created.CREATED
    assert s3.proxy.injected == {"LOSE_ANSWER": 1}
    assert store.read("pages/a")[0] == in_parts  # type: ignore[index]


def test_an_empty_object_may_have_no_range(store: S3Store, s3: S3Server) -> None:
    store.create("empty", b"")
    s3.proxy.answer(416, "InvalidRange", method="GET")
    assert store.read_tail("empty", 8) == b""


def test_a_footer_costs_one_request(store: S3Store, s3: S3Server) -> None:
    store.create("a", bytes(100_000))
    s3.proxy.reset()
    store.read_tail("a", 1000)
    assert s3.proxy.requests == {("GET", f"{s3.bucket}/out/run/a"): 1}


def test_a_listing_of_several_pages_is_whole_and_stays_below_the_prefix(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key="out2/other", Body=b"")
    client.put_object(Bucket=s3.bucket, Key="out/", Body=b"")
    for number in range(10):
        client.put_object(Bucket=s3.bucket, Key=f"out/{number:04}", Body=b"")
    store = S3Store(f"{s3.uri}/out/", s3.config())
    assert [entry.path for entry in store.list()] == [f"{number:04}" for number in range(10)]
    assert s3.proxy.count("GET") == 3


def test_random_faults_lose_nothing_and_do_nothing_twice(store: S3Store, s3: S3Server) -> None:
    s3.proxy.at_random(0.25, seed=7)
    for number in range(12):
        path = f"claim/{number}"
        assert store.create(path, b"a") is Created.CREATED
        version = store.read(path)[1]  # type: ignore[index]
        new = store.replace(path, b"b", if_match=version)
        assert new is not None
        assert store.replace(path, b"c", if_match=version) is None
        assert store.read(path) == (b"b", new)
    assert len(list(store.list())) == 12
    assert len(s3.proxy.injected) == len(Fault)


def test_many_failed_requests_do_not_wear_out_the_retries(store: S3Store, s3: S3Server) -> None:
    s3.proxy.fail(Fault.ERROR_503, times=15 * 8)
    for _ in range(15):
        with pytest.raises(StoreError, match="after 8 attempts"):
            store.delete("a")
    s3.proxy.fail(Fault.DROP, times=7)
    assert store.create("a", b"x") is Created.CREATED


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "access denied .*: allow s3:GetObject"),
        (403, "InvalidAccessKeyId", "refuses the credentials .*: correct or renew AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "refuses the credentials"),
        (400, "ExpiredToken", "refuses the credentials"),
        (403, "RequestTimeTooSkewed", "clock is wrong: set it"),
        (301, "PermanentRedirect", "another region"),
        (400, "KeyTooLongError", "shorten the document's id"),
        (400, "Unheard", "refuses with Unheard: injected by the test"),
        (503, "SlowDown", "still answers SlowDown after 3 attempts: run the same command again"),
        (409, "ConditionalRequestConflict", "after 3 attempts .other writers keep changing"),
    ],
)
def test_a_refusal_says_where_and_what_to_do(s3: S3Server, status: int, code: str, message: str) -> None:
    store = S3Store(f"{s3.uri}/out", s3.config(max_attempts=3))
    s3.proxy.answer(status, code, times=99, method="PUT")
    with pytest.raises(StoreError, match=f"^{s3.uri}/out/claim: .*{message}") as caught:
        store.create("claim", b"")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_missing_bucket_is_an_error_and_not_a_missing_object(s3: S3Server) -> None:
    store = S3Store("s3://not-there/out", s3.config())
    calls = (
        lambda: store.read("a"),
        lambda: store.create("a", b""),
        lambda: store.replace("a", b"", if_match="x"),
        lambda: store.delete("a"),
        lambda: list(store.list()),
    )
    for call in calls:
        with pytest.raises(StoreError, match=r"s3://not-there/out/.*: no such bucket: correct its name"):
            call()


def test_a_bucket_name_that_cannot_be_is_explained(s3: S3Server) -> None:
    with pytest.raises(StoreError, match=r"S3 does not allow this address: .*Invalid bucket name"):
        S3Store("s3://a b/out", s3.config()).read("a")


def test_an_unreachable_endpoint_is_named(s3: S3Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config = S3Config(endpoint_url=f"http://127.0.0.1:{port}", max_attempts=2, backoff_s=0)
    with pytest.raises(StoreError, match=f"cannot reach S3 .*127.0.0.1:{port}.*: check endpoint_url"):
        S3Store("s3://bucket", config).read("a")


def test_missing_credentials_and_profiles_are_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"profile \(nobody\).*: correct the profile or add it"):
        S3Store(s3.uri, s3.config(profile="nobody")).read("a")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"Unable to locate credentials.*: set AWS_ACCESS_KEY_ID"):
        S3Store(s3.uri, s3.config(max_attempts=2)).read("a")  # no client of another test


@pytest.mark.parametrize("uri", ["out", "/out", "s3:/bucket", "s3://", "https://bucket/out"])
def test_a_root_that_is_no_s3_address_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="is no S3 address: write s3://bucket/key"):
        S3Store(uri, S3Config())


def test_a_server_that_ignores_conditions_shows_it_to_who_creates_twice(s3: S3Server) -> None:
    """Nothing hides it: a second create that should find the object there says that it made it."""
    s3.proxy.ignore_conditions()
    store = S3Store(s3.uri, s3.config())
    assert [store.create("probe", data) for data in (b"1", b"2")] == [Created.CREATED, Created.CREATED]
    assert store.replace("probe", b"3", if_match="of nothing") is not None


def test_a_server_without_conditional_writes_is_named(s3: S3Server) -> None:
    s3.proxy.answer(501, "NotImplemented", times=9, method="PUT")
    with pytest.raises(StoreError, match="does not do what is asked, such as conditional writes"):
        S3Store(s3.uri, s3.config()).create("probe", b"1")


def test_a_store_reaches_its_server_by_the_environment_alone(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    assert S3Store(s3.uri, S3Config()).create("a", b"x") is Created.CREATED
    assert s3.proxy.count("PUT", f"{s3.bucket}/a") == 1
