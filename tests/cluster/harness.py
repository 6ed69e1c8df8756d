"""Jobs as real processes, disturbed on purpose: start, wait for a moment, kill, compare, clean up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pymupdf
import pytest

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).with_name("site")
TOKEN = "PAGEFLEET_TEST_TOKEN"
TIMING = {"render_s", "queue_s", "infer_s", "attempts", "replica", "run_id", "finished_at"}
QUICK = ["output.flush_s=0.3", "run.progress_s=1", "render.dpi=36", "run.max_failed_share=1"]
RUN_WITHIN_S = 100.0
BLANK_EVERY = 7
STOPS = pytest.mark.parametrize(
    ("number", "within_s"),
    [
        pytest.param(signal.SIGINT, 60.0),
        pytest.param(signal.SIGTERM, 60.0, marks=pytest.mark.soak),
        pytest.param(signal.SIGINT, 2.0, marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, 2.0, marks=pytest.mark.soak),
    ],
)
"""How a run is stopped, and in what time all that is finished must be stored. The soak keeps to the two
seconds we promise; everyday tests also run on machines too busy for any promise."""

Key = tuple[str, int]


# Corpora


def make_pdf(path: Path, pages: int, *, seed: int = 0) -> Path:
    """A small PDF. Each page has a pattern of its own; every seventh is blank."""
    document = pymupdf.open()
    for number in range(1, pages + 1):
        page = document.new_page(width=288, height=360)
        if number % BLANK_EVERY:
            page.insert_text((40, 60), f"{path.stem} page {number}", fontsize=14)
            code = (seed * 1009 + number) * 2654435761 % 2**24
            for bit in range(24):
                if code >> bit & 1:
                    x, y = 40 + 36 * (bit % 6), 100 + 36 * (bit // 6)
                    page.draw_rect(pymupdf.Rect(x, y, x + 34, y + 34), fill=(0, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    document.save(path)
    return path


def make_corpus(folder: Path, documents: int, pages: int, prefix: str = "d") -> Path:
    """``documents`` PDFs of ``pages`` pages each."""
    for number in range(documents):
        make_pdf(folder / f"{prefix}{number:02d}.pdf", pages, seed=number)
    return folder


def page_keys(folder: Path) -> set[Key]:
    """Every page of a folder's PDFs, counted by MuPDF."""
    keys = set()
    for path in sorted(folder.rglob("*.pdf")):
        with pymupdf.open(path) as document:
            keys |= {(path.relative_to(folder).as_posix(), n) for n in range(1, document.page_count + 1)}
    return keys


def readable(folder: Path) -> set[Key]:
    """The pages of a folder that an engine gets to see."""
    return {(doc, page) for doc, page in page_keys(folder) if page % BLANK_EVERY}


def script(**fields: Any) -> list[str]:
    """Settings of the scripted engine."""
    return ["engine.kind=scripted", f"engine.engine_args={json.dumps(fields)}"]


# What an output holds


def parquet_files(out: Path) -> list[Path]:
    return sorted([*out.glob("partial/*/*/*.parquet"), *out.glob("pages/*.parquet")])


def stored(out: Path) -> set[Key]:
    """Every page that has a row, sealed or not."""
    keys: set[Key] = set()
    for path in parquet_files(out):
        with suppress(FileNotFoundError):  # partials go when their unit is sealed
            table = pq.read_table(path, columns=["doc_id", "page"])
            keys.update(zip(table["doc_id"].to_pylist(), table["page"].to_pylist(), strict=True))
    return keys


def rows(out: Path) -> list[dict[str, Any]]:
    """Every sealed row, sorted. Two rows for one page stay two rows."""
    tables = [pq.read_table(path) for path in sorted(out.glob("pages/*.parquet"))]
    every = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(every, key=lambda row: (row["doc_id"], row["page"], row["variant"]))


def timeless(every: Iterable[dict[str, Any]], *more: str) -> list[dict[str, Any]]:
    """Rows without what may differ between an undisturbed run and any other."""
    ignored = TIMING | set(more)
    return [{name: value for name, value in row.items() if name not in ignored} for row in every]


def statuses(out: Path) -> dict[str, int]:
    return dict(Counter(row["status"] for row in rows(out)))


def failed(out: Path) -> dict[Key, str]:
    """Reasons of the failed pages."""
    return {(row["doc_id"], row["page"]): row["reason"] for row in rows(out) if row["status"] == "failed"}


def markdown(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.glob("markdown/**/*.md"))}


def logged_pages(out: Path) -> dict[str, list[Key]]:
    """The pages in each run's page log."""
    found: dict[str, list[Key]] = {}
    for path in sorted(out.glob("logs/*/pages-*.log")):
        for line in path.read_text().splitlines():
            _, _, doc, page, *_ = line.split()
            found.setdefault(path.parent.name, []).append((doc, int(page.removeprefix("p"))))
    return found


