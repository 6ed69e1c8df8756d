"""Looking at the folder of a document that cannot be had."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from manifests.blame import Place

MAX_TRIED = 32
"""Files beside a document that are tried before none of them counts as readable."""


def look_around(path: Path, is_proof: Callable[[str], bool] | None = None) -> Place:
    """What the folder of ``path`` shows, hidden names left aside: a mount point may hold those.

    With ``is_proof`` only a neighbour for whose path it returns True counts as seen.
    """
    try:
        with os.scandir(path.parent) as entries:
            others = (entry.path for entry in entries if _counts(entry.name) and entry.name != path.name)
            if is_proof is None:
                return Place.SIBLING_SEEN if next(others, None) else Place.EMPTY
            proven = any(map(is_proof, islice(others, MAX_TRIED)))
            return Place.SIBLING_SEEN if proven else Place.UNREACHABLE
    except (FileNotFoundError, NotADirectoryError):
        return _above(path.parent)
    except (OSError, ValueError):
        return Place.UNREACHABLE


def _above(folder: Path) -> Place:
    """What the nearest folder that is there shows."""
    for above in folder.parents:
        try:
            with os.scandir(above) as entries:
                held = any(_counts(entry.name) for entry in entries)
                return Place.FOLDER_MISSING if held else Place.EMPTY
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            break
    return Place.UNREACHABLE


def _counts(name: str) -> bool:
    return not name.startswith(".")
