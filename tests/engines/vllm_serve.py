"""A real ``vllm serve`` on loopback, for tests of what talks to servers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx
import psutil

UP_WITHIN_S = 240.0
LIMITS = ["--max-model-len", "1024", "--max-num-seqs", "32", "--max-num-batched-tokens", "4096"]
LEAN = ["--enforce-eager", "--mm-processor-cache-gb", "0", "--no-enable-prefix-caching"]
MEMORY = ["--gpu-memory-utilization", "0.1"]
"""Share of the machine's memory that must be free, beside VLLM_CPU_KVCACHE_SPACE."""


class VllmServe:
    """The server's process and its address; up when made, gone after the block or ``stop``."""

    def __init__(self, model: Path, log: Path, *arguments: str) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        self.log = log
        words = [
            "serve",
            str(model),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *LIMITS,
            *LEAN,
            *MEMORY,
            *arguments,
        ]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vllm.entrypoints.cli.main", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(f"http://127.0.0.1:{port}/health")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and its engine, at once and for sure."""
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.process.pid)
            ended = [server, *server.children(recursive=True)]
            for process in ended:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(ended, timeout=10)
        self.process.wait()

    def __enter__(self) -> VllmServe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait(self, health: str) -> None:
        deadline = time.monotonic() + UP_WITHIN_S
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                with suppress(httpx.TransportError):
                    if client.get(health).is_success:
                        return
                time.sleep(0.2)
        raise RuntimeError(f"vllm serve did not come up:\n{self.log.read_text()[-4000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
