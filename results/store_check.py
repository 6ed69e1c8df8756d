"""Whether a store keeps its conditions: without them two processes could both take the same work."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from manifests.errors import StoreError
from results.store import Created, Store

NO_VERSION = "00000000000000000000000000000000"
ATTEMPTS = 3
"""Another process that clears up old claims may take a probe away, once."""


def keeps_conditions(store: Store) -> bool:
    """Try create-once and conditional replacement with an object that is gone again afterwards.

    Some servers that speak S3 take ``If-None-Match`` and ``If-Match`` and do not heed them.
    """
    return any(_tried(store) for _ in range(ATTEMPTS))


def _tried(store: Store) -> bool:
    path = f"claims/probe-{uuid4().hex}"
    try:
        if store.create(path, b"first") is not Created.CREATED or store.create(path, b"2") is Created.CREATED:
            return False
        if store.replace(path, b"3", if_match=NO_VERSION) is not None:
            return False
        found = store.read(path)
        return found is not None and found[0] == b"first"
    finally:
        with suppress(StoreError):
            store.delete(path)
