"""``ray job submit`` to a cluster with token authentication: the shipped working folder does the work."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.harness import (
    QUICK,
    ROOT,
    TOKEN,
    Runner,
    end_processes,
    make_corpus,
    page_keys,
    rows,
    script,
    until,
)

RAY = str(Path(sys.executable).with_name("ray"))
PACKAGES = ("actors", "aws", "cluster", "jobs", "manifests")
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")


@dataclass(frozen=True)
class Head:
    """A head node with token authentication, and the environment of who holds its token."""

    dashboard: str
    env: dict[str, str]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def head(job_env: dict[str, str], tmp_path: Path) -> Iterator[Head]:
    home, mine = tmp_path / "home", uuid4().hex
    home.mkdir()
    temp_dir = tempfile.mkdtemp(prefix="pf-", dir="/tmp")  # short: Ray puts sockets there
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    env = {name: value for name, value in job_env.items() if name != "PYTHONPATH"}
    env |= {"HOME": str(home), "RAY_AUTH_MODE": "token", TOKEN: mine}
    subprocess.run(
        [RAY, "get-auth-token", "--generate"], env=env, check=True, capture_output=True, timeout=60
    )
    command = [RAY, "start", "--head", "--block", "--num-cpus", "2", "--disable-usage-stats"]
    command += ["--include-dashboard", "true", "--object-store-memory", str(100 * 2**20)]
    command += ["--temp-dir", temp_dir, "--node-ip-address", "127.0.0.1"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    log = (tmp_path / "head.log").open("wb")
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield Head(f"http://127.0.0.1:{ports['dashboard-port']}", env)
    finally:
        end_processes(mine)
        process.wait(10)
        log.close()
        shutil.rmtree(temp_dir, ignore_errors=True)


def _answers(url: str) -> int:
    """The status of a request without a token; 0 while nobody listens."""
    try:
        with closing(urllib.request.urlopen(f"{url}/api/jobs/", timeout=5)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _checkout(folder: Path) -> Path:
    """A copy of the packages, marked so that rows tell whether it was this code that read."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "samples")
        )
    engine = folder / "actors" / "engines" / "scripted" / "engine.py"
    source = engine.read_text()
    assert source.count('"script"') == 1
    engine.write_text(source.replace('"script"', '"submitted"'))
    return folder


def _status(head: Head, submission: str) -> str:
    """Pending, running, succeeded or failed, asked as a program would."""
    request = urllib.request.Request(f"{head.dashboard}/api/jobs/{submission}")
    token = Path(head.env["HOME"], ".ray", "auth_token").read_text().strip()
    request.add_header("Authorization", f"Bearer {token}")
    with closing(urllib.request.urlopen(request, timeout=10)) as answer:
        return str(json.load(answer)["status"])


@pytest.mark.skipif(" " in sys.executable, reason="Ray ships no job to a Python whose path has a space")
def test_a_submitted_job_runs_the_shipped_code_and_only_with_the_token(
    runner: Runner, head: Head, tmp_path: Path
) -> None:
    folder, out = make_corpus(tmp_path / "in", 3, 5), tmp_path / "out"
    checkout = _checkout(tmp_path / "checkout")
    words = ["ocr", str(folder), "-o", str(out)]
    submission = uuid4().hex
    submit = [RAY, "job", "submit", "--address", head.dashboard, "--working-dir", str(checkout)]
    submit += ["--no-wait", "--submission-id", submission, "--"]  # its log stream may break; the job must not
    submit += [sys.executable, "-m", "jobs.ocr", *words[1:]]
    settings = [*QUICK, *script(num_cpus=0.1), "cluster.replicas=1", "cluster.renderers=1"]
    until(lambda: _answers(head.dashboard) == 401)

    nobody = tmp_path / "nobody"
    nobody.mkdir()
    no_token = {"HOME": str(nobody), "RAY_AUTH_MODE": "", "PYTHONPATH": ""}
    refused = runner.start(*submit, sets=settings, env=no_token, raw=True)
    job = runner.start(
        *submit, sets=settings, env=head.env | {TOKEN: runner.mine, "PYTHONPATH": ""}, raw=True
    )
    assert refused.wait(60) != 0
    assert "Unauthorized: Missing authentication token" in refused.said, refused.said[-2000:]
    assert job.wait(60) == 0, job.said[-6000:]
    until(lambda: _status(head, submission) in ("SUCCEEDED", "FAILED", "STOPPED"), within_s=100, every_s=0.5)
    assert _status(head, submission) == "SUCCEEDED"
    assert {(row["doc_id"], row["page"]) for row in rows(out)} == page_keys(folder)
    assert {row["status"] for row in rows(out)} == {"ok"}
    assert {row["model"] for row in rows(out)} == {"submitted"}
    runner.verify(out)
