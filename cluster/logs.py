"""The ends of workers' logs, and their stacks: read on the node where they are."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LOG_TAIL_LINES = 40
TAIL_BYTES = 16_384
STACKS_WITHIN_S = 1.0
ANSWER_WITHIN_S = 5.0


def log_tail_on(node: str, log: str) -> str:
    """The last lines of a log on a node, empty when it has none."""
    return _run_on(node, _read_log_tail, log)


def stacks_on(node: str, pid: int, log: str) -> str:
    """What a worker prints to its log when it is asked for all its stacks."""
    return _run_on(node, _read_stacks, pid, log)


def _run_on(node: str, task: Any, *args: Any) -> str:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    try:
        ref = task.options(scheduling_strategy=strategy).remote(*args)
        return str(ray.get(ref, timeout=ANSWER_WITHIN_S))
    except Exception as error:  # noqa: BLE001 - a help for people, never worth failing for
        return f"(not to be had: {type(error).__name__})"


@ray.remote(num_cpus=0, max_retries=0)
def _read_log_tail(log: str) -> str:
    return tail(log)


@ray.remote(num_cpus=0, max_retries=0)
def _read_stacks(pid: int, log: str) -> str:
    """Have a worker print all its stacks, even one stuck in native code, and read them."""
    before = Path(log).stat().st_size if Path(log).is_file() else 0
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + STACKS_WITHIN_S
    while time.monotonic() < deadline and Path(log).stat().st_size == before:
        time.sleep(0.05)
    return tail(log)


def tail(log: str) -> str:
    """The last lines of a file, empty when there is none."""
    path = Path(log)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-LOG_TAIL_LINES:])
