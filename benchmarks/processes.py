"""What the processes of a job use: CPU seconds by role, and memory with every shared page counted once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import psutil

SAMPLE_EVERY_S = 0.2
ROLES = (
    ("ray::Renderer", "renderers"),
    ("ray::Replica", "replica"),
    ("ray::Writer", "writer"),
    ("raylet/raylet", "raylet"),
    ("gcs_server", "gcs"),
    ("multiprocessing", "bare"),
    ("benchmarks.server_process", "server"),
)


def job_processes() -> list[psutil.Process]:
    """This process and everything it started."""
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def role_of(process: psutil.Process) -> str:
    """What a process does for the job."""
    if process.pid == psutil.Process().pid:
        return "driver"
    command = " ".join(process.cmdline())
    return next((role for sign, role in ROLES if sign in command), "other")


def cpu_seconds() -> Counter[str]:
    """CPU seconds used so far, by role."""
    seconds: Counter[str] = Counter()
    for process in job_processes():
        try:
            times = process.cpu_times()
            seconds[role_of(process)] += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return seconds


def driver_rss() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


def memory_by_role() -> Counter[str]:
    """Bytes by role: what is not shared memory proportionally, and the object store's pages once."""
    used: Counter[str] = Counter()
    stores: dict[int, int] = {}
    for process in job_processes():
        try:
            used[role_of(process)] += _proportional_bytes(process.pid)
            if role_of(process) == "raylet":
                stores.update(_object_store(process.pid))
        except (psutil.NoSuchProcess, OSError):
            continue
    used["object store"] = sum(stores.values())
    return used


def _proportional_bytes(pid: int) -> int:
    """Pss less Pss_Shmem (see proc(5)): shared memory is counted at the object store."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        sizes[name] = int(value) * 1024
    return sizes["Pss:"] - sizes.get("Pss_Shmem:", 0)


def _object_store(pid: int) -> dict[int, int]:
    """Allocated bytes of the store's file, by inode. Ray unlinks it, so only a descriptor leads there."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if "/plasma" in str(link.readlink()):
            status = link.stat()
            found[status.st_ino] = status.st_blocks * 512
    return found


class MemoryPeak:
    """Samples the job's memory while a block runs; ``peak`` is the largest sum and ``roles`` its parts."""

    def __init__(self) -> None:
        self.peak = 0
        self.roles: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            used = memory_by_role()
            if (total := sum(used.values())) > self.peak:
                self.peak, self.roles = total, used
            self._stop.wait(max(0.0, SAMPLE_EVERY_S - (time.monotonic() - started)))
