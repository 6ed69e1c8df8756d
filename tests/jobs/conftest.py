"""Fixtures for tests of whole commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.command import Commands, commands_of


@pytest.fixture
def pagefleet(tmp_path: Path) -> Iterator[Commands]:
    with commands_of(tmp_path / "cache") as commands:
        yield commands
