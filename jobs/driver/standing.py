"""Takes a snapshot of a run from its parts."""

from __future__ import annotations

import time

from jobs.driver.read_queue import ReadQueue
from jobs.driver.render_queue import RenderQueue
from jobs.driver.snapshot import Progress, ReplicaState, Snapshot
from jobs.driver.watchdog import Watchdog


def take_snapshot(
    progress: Progress,
    rendering: RenderQueue,
    reading: ReadQueue,
    watchdog: Watchdog,
    counts: tuple[int, int],
) -> Snapshot:
    """Where a run stands; ``counts`` are its open units and the failures that are held."""
    units_open, held_failures = counts
    in_flight = reading.replicas.in_flight
    return Snapshot(
        elapsed_s=time.monotonic() - watchdog.started,
        statuses=dict(progress.statuses),
        prompt_tokens=progress.prompt_tokens,
        completion_tokens=progress.completion_tokens,
        infer_s=progress.infer_s,
        documents_opened=progress.documents_opened,
        documents_sealed=progress.documents_sealed,
        units_open=units_open,
        units_sealed=progress.units_sealed,
        cut_pages=progress.cut_pages,
        to_render=len(rendering),
        rendering_pages=rendering.pages_reserved,
        rendered_pages_waiting=reading.pages - in_flight,
        in_flight_pages=in_flight,
        in_flight_bytes=reading.image_bytes,
        renderers=rendering.width,
        replicas={
            name: ReplicaState(pages, reading.finished_by[name])
            for name, pages in reading.replicas.per_replica.items()
        },
        replica_deaths=progress.replica_deaths,
        renderer_deaths=progress.renderer_deaths,
        suspects=len(reading.suspects) + len(rendering.suspects),
        held_failures=held_failures,
        documents_waiting_for_sources=len(rendering.sources),
        waiting_for=watchdog.waiting_for,
        changed=len(progress.changed),
    )
