"""Whole jobs on S3 whose server fails, hangs up and loses answers: the result is that of a quiet day."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aws.s3_store import S3Store
from jobs.job_file import Unchanged
from results.job_claim import JobClaim
from results.owner import Owner
from results.participants import Purpose
from tests.cluster.harness import TIMING, Key, make_corpus, page_keys, readable
from tests.jobs.command import Commands, Said
from tests.s3_server import Fault, S3Server

DOCUMENTS, PAGES = 4, 3
SETS = ["input.unit_documents=2", "s3.backoff_s=0", "output.flush_s=0.1"]
REFUSED = ("d01.pdf", 2)
"""Asked for twice in a run, as every page that an engine refuses."""

SCRIPT: dict[str, Any] = {"fail_on": ["{}#{}".format(*REFUSED)]}
WRITTEN = ("job.json", "claims/", "partial/", "pages/", "markdown/", "logs/", "summary.json")
SOAK_SEEDS = range(int(os.environ.get("PAGEFLEET_SOAK_SEEDS", "20")))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "in", DOCUMENTS, PAGES)


@pytest.fixture
def bucket(s3: S3Server, corpus: Path) -> S3Server:
    """The server with the corpus below ``in/``."""
    client = s3.client()
    for path in corpus.iterdir():
        client.put_object(Bucket=s3.bucket, Key=f"in/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket=s3.bucket, Key="in/", Body=b"")  # as a console makes folders
    return s3


def _ocr(pagefleet: Commands, s3: S3Server, out: str = "out") -> Said:
    words = [f"{s3.uri}/in", "-o", f"{s3.uri}/{out}", "--s3-endpoint-url", s3.url]
    return pagefleet.ocr(*words, sets=SETS, **SCRIPT)


def _verify(pagefleet: Commands, s3: S3Server, out: str = "out") -> None:
    pagefleet.verify(f"{s3.uri}/{out}", "--s3-endpoint-url", s3.moto_url)


def _listed(s3: S3Server, prefix: str) -> list[str]:
    found = s3.client().list_objects_v2(Bucket=s3.bucket, Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in found]


def _rows(s3: S3Server, out: str = "out") -> list[dict[str, Any]]:
    """Every sealed row of an output, sorted, without what may differ between runs or buckets."""
    client = s3.client()
    tables = [
        pq.read_table(io.BytesIO(client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()))
        for key in _listed(s3, f"{out}/pages/")
    ]
    every = [
        {name: value for name, value in row.items() if name not in TIMING | {"uri"}}
        for row in pa.concat_tables(tables).to_pylist()
    ]
    return sorted(every, key=lambda row: (row["doc_id"], row["page"]))


def _keys(rows: list[dict[str, Any]]) -> list[Key]:
    return [(row["doc_id"], row["page"]) for row in rows]


@pytest.fixture(scope="module")
def plain_rows() -> list[dict[str, Any]]:
    """Filled by the first test that needs it; see ``_plain``."""
    return []


def _plain(pagefleet: Commands, s3: S3Server, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a fault-free run on S3, made once: all buckets hold the same documents."""
    if not known:
        said = _ocr(pagefleet, s3, "plain")
        assert said.exit_status == 0, said.words
        known += _rows(s3, "plain")
        s3.proxy.reset()
        shutil.rmtree(pagefleet.cache)  # the next run has to fetch for itself
    return known


def test_each_document_is_fetched_once_and_a_second_run_reads_nothing(
    pagefleet: Commands, bucket: S3Server, corpus: Path
) -> None:
    said = _ocr(pagefleet, bucket)
    assert said.exit_status == 0, said.words
    fetched = {
        key: n for (method, key), n in bucket.proxy.requests.items() if method == "GET" and "/in/d" in key
    }
    assert fetched == {f"{bucket.bucket}/in/{path.name}": 1 for path in corpus.iterdir()}
    assert sorted(_keys(_rows(bucket))) == sorted(page_keys(corpus))
    assert sorted(pagefleet.read) == sorted([*readable(corpus), REFUSED])
    assert len(_listed(bucket, "out/markdown/")) == DOCUMENTS
    assert not [*_listed(bucket, "out/partial/"), *_listed(bucket, "out/claims/")]
    _verify(pagefleet, bucket)

    bucket.proxy.reset()
    assert "nothing to read" in _ocr(pagefleet, bucket).words
    assert not pagefleet.read
    assert not bucket.proxy.count("GET", "/in/d")


