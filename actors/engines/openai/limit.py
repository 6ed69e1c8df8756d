"""How many requests a server gets at once: found by trying, as TCP finds a line's capacity."""

from __future__ import annotations

START = 64


class AdaptiveLimit:
    """Grows with good answers and halves with refusals, between 1 and ``most``.

    Until the first refusal every good answer adds one, which doubles the limit per round of answers;
    then one is added per round. Refusals of requests sent before the last cut count no more: a burst of
    them is one piece of news.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._climbing = True
        self._cut_at = float("-inf")

    @property
    def value(self) -> int:
        return int(self._limit)

    def grow(self) -> None:
        step = 1.0 if self._climbing else 1.0 / self._limit
        self._limit = min(self._most, self._limit + step)

    def cut(self, sent_at: float, now: float) -> None:
        """A request sent at ``sent_at`` was refused."""
        if sent_at < self._cut_at:
            return
        self._limit = max(1.0, self._limit / 2)
        self._climbing = False
        self._cut_at = now