# What engines read


@dataclass
class Faults:
    """The folder behind ``site/sitecustomize.py``: which renderings fail, and what engines read."""

    folder: Path

    def spoil(self, name: str, page: int, how: str) -> None:
        """From now on, rendering this page does this: ``segv``, ``raise`` or ``sleep <seconds>``."""
        (self.folder / f"{name}#{page}").write_text(how)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def reads(self, what: str = "begin") -> list[Key]:
        """Every page an engine began (or was done with), in order, since the last ``clear``."""
        path = self.folder / "reads.log"
        found = []
        for line in path.read_text().splitlines() if path.exists() else ():
            kind, _, name = line.split(maxsplit=2)
            doc, _, page = name.rpartition("#")
            if kind == what:
                found.append((doc, int(page)))
        return found


# Jobs


@dataclass
class Job:
    """A running ``pagefleet`` and what it said so far."""

    process: subprocess.Popen[bytes]
    log: Path
    token: str

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = RUN_WITHIN_S) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"not finished after {timeout_s:g} s; it said:\n{self.said[-4000:]}"
            ) from None

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def send_to_all(self, number: int) -> None:
        """As SLURM, systemd, ``timeout`` and a terminal do: to every process of the job's group."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL to the driver alone: its workers are left to find out by themselves."""
        self.process.kill()
        self.process.wait()

    @property
    def running(self) -> bool:
        return self.process.poll() is None


@dataclass
class Runner:
    """Starts jobs of one test; ends whatever is left of them."""

    folder: Path
    env: dict[str, str]
    faults: Faults
    jobs: list[Job] = field(default_factory=list)
    mine: str = field(default_factory=lambda: uuid4().hex)

    def start(
        self,
        *words: str | Path,
        sets: Sequence[str] = (),
        env: dict[str, str] | None = None,
        raw: bool = False,
        cwd: Path = ROOT,
    ) -> Job:
        """``pagefleet WORDS…`` in a session of its own; with ``raw`` any other command line."""
        command = [] if raw else [sys.executable, "-c", "from jobs.cli.main import main; main()"]
        command += [str(word) for word in words]
        for assignment in sets:
            command += ["--set", assignment]
        log = self.folder / f"job-{len(self.jobs)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**self.env, TOKEN: self.mine, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        job = Job(process, log, self.mine)
        self.jobs.append(job)
        return job

    def run(self, *words: str | Path, sets: Sequence[str] = (), **more: Any) -> Job:
        job = self.start(*words, sets=sets, **more)
        job.wait()
        return job

    def succeed(self, *words: str | Path, sets: Sequence[str] = (), **more: Any) -> Job:
        job = self.run(*words, sets=sets, **more)
        assert job.process.returncode == 0, job.said[-6000:]
        return job

    def verify(self, out: Path | str, *words: str) -> str:
        """``pagefleet verify`` must find nothing; returns what it says."""
        return self.succeed("verify", out, *words).said

    def end(self) -> None:
        for job in self.jobs:
            if job.running:
                job.kill()
        end_processes(self.mine)


def end_processes(token: str) -> None:
    """SIGKILL what was started with this token in its environment, by pid."""
    for process in processes_of(token):
        with suppress(psutil.Error, OSError):
            process.kill()


def processes_of(token: str) -> list[psutil.Process]:
    """What was started with this token in its environment and lives."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.pid != os.getpid() and process.environ().get(TOKEN) == token:
                found.append(process)
    return found


def workers(kind: str, below: Iterable[int]) -> list[psutil.Process]:
    """Ray's worker processes that are actors of this class (``Replica``), below these processes."""
    found = []
    for pid in below:
        with suppress(psutil.Error):
            for process in psutil.Process(pid).children(recursive=True):
                with suppress(psutil.Error):
                    if process.cmdline() and process.cmdline()[0].startswith(f"ray::{kind}"):
                        found.append(process)
    return found


def until(
    what: Callable[[], Any], *, within_s: float = 60.0, alive: Job | None = None, every_s: float = 0.03
) -> Any:
    """Poll until something is true and return it. Fails after ``within_s``, or when ``alive`` ended."""
    deadline = time.monotonic() + within_s
    while True:
        if value := what():
            return value
        if alive is not None and not alive.running:
            raise AssertionError(f"the job ended ({alive.process.returncode}) early:\n{alive.said[-4000:]}")
        assert time.monotonic() < deadline, f"not so within {within_s:g} s" + (
            f"; the job said:\n{alive.said[-4000:]}" if alive else ""
        )
        time.sleep(every_s)


def signal_name(number: int) -> str:
    return signal.Signals(number).name


def each_once(keys: Iterable[Key]) -> Iterator[Key]:
    """The keys that come more than once."""
    return (key for key, count in Counter(keys).items() if count > 1)
