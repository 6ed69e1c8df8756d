"""Fixtures of the engine tests, which run in a virtual environment of their own (.venv-engines)."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.tiny_reader.model import MODEL
from tests.engines.vllm_serve import VllmServe

SITE = Path(__file__).with_name("site")
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)]),
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""For every process in which an engine is loaded."""

INSTALLED = importlib.util.find_spec("vllm") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]

if INSTALLED:  # for this process and all that it starts
    sys.path.insert(0, str(SITE))
    runpy.run_path(str(SITE / "sitecustomize.py"))
    os.environ.update(ENVIRONMENT)


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServe]:
    """A server that reads with the tiny reader. Tests that kill a server start one of their own."""
    with VllmServe(MODEL, tmp_path_factory.mktemp("serve") / "log") as server:
        yield server
