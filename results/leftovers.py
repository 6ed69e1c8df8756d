"""What a run leaves that went on writing while its output was deleted: told from what is not ours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from manifests.errors import StoreError
from results.store import Store
from results.unit_files import read_footer

_UNIT = r"[0-9a-f]{16}"
_MARKS = re.compile(rf"partial/{_UNIT}/g\d{{4,}}/.+|logs/\d{{8}}T\d{{6}}-[0-9a-f]{{6}}/.+|claims/.+")
_SEALED = re.compile(rf"pages/({_UNIT})\.parquet")
_BESIDE = re.compile(rf"markdown/.+|history/{_UNIT}\.g\d+\.parquet|summary\.json|failures\.jsonl")
"""Ours only beside what certainly is: others call folders so, too."""


def gone_message(store: Store, path: str) -> str:
    """What to say when an output is not there any more that a job is writing to."""
    return (
        f"{store.root}/{path} is gone: the output was deleted or moved while the job ran; nothing more is "
        "written there. Move it back, or run the same command again to begin anew"
    )


def foreign_objects(store: Store, fingerprint: str) -> Iterator[str]:
    """Objects that a job of this fingerprint cannot have left, in an output without ``job.json``."""
    is_ours = False
    doubtful: list[str] = []
    for entry in store.list():
        path = entry.path
        if _MARKS.fullmatch(path) or (
            (unit := _SEALED.fullmatch(path)) and _is_of(store, unit[1], fingerprint)
        ):
            is_ours = True
        elif not _BESIDE.fullmatch(path):
            yield path
        elif len(doubtful) < 3:
            doubtful.append(path)
    if not is_ours:
        yield from doubtful


def clear_leftovers(store: Store) -> None:
    """Delete what was under way in an output that was deleted: its plans are nobody's."""
    for entry in list(store.list("partial/")):
        store.delete(entry.path)


def _is_of(store: Store, unit_id: str, fingerprint: str) -> bool:
    try:
        footer = read_footer(store, unit_id)
    except StoreError:
        return False
    return footer is not None and footer.fingerprint == fingerprint
