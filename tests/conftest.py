"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3_server import CREDENTIALS, S3Server


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