@pytest.mark.parametrize(
    "faults",
    [
        (Fault.ERROR_500, Fault.ERROR_503),
        (Fault.DROP, Fault.CUT_BODY),
        (Fault.LOSE_ANSWER,),
    ],
    ids=["the server fails", "connections break", "answers are lost after the write"],
)
def test_a_fault_at_every_kind_of_request_changes_nothing(
    pagefleet: Commands,
    bucket: S3Server,
    corpus: Path,
    plain_rows: list[dict[str, Any]],
    faults: tuple[Fault, ...],
) -> None:
    """Creates fail in the run; the conditional replace of a sealed unit fails in the retry after it."""
    plain = _plain(pagefleet, bucket, plain_rows)

    def disturb() -> None:
        bucket.proxy.reset()
        for fault in faults:
            for path in WRITTEN:
                bucket.proxy.fail(fault, 2, "PUT", f"/out/{path}")
            bucket.proxy.fail(fault, 1, "GET", "/in/d")
            bucket.proxy.fail(fault, 1, "GET", "/out/")
            bucket.proxy.fail(fault, 2, "GET")  # listings, which have no key
            bucket.proxy.fail(fault, 2, "DELETE")

    disturb()
    said = _ocr(pagefleet, bucket)
    assert said.exit_status == 0, said.words
    assert sorted(pagefleet.read) == sorted([*readable(corpus), REFUSED])
    assert set(bucket.proxy.injected) == {fault.name for fault in faults}
    assert min(bucket.proxy.injected.values()) >= 2 * len(WRITTEN)
    assert _rows(bucket) == plain
    assert not [*_listed(bucket, "out/partial/"), *_listed(bucket, "out/claims/")]

    disturb()
    said = pagefleet.run(
        "retry",
        f"{bucket.uri}/out",
        "--single-process",
        "--s3-endpoint-url",
        bucket.url,
        sets=["s3.backoff_s=0"],
    )
    assert said.exit_status == 0, said.words
    again = [page for page in pagefleet.read if not page[0].startswith("pagefleet/")]  # a control's
    assert again == [REFUSED, REFUSED]
    assert [{**row, "generation": 1} for row in _rows(bucket)] == plain
    assert len(_listed(bucket, "out/history/")) == 1
    assert not [*_listed(bucket, "out/partial/"), *_listed(bucket, "out/claims/")]
    bucket.proxy.reset()
    _verify(pagefleet, bucket)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in SOAK_SEEDS if seed)]
)
def test_one_request_in_twenty_fails_and_nothing_is_lost_or_done_twice(
    pagefleet: Commands, bucket: S3Server, corpus: Path, plain_rows: list[dict[str, Any]], seed: int
) -> None:
    plain = _plain(pagefleet, bucket, plain_rows)
    bucket.proxy.at_random(0.05, seed)
    said = _ocr(pagefleet, bucket)
    assert said.exit_status == 0, said.words
    assert sum(bucket.proxy.injected.values()) > 0
    assert sorted(pagefleet.read) == sorted([*readable(corpus), REFUSED])
    assert _rows(bucket) == plain
    bucket.proxy.reset()
    _verify(pagefleet, bucket)


def test_an_output_named_as_hadoop_does_is_the_same_on_s3(pagefleet: Commands, bucket: S3Server) -> None:
    _ocr(pagefleet, bucket)
    hadoop = bucket.uri.replace("s3://", "s3a://")
    words = [f"{hadoop}/in", "-o", f"{hadoop}/out", "--s3-endpoint-url", bucket.url]
    assert "nothing to read" in pagefleet.ocr(*words, sets=SETS, **SCRIPT).words
    pagefleet.verify(f"{hadoop}/out", "--s3-endpoint-url", bucket.moto_url)


def test_credentials_that_are_refused_are_told_in_a_sentence(
    pagefleet: Commands, bucket: S3Server, corpus: Path
) -> None:
    bucket.proxy.answer(403, "InvalidAccessKeyId", 10**6)
    said = _ocr(pagefleet, bucket)
    assert said.exit_status == 2, said.words
    assert "S3 refuses the credentials (InvalidAccessKeyId)" in said.words
    said = pagefleet.ocr(corpus, "-o", f"{bucket.uri}/out", "--s3-endpoint-url", bucket.url, sets=SETS)
    assert said.exit_status == 1, said.words
    assert "S3 refuses the credentials (InvalidAccessKeyId)" in said.words
    said = pagefleet.run("verify", f"{bucket.uri}/out", "--s3-endpoint-url", bucket.url)
    assert said.exit_status != 0
    assert not _listed(bucket, "out/")


def test_a_job_that_may_not_seal_stops_and_later_goes_on_without_reading_again(
    pagefleet: Commands, bucket: S3Server
) -> None:
    bucket.proxy.answer(403, "AccessDenied", 10**6, "PUT", "/out/pages/")
    said = _ocr(pagefleet, bucket)
    assert said.exit_status == 1, said.words
    assert "s3:PutObject" in said.words
    before = set(pagefleet.read)
    assert before
    bucket.proxy.reset()
    said = _ocr(pagefleet, bucket)
    assert said.exit_status == 0, said.words
    assert not set(pagefleet.read) & before
    _verify(pagefleet, bucket)


@pytest.mark.parametrize("headers", [(), ("If-None-Match",), ("If-Match",)])
def test_an_output_on_a_server_that_ignores_conditions_is_for_one_job_at_a_time(
    pagefleet: Commands, bucket: S3Server, corpus: Path, headers: tuple[str, ...]
) -> None:
    bucket.proxy.ignore_conditions(*headers)
    told = "ignores the conditions of writes (If-None-Match, If-Match)"
    words = [f"{bucket.uri}/in", "-o", f"{bucket.uri}/out", "--s3-endpoint-url", bucket.url]
    shard = pagefleet.ocr(*words, "--num-shards", "2", sets=SETS, **SCRIPT)
    assert shard.exit_status == 2, shard.words
    assert told in shard.words
    assert not _listed(bucket, "out/")
    alone = _ocr(pagefleet, bucket)
    assert alone.exit_status == 0, alone.words
    assert f"warning: {bucket.uri}/out {told}" in alone.words
    assert sorted(_keys(_rows(bucket))) == sorted(page_keys(corpus))
    assert not [*_listed(bucket, "out/partial/"), *_listed(bucket, "out/claims/")]
    _verify(pagefleet, bucket)

    store = S3Store(f"{bucket.uri}/out", bucket.config())
    them = JobClaim(store, Owner.this_process("theirs"), Purpose("ocr"))
    assert them.enter(Unchanged(store), lambda seconds: False, print)
    beside = _ocr(pagefleet, bucket)
    them.leave()
    assert beside.exit_status == 2, beside.words
    assert "run theirs" in beside.words
    assert "cannot be shared" in beside.words
    assert not pagefleet.read
