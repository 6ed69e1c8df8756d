"""How long a worker that did not start is left alone before its place is tried again."""

from __future__ import annotations

MAX_PAUSE_S = 60.0


def restart_after_s(failed_starts: int) -> float:
    """Seconds: none after a death at work, then 1, 3, 7 … while starts go on failing in a row."""
    return min(MAX_PAUSE_S, 2.0**failed_starts - 1.0)
