"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import ROOT, SITE, Faults, Runner
from tests.s3_server import CREDENTIALS, S3Server

RAY_TESTS = ROOT / "tests" / "cluster"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel runs each file stays in one process, and all that use the Ray cluster in another, which
    takes longest and so begins first."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "ray" if RAY_TESTS in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: RAY_TESTS not in item.path.parents)


@pytest.fixture(scope="session")
def s3_session() -> Iterator[S3Server]:
    """One S3 server per test process; tests use ``s3``."""
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_session: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An empty S3 server on loopback with a fresh bucket and fake credentials."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    s3_session.reset()
    return s3_session


@pytest.fixture(scope="session")
def faults_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def job_env(tmp_path_factory: pytest.TempPathFactory, faults_folder: Path) -> dict[str, str]:
    """The environment of jobs and of the shared cluster: fake credentials, a home of its own, our hooks."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PAGEFLEET_", "AWS_"))}
    return {
        **inherited,
        **CREDENTIALS,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",  # two nodes of one host share an agent: its loss delays ends
        "TEST_FAULTS": str(faults_folder),
    }


@pytest.fixture
def runner(tmp_path: Path, job_env: dict[str, str], faults_folder: Path) -> Iterator[Runner]:
    """Starts jobs. Everything they leave behind is ended with the test."""
    faults = Faults(faults_folder)
    faults.clear()
    runner = Runner(tmp_path, job_env, faults)
    yield runner
    runner.end()
