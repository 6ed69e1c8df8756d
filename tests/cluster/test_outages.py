"""Kills and outages mixed: workers and drivers die, sources and servers go away and come back."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.actors.openai_server import Call, OpenAiServer, Reply
from tests.cluster.conftest import SharedCluster
from tests.cluster.harness import (
    QUICK,
    Job,
    Runner,
    make_corpus,
    markdown,
    page_keys,
    rows,
    script,
    statuses,
    stored,
    timeless,
    until,
)
from tests.s3_server import S3Server

DOCUMENTS, PAGES = 8, 12
PAGE_S = 0.25
COMMON = [*QUICK, "input.unit_documents=2", "cluster.replicas=2", "cluster.renderers=1", "s3.backoff_s=0.1"]
SCRIPTED = script(seconds=PAGE_S, concurrency=2, window=8)
WORKERS = ("Replica", "Renderer", "Writer")
OUTAGE_S = (0.5, 6.0)
MAX_RUNS = 6
SOAK_SEEDS = int(os.environ.get("PAGEFLEET_SOAK_SEEDS", "20"))
TOTALS: Counter[str] = Counter()


class Folder:
    """A corpus in a local folder, which may be away for a while."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_corpus(folder, DOCUMENTS, PAGES)
        self.words = [str(folder)]
        self.pages = page_keys(folder)

    def down(self) -> None:
        self._folder.rename(self._folder.with_suffix(".away"))

    def up(self) -> None:
        self._folder.with_suffix(".away").rename(self._folder)


class Bucket:
    """The same in a bucket whose server answers 503 for a while."""

    def __init__(self, folder: Path, s3: S3Server) -> None:
        make_corpus(folder, DOCUMENTS, PAGES)
        for path in folder.iterdir():
            s3.client().put_object(Bucket=s3.bucket, Key=f"in/{path.name}", Body=path.read_bytes())
        self._s3 = s3
        self.words = [f"{s3.uri}/in", "--s3-endpoint-url", s3.url]
        self.pages = page_keys(folder)

    def down(self) -> None:
        self._s3.proxy.answer(503, "SlowDown", times=10**9)

    def up(self) -> None:
        self._s3.proxy.reset()


@dataclass
class Trouble:
    """One seed's run of runs: what happens to it, and when."""

    runner: Runner
    cluster: SharedCluster
    source: Folder | Bucket
    server: OpenAiServer | None
    out: Path
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    job: Job = field(init=False)

    def begin(self) -> None:
        self.counts["runs"] += 1
        assert self.counts["runs"] <= MAX_RUNS, self.job.said
        cache = self.out.with_name(f"cache-{self.counts['runs']}")
        self.job = start(self.runner, self.source, self.server, self.out, cache, self.cluster)

    def plan(self) -> list[Callable[[], None]]:
        """Two workers and the driver are killed, the source and the server go away, in any order."""
        victims = self.dice.sample(WORKERS, 2)
        events = [*(lambda kind=kind: self.kill(kind) for kind in victims), self.kill_driver]
        events.append(lambda: self.outage("source", self.source))
        if self.server is not None:
            events.append(lambda: self.outage("server", _Server(self.server)))
        self.dice.shuffle(events)
        return events

    def at(self, pages: int) -> None:
        until(lambda: len(stored(self.out)) >= pages or not self.job.running, within_s=300)

    def kill(self, kind: str) -> None:
        found = until(lambda: self.cluster.workers(kind) or not self.job.running, within_s=120)
        if found is not True:
            self.dice.choice(found).send_signal(signal.SIGKILL)
            self.counts[f"{kind} killed"] += 1

    def kill_driver(self) -> None:
        if self.job.running:
            self.job.kill()
            self.counts["driver killed"] += 1
            until(lambda: not self.cluster.workers("Replica"), within_s=120)
            self.begin()

    def outage(self, what: str, place: Folder | Bucket | _Server) -> None:
        """It is away for a while, during which another worker may die."""
        if not self.job.running:
            return
        self.counts[f"{what} outage"] += 1
        place.down()
        back = threading.Timer(self.dice.uniform(*OUTAGE_S), place.up)
        back.start()
        if self.dice.random() < 0.5:
            time.sleep(self.dice.random())  # not a wait for anything: the moment
            self.kill("Renderer" if what == "server" else self.dice.choice(WORKERS))
        back.join()

    def end(self) -> None:
        """Go on until the job is done; a stop that can be resumed is no fault of an outage's."""
        while (status := self.job.wait(600)) != 0:
            assert status == 1, self.job.said
            self.counts["stopped by an outage"] += 1
            self.begin()


@dataclass(frozen=True)
class _Server:
    server: OpenAiServer

    def down(self) -> None:
        self.server.stop()

    def up(self) -> None:
        self.server.start()


def start(
    runner: Runner,
    source: Folder | Bucket,
    server: OpenAiServer | None,
    out: Path,
    cache: Path,
    cluster: SharedCluster | None,
) -> Job:
    """A job with a source cache of its own: every document is fetched."""
    sets = [*COMMON, f"render.cache_dir={cache}", *(SCRIPTED if server is None else [])]
    words = ["ocr", *source.words, "-o", out]
    words += ["--server-url", server.url, "--set", "engine.openai.max_concurrency=2"] if server else []
    words += ["--address", cluster.address] if cluster else ["--single-process"]
    return runner.start(*words, sets=sets)


def _slow(call: Call) -> Reply:
    return Reply(seconds=0.0 if call.is_probe else PAGE_S)


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer(script=_slow) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def totals(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if TOTALS:
        _tell(request.config, "all seeds", TOTALS)


def _tell(config: pytest.Config, what: str, counts: Counter[str]) -> None:
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{what}: " + ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(SOAK_SEEDS))
def test_kills_and_outages_leave_no_mark_on_the_result(
    runner: Runner,
    cluster: SharedCluster,
    s3: S3Server,
    server: OpenAiServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    seed: int,
) -> None:
    dice = random.Random(seed)
    source = Bucket(tmp_path / "in", s3) if seed % 2 else Folder(tmp_path / "in")
    reads_by = server if seed % 3 else None
    plain = tmp_path / "plain"
    undisturbed = start(runner, source, reads_by, plain, tmp_path / "cache-0", None)
    assert undisturbed.wait(300) == 0, undisturbed.said

    trouble = Trouble(runner, cluster, source, reads_by, tmp_path / "out", dice)
    events = trouble.plan()
    moments = sorted(dice.randrange(len(source.pages) * 3 // 4) for _ in events)
    trouble.begin()
    for event, moment in zip(events, moments, strict=True):
        trouble.at(moment)
        event()
    trouble.end()
    TOTALS.update(trouble.counts)
    _tell(
        request.config,
        f"seed {seed} ({source.words[0][:5]}…, {'servers' if reads_by else 'scripted'})",
        trouble.counts,
    )
    assert set(statuses(trouble.out)) == {"ok", "blank"}, trouble.job.said
    assert timeless(rows(trouble.out)) == timeless(rows(plain))
    assert markdown(trouble.out) == markdown(plain)
    runner.verify(trouble.out)
