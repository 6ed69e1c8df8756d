"""One Ray cluster for all tests that leave it intact."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.harness import TOKEN, end_processes, workers

OBJECT_STORE_BYTES = 200 * 2**20
HEAD_CPUS = 2


class SharedCluster:
    """A Ray cluster whose processes are below this one."""

    def __init__(self, env: dict[str, str]) -> None:
        from ray.cluster_utils import Cluster

        self._env = env
        self._temp_dir = tempfile.mkdtemp(prefix="pf-", dir="/tmp")  # short: Ray puts sockets there
        self._token = uuid4().hex
        (Path(tempfile.gettempdir()) / "ray").mkdir(exist_ok=True)  # Ray notes the head there, also of ours
        with self._environment():
            self._cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": HEAD_CPUS,
                    "object_store_memory": OBJECT_STORE_BYTES,
                    "include_dashboard": False,
                    "temp_dir": self._temp_dir,
                    "_system_config": {"health_check_period_ms": 1000},  # a lost node is missed sooner
                },
            )
        self.address: str = self._cluster.address

    def add_node(self, num_cpus: int) -> Any:
        with self._environment():
            return self._cluster.add_node(num_cpus=num_cpus, object_store_memory=OBJECT_STORE_BYTES)

    def kill_node(self, node: Any) -> None:
        """SIGKILL its raylet: to the others the machine is gone."""
        self._cluster.remove_node(node, allow_graceful=False)

    def workers(self, kind: str) -> list[Any]:
        return workers(kind, [os.getpid()])

    def stop(self) -> None:
        self._cluster.shutdown()
        end_processes(self._token)
        shutil.rmtree(self._temp_dir, ignore_errors=True)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """``os.environ`` is that of jobs for a while: Ray's processes inherit it."""
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(self._env | {TOKEN: self._token})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture(scope="session")
def cluster(job_env: dict[str, str]) -> Iterator[SharedCluster]:
    cluster = SharedCluster(job_env)
    yield cluster
    cluster.stop()
