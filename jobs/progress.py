"""What a run tells while it goes on: plain progress lines, and throughput records in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jobs.driver import events
from jobs.driver.events import DriverEvent
from jobs.driver.snapshot import Snapshot
from results.logs import BestEffortLog
from results.store import Store

RECORDS_PER_SEGMENT = 60
MAX_LOG_TAIL = 160

LINES: dict[type[DriverEvent], str] = {
    events.ReplicaReady: "{0.replica} is ready: {0.engine}, loaded in {0.load_s:.1f} s",
    events.ReplicaReplaced: "{0.replica} is gone ({0.cause}), it is replaced",
    events.RendererReplaced: "{0.renderer} is gone ({0.cause}); it is replaced",
    events.UnitTakenOver: "unit {0.unit_id} was taken over by another process",
    events.DocumentRestarted: (
        "{0.doc_id} changed since it was planned or read: it is read again from its first page"
    ),
    events.DocumentGivenUp: (
        "{0.doc_id} changed {0.restarts} times while it was read: it is recorded as failed"
    ),
    events.SourcesUnavailable: (
        "sources do not answer: {0.message}; {0.documents:,} documents wait, for {0.waited_s:.0f} s by now, "
        "asked again in {0.next_try_s:.0f} s"
    ),
    events.SourcesBack: "sources answer again",
    events.EngineWaiting: (
        "the engine waits: {0.message} ({0.replicas} replicas, for {0.waited_s:.0f} s by now)"
    ),
    events.EngineBack: "the engine goes on",
    events.EngineFailing: (
        "{0.replica} failed on {0.pages:,} pages in a row ({0.reason}): a page that is known to be good is "
        "read before any more"
    ),
    events.EngineCleared: (
        "{0.replica} reads others: {0.again:,} pages are read again, {0.failed:,} recorded as failed"
    ),
    events.ReplicaAtFault: (
        "{0.replica} cannot read ({0.reason}): it gets no more pages, others read its last {0.pages:,}"
    ),
}


class ProgressLog:
    """The driver's observer: speaks every ``every_s`` seconds, and of what is worth a line of its own.

    Records go to ``logs/<run>/throughput-<n>.jsonl``; a segment is written again until it is full,
    since an object store cannot append.
    """

    def __init__(
        self, store: Store, run_id: str, every_s: float, documents: int, say: Callable[[str], None]
    ) -> None:
        self._log = BestEffortLog(store, say)
        self._run_id = run_id
        self._every_s = every_s
        self._documents = documents
        self._say = say
        self._started = self._last = time.monotonic()
        self._last_pages = 0
        self._last_tokens = 0
        self._segment: list[str] = []
        self._segments = 1

    def on_event(self, event: DriverEvent) -> None:
        self._say(f"{time.strftime('%H:%M:%S')}  {line_of(event)}")

    def on_tick(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._last >= self._every_s:
            self.record(snapshot)

    def record(self, snapshot: Snapshot) -> None:
        """Write one record and say one line now."""
        now = time.monotonic()
        elapsed_s = max(now - self._last, 1e-9)
        done, tokens = snapshot.progress, snapshot.progress.completion_tokens
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "elapsed_s": round(now - self._started, 1),
            "pages": done.pages,
            "statuses": done.statuses,
            "pages_per_s": round((done.pages - self._last_pages) / elapsed_s, 2),
            "tokens_per_s": round((tokens - self._last_tokens) / elapsed_s, 1),
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": tokens,
            "in_flight_pages": snapshot.in_flight_pages,
            "rendered_pages_waiting": snapshot.rendered_pages_waiting,
            "in_flight_bytes": snapshot.in_flight_bytes,
            "replicas": {
                name: {"in_flight": replica.in_flight, "finished": replica.finished}
                for name, replica in snapshot.replicas.items()
            },
            "documents_opened": done.documents_opened,
            "documents_sealed": done.documents_sealed,
            "replica_deaths": done.replica_deaths,
            "renderer_deaths": done.renderer_deaths,
            "suspects": snapshot.suspects,
            "held_failures": snapshot.held_failures,
            "documents_waiting_for_sources": snapshot.documents_waiting_for_sources,
            "waiting_for": snapshot.waiting_for,
        }
        self._last, self._last_pages, self._last_tokens = now, done.pages, tokens
        self._keep(record)
        self._say(self._line(record))

    def _keep(self, record: dict[str, Any]) -> None:
        self._segment.append(json.dumps(record))
        path = f"logs/{self._run_id}/throughput-{self._segments:05d}.jsonl"
        self._log.write(path, ("\n".join(self._segment) + "\n").encode())
        if len(self._segment) >= RECORDS_PER_SEGMENT:
            self._segment = []
            self._segments += 1

    def _line(self, record: dict[str, Any]) -> str:
        statuses = " ".join(f"{name} {count:,}" for name, count in record["statuses"].items())
        if not record["replicas"] and not statuses:
            return f"{time.strftime('%H:%M:%S')}  the engine is loading"
        waiting = f"  waiting for: {record['waiting_for']}" if record["waiting_for"] else ""
        return (
            f"{time.strftime('%H:%M:%S')}  {record['pages']:,} pages  {record['pages_per_s']:.1f}/s  "
            f"[{statuses or 'none finished yet'}]  in flight {record['in_flight_pages']}  "
            f"documents {record['documents_sealed']:,}/{self._documents:,}{waiting}"
        )


def line_of(event: DriverEvent) -> str:
    """An event as one line for people."""
    match event:
        case events.RendererReplaced(suspected=True):
            return f"{event.renderer} is gone ({event.cause}); what it was working on is looked at alone"
        case events.ReplicaReplaced(log_tail=log_tail):
            return f"{LINES[type(event)].format(event)}. The end of its log: …{_end(log_tail)}"
        case events.PageCondemned(doc_id, page, reason):
            return f"{doc_id}{f' page {page}' if page else ''} is recorded as failed: {reason}"
    return LINES[type(event)].format(event)


def _end(log_tail: str) -> str:
    return " ".join(log_tail.split())[-MAX_LOG_TAIL:]
