"""How much may be in flight: pages that keep the replicas busy, and the bytes they may take."""

from __future__ import annotations

from jobs.driver.read_queue import ReadQueue
from jobs.driver.render_calls import Room
from jobs.driver.render_queue import RenderQueue

AHEAD = 1.5
FIRST_WINDOW = 16
CALLS_PER_WINDOW = 4
"""Chunks a replica's window holds: fewer would let one slow page keep the place of many."""
LIKELY_PAGE_BYTES = 8 * 2**20
"""A page of A4 at 150 dpi is 6.5 MB of RGB."""
MIN_WINDOW_BYTES = 512 * 2**20
STORE_SHARE = 0.25
"""Of a node's object store, for pages in flight; the rest is for rows, arguments and other jobs."""


def room_for(rendering: RenderQueue, reading: ReadQueue, window_bytes: int | None) -> Room:
    """What may be rendered now. ``window_bytes`` per node is what the user set, if so."""
    window = reading.replicas.window or FIRST_WINDOW
    nodes = len(reading.replicas.nodes) or 1
    held_bytes = reading.image_bytes + rendering.bytes_reserved
    if window_bytes is not None:
        limit_bytes = window_bytes * nodes
    else:
        wanted = window * LIKELY_PAGE_BYTES
        limit_bytes = max(
            MIN_WINDOW_BYTES * nodes, min(wanted, int(STORE_SHARE * reading.replicas.store_bytes) or wanted)
        )
    return Room(
        pages=int(AHEAD * window) + 1 - reading.pages - rendering.pages_reserved,
        bytes=limit_bytes - held_bytes,
        call_pages=max(1, (reading.replicas.widest or FIRST_WINDOW) // CALLS_PER_WINDOW),
        idle=not reading.pages,
    )
