"""Joining a Ray cluster, or starting a local one."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import ray

from cluster.config import ClusterConfig, FleetSpec
from manifests.errors import ConfigError, JobError

CONNECT_WITHIN_S = 5.0


def connect(spec: FleetSpec, config: ClusterConfig) -> bool:
    """Be a driver of the cluster that is meant. Returns whether it is one that others started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    joined = address != "local"
    if joined and spec.gpus:
        raise ConfigError(
            "engine.gpus: names GPUs of this machine, but Ray places the engines of a cluster; "
            "use cluster.replicas and engine.tensor_parallel_size"
        )
    if not ray.is_initialized():
        if ":" in address and "://" not in address:
            _check_reachable(address)
        _init(address, {} if joined else _local_options(spec, config), config)
    return joined


def _local_options(spec: FleetSpec, config: ClusterConfig) -> dict[str, Any]:
    if spec.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = spec.gpus
    # By inheritance, not by a runtime environment: that would cost each worker's start a second.
    here = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys([here, *known])))
    return {
        "num_cpus": config.num_cpus,
        "object_store_memory": config.object_store_bytes,
        "include_dashboard": False,
    }


def _init(address: str, options: dict[str, Any], config: ClusterConfig) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=config.worker_logs, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise JobError(
            f"cannot join the Ray cluster at {address!r}: {error}. Is it up ('ray status')? A cluster "
            "with token authentication also needs RAY_AUTH_MODE=token and its token"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray puts its own in their place
                signal.signal(number, handler)


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
