"""Joining a Ray cluster, or starting a local one."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray

from cluster import signals, temp_folder
from cluster.code_path import CODE, code_path
from cluster.settings import ClusterConfig, FleetSpec
from manifests.errors import ConfigError, JobError

CONNECT_WITHIN_S = 5.0


class Connection:
    """This process as a driver of a cluster; one that it started itself ends with it."""

    def __init__(self, spec: FleetSpec, config: ClusterConfig) -> None:
        self._spec = spec
        self._config = config
        self._ours = False
        self._not_rays: set[int] = set()

    def open(self) -> bool:
        """Be a driver of the cluster that is meant. Returns whether it is one that others started."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        address = self._config.address or os.environ.get("RAY_ADDRESS") or "local"
        joined = address != "local"
        if joined and self._spec.gpus:
            raise ConfigError(
                "engine.gpus: names GPUs of this machine, but Ray places the engines of a cluster; "
                "use cluster.replicas and engine.tensor_parallel_size"
            )
        if not ray.is_initialized():
            if ":" in address and "://" not in address:
                _check_reachable(address)
            self._not_rays = {process.pid for process in _children()}
            self._init(address, {} if joined else _local_options(self._spec, self._config))
            if not joined:
                self._ours = True
                _end_without_asking()
        return joined

    def close(self) -> None:
        """Leave the cluster; end one of our own, and whatever its workers have started. Raises nothing."""
        left = self._rays_processes() if self._ours else []
        self._ours = False
        with suppress(Exception):  # of a cluster that is gone there is nothing to leave
            ray.shutdown()
        for process in left:
            with suppress(psutil.Error):
                process.kill()

    def _rays_processes(self) -> list[psutil.Process]:
        """Everything below what Ray has started here. An engine's own processes outlive its worker."""
        rays = [process for process in _children() if process.pid not in self._not_rays]
        return [*rays, *(below for process in rays for below in _children(process, recursive=True))]

    def _init(self, address: str, options: dict[str, Any]) -> None:
        try:
            with signals.held_back(), _own_handlers():
                ray.init(
                    address=address,
                    log_to_driver=self._config.worker_logs,
                    logging_level=logging.ERROR,
                    **_job_options(),
                    **options,
                )
        except Exception as error:  # Ray also raises plain ones, such as for a start that took too long
            raise JobError(_refusal(address, error)) from error


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep our handlers while Ray starts: its own would end this process at the first SIGTERM. What Ray's
    native code puts in their place meanwhile has rung for an abort in three seconds if one came."""
    utils: Any = ray._private.utils
    theirs = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    handlers = {number: signal.getsignal(number) for number in signals.STOPS}
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.alarm(0)


def _refusal(address: str, error: Exception) -> str:
    if address == "local":
        return (
            f"a local Ray cluster does not start: {error}. 'pagefleet ocr --single-process' reads without Ray"
        )
    return (
        f"cannot join the Ray cluster at {address!r}: {error}. Is it up ('ray status')? A cluster "
        "with token authentication also needs RAY_AUTH_MODE=token and its token"
    )


def _local_options(spec: FleetSpec, config: ClusterConfig) -> dict[str, Any]:
    if spec.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = spec.gpus
    if folder := temp_folder.choose(os.environ):
        os.environ["RAY_TMPDIR"] = folder
    # By inheritance, not by a runtime environment: that would cost each worker's start a second.
    os.environ["PYTHONPATH"] = code_path()
    return {
        "num_cpus": config.num_cpus,
        "object_store_memory": config.object_store_bytes,
        "include_dashboard": False,
    }


def _job_options() -> dict[str, Any]:
    """Put the folder of our code first on the workers' import path, where Ray would put the driver's
    working directory: a ``numpy.py`` lying there would be imported by every worker. A submitted job
    brings its own."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return {}
    return {"job_config": ray.job_config.JobConfig(_client_job=True, _py_driver_sys_path=[CODE])}


def _end_without_asking() -> None:
    """At the end Ray asks each of its processes by SIGTERM and waits a second for it; but from ours stop
    signals are held back."""
    node: Any = getattr(ray._private.worker, "_global_node", None)
    if node is not None:
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **_: kill(check_alive=False, allow_graceful=False)


def _children(of: psutil.Process | None = None, recursive: bool = False) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return list((of or psutil.Process()).children(recursive=recursive))
    return []


def _check_reachable(address: str) -> None:
    """Fail at once, in words, where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_WITHIN_S).close()
    except (OSError, ValueError) as error:
        raise JobError(
            f"nothing answers at {address} ({error}): is the Ray cluster up, and is this the address "
            "that 'ray start --head' printed?"
        ) from error
