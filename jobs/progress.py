"""What a run tells while it goes on: plain progress lines, and throughput records in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jobs.driver.driver import Driver
from results.store import Store

RECORDS_PER_SEGMENT = 60


class ProgressLog:
    """The driver's watcher: speaks every ``every_s`` seconds, and of what is worth a line of its own.

    Records go to ``logs/<run>/throughput-<n>.jsonl``; a segment is written again until it is full,
    since an object store cannot append.
    """

    def __init__(
        self, store: Store, run_id: str, every_s: float, documents: int, say: Callable[[str], None]
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._every_s = every_s
        self._documents = documents
        self._say = say
        self._started = self._last = time.monotonic()
        self._last_pages = 0
        self._last_tokens = 0
        self._segment: list[str] = []
        self._segments = 1

    def happened(self, what: str) -> None:
        self._say(f"{time.strftime('%H:%M:%S')}  {what}")

    def turned(self, driver: Driver) -> None:
        if time.monotonic() - self._last >= self._every_s:
            self.record(driver)

    def record(self, driver: Driver) -> None:
        """Write one record and say one line now."""
        now = time.monotonic()
        elapsed_s = max(now - self._last, 1e-9)
        progress = driver.progress
        tokens = progress.completion_tokens
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "elapsed_s": round(now - self._started, 1),
            "pages": progress.pages,
            "statuses": dict(progress.statuses),
            "pages_per_s": round((progress.pages - self._last_pages) / elapsed_s, 2),
            "tokens_per_s": round((tokens - self._last_tokens) / elapsed_s, 1),
            "prompt_tokens": progress.prompt_tokens,
            "completion_tokens": tokens,
            "in_flight_pages": driver.reading.in_flight,
            "rendered_pages_waiting": driver.reading.pages - driver.reading.in_flight,
            "in_flight_bytes": driver.reading.image_bytes,
            "replicas": {
                name: {"in_flight": pages, "finished": driver.reading.finished_by[name]}
                for name, pages in driver.reading.per_replica.items()
            },
            "documents_opened": progress.documents_opened,
            "documents_sealed": progress.documents_sealed,
            "replica_deaths": progress.replica_deaths,
            "renderer_deaths": progress.renderer_deaths,
        }
        self._last, self._last_pages, self._last_tokens = now, progress.pages, tokens
        self._keep(record)
        self._say(self._line(record))

    def _keep(self, record: dict[str, Any]) -> None:
        self._segment.append(json.dumps(record))
        path = f"logs/{self._run_id}/throughput-{self._segments:05d}.jsonl"
        self._store.replace(path, ("\n".join(self._segment) + "\n").encode())
        if len(self._segment) >= RECORDS_PER_SEGMENT:
            self._segment = []
            self._segments += 1

    def _line(self, record: dict[str, Any]) -> str:
        statuses = " ".join(f"{name} {count:,}" for name, count in record["statuses"].items())
        if not record["replicas"] and not statuses:
            return f"{time.strftime('%H:%M:%S')}  the engine is loading"
        return (
            f"{time.strftime('%H:%M:%S')}  {record['pages']:,} pages  {record['pages_per_s']:.1f}/s  "
            f"[{statuses or 'none finished yet'}]  in flight {record['in_flight_pages']}  "
            f"documents {record['documents_sealed']:,}/{self._documents:,}"
        )
