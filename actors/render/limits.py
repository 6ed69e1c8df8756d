"""Hard limits around code that cannot be interrupted from Python: seconds and memory.

MuPDF and Pillow hold the interpreter lock inside C, so nothing softer than a signal with its
default action ends a page that hangs: the process dies, and whoever supervises it starts another.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATM = Path("/proc/self/statm")


class HardLimits:
    """Kills this process when an opening or a page takes too long, and caps its private memory.

    Both act on the whole process: ``enabled=False`` makes every method do nothing, for use inside a
    process that does other things as well. Create it in the main thread.
    """

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        if enabled:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})

    @contextmanager
    def seconds(self, timeout_s: float) -> Iterator[None]:
        """SIGALRM ends the process unless the block is left within ``timeout_s``."""
        if not self._enabled:
            yield
            return
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def memory(self, allowed_bytes: int) -> Iterator[None]:
        """Within the block allocations fail beyond what is private now plus ``allowed_bytes``."""
        if not self._enabled or not _STATM.exists():
            yield
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        ceilings = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        wanted = min([_private_bytes() + allowed_bytes, *ceilings])
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _private_bytes() -> int:
    """Writable private memory of this process; RLIMIT_DATA counts the same (proc(5), setrlimit(2))."""
    return int(_STATM.read_text().split()[5]) * resource.getpagesize()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, in Python, Pillow or MuPDF (``malloc (… bytes) failed``)."""
    text = str(error)
    return isinstance(error, MemoryError) or ("alloc" in text and "failed" in text)
