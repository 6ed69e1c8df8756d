"""Processes as other processes know them: who works on an output, and whether it still runs."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that is at work on an output."""

    run_id: str
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: float

    @classmethod
    def this_process(cls, run_id: str) -> Owner:
        return cls(
            run_id=run_id,
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
        )

    def __str__(self) -> str:
        return f"run {self.run_id}, process {self.pid} on {self.host}"

    def is_known_dead(self) -> bool:
        """True only when this machine can tell: same boot, same process namespace, no such process."""
        return self._is_of_this_machine() and not self._runs()

    def is_known_alive(self) -> bool:
        """True only when this machine can tell."""
        return self._is_of_this_machine() and self._runs()

    def _is_of_this_machine(self) -> bool:
        return bool(self.boot_id) and (self.boot_id, self.pid_namespace) == (_boot_id(), _pid_namespace())

    def _runs(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            started_then = abs(process.create_time() - self.started) <= 1.0
            return bool(started_then and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _pid_namespace() -> str:
    path = Path("/proc/self/ns/pid")
    return str(path.readlink()) if path.is_symlink() else ""
