"""Rows that stand in two units, found without remembering rows: 12 bytes for each document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.verify.format import Hashes, Integers, contains, hashes, joined
from jobs.verify.places import Place
from jobs.verify.report import MAX_KEPT, Defect, Findings, Kind
from jobs.verify.rows import Coded, load_keys


@dataclass(frozen=True, slots=True)
class _Keys:
    """The rows of one unit whose documents stand in other units too."""

    path: str
    documents: Coded
    pages: Integers
    hashes: Hashes


class DoubledRows:
    """Remembers which unit has rows of which document; units that share one are read a second time."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._documents: list[Hashes] = []

    def add(self, path: str, documents: Hashes) -> None:
        """Remember the documents that have rows in a unit."""
        self._paths.append(path)
        self._documents.append(np.unique(documents))

    def documents(self) -> Hashes:
        """All documents that have rows, sorted."""
        return np.unique(joined(self._documents))

    def report(self, place: Place, findings: Findings) -> None:
        """Count the rows that another unit has as well, and name the first of them."""
        shared = _repeated(joined(self._documents))
        if not len(shared):
            return
        rows = np.concatenate([np.unique(keys.hashes) for keys in self._keys(place, shared)])
        doubled = _repeated(rows)
        if not len(doubled):
            return
        named = self._name(place, shared, doubled, findings)
        findings.counts[Kind.DOUBLED] += len(rows) - len(np.unique(rows)) - named

    def _keys(self, place: Place, shared: Hashes) -> Iterator[_Keys]:
        for path, documents in zip(self._paths, self._documents, strict=True):
            if contains(shared, documents).any():
                coded, pages, variants = load_keys(place, path)
                names = hashes(coded.values)
                kept = np.flatnonzero(contains(shared, names)[coded.codes])
                key = _mixed(names[coded.codes[kept]]) + pages[kept].astype(np.uint64)
                key = _mixed(key) + hashes(variants.values)[variants.codes[kept]]
                yield _Keys(path, Coded(coded.codes[kept], coded.values), pages[kept], _mixed(key))

    def _name(self, place: Place, shared: Hashes, doubled: Hashes, findings: Findings) -> int:
        """Add one defect for each doubled row, up to as many as are kept; tells how many."""
        first_at = np.full(len(doubled), -1, dtype=np.int32)
        named = 0
        paths: list[str] = []
        for keys in self._keys(place, shared):
            paths.append(keys.path)
            rows = np.flatnonzero(contains(doubled, keys.hashes))
            at, unique = np.unique(np.searchsorted(doubled, keys.hashes[rows]), return_index=True)
            for slot, row in zip(at.tolist(), rows[unique].tolist(), strict=True):
                if first_at[slot] >= 0:
                    doc_id = keys.documents.values[keys.documents.codes[row]]
                    what = f"has a row in {paths[first_at[slot]]} too"
                    defect = Defect(Kind.DOUBLED, what, keys.path, doc_id, str(keys.pages[row]))
                    findings.add(defect)
                    named += 1
                if named >= MAX_KEPT:
                    return named
            first_at[at[first_at[at] < 0]] = len(paths) - 1
        return named


def _repeated(values: Hashes) -> Hashes:
    """The values that stand more than once, sorted."""
    ordered = np.sort(values)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _mixed(values: Hashes) -> Hashes:
    """splitmix64's finalizer (Steele, Lea, Flood 2014): spreads sums of hashes over all 64 bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
