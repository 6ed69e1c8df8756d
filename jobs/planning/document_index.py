"""Where documents are held: an index over the units of an output, two numbers a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.planning.output_listing import OutputListing
from manifests.documents import FIELDS, Document
from manifests.markdown_paths import meeting_key
from manifests.units import UnitPlan
from results.store import Store
from results.unit_files import Footer, read_footer, read_plan

READ_THREADS = 16
NOWHERE = -1
MASK = 0xFFFF_FFFF_FFFF_FFFF

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]

_ID, _PAGES, _MAX_PAGES, _VERSION = (FIELDS.index(n) for n in ("doc_id", "pages", "max_pages", "version"))


@dataclass(frozen=True, slots=True)
class HeldUnit:
    """A unit of the output: its sealed footer, its plan under way, or both."""

    unit_id: str
    footer: Footer | None
    plan: UnitPlan | None
    stale: bool

    @classmethod
    def read(cls, store: Store, listing: OutputListing, unit_id: str, stale_fingerprint: str) -> HeldUnit:
        under_way = listing.open.get(unit_id)
        plan = read_plan(store, unit_id, under_way) if under_way else None
        # A plan that is gone since it was listed: another process has sealed its unit.
        sealed = plan is None or unit_id in listing.sealed
        footer = read_footer(store, unit_id) if sealed else None
        stale = stale_fingerprint and footer and footer.fingerprint != stale_fingerprint
        return cls(unit_id, footer, plan, bool(stale))

    @property
    def documents(self) -> tuple[Document, ...]:
        """As they are planned, or as they were sealed."""
        if self.plan is not None:
            return self.plan.documents
        return tuple(as_sealed(s.document, s.version) for s in self.footer.documents) if self.footer else ()

    @property
    def rank(self) -> tuple[bool, int]:
        """Of two units that hold one document the higher counts: what is sealed, then what was planned
        later."""
        return (self.footer is not None, self.plan.planning if self.plan is not None else 0)


def as_sealed(document: Document, version: str) -> Document:
    """A document in the version it was read in, which its plan may not have known."""
    return document if document.version == version else replace(document, version=version)


@dataclass(slots=True)
class _Unit:
    """A unit in the index: its documents by hash, and whether each of them must be looked at closely."""

    unit_id: str
    ids: Hashes
    wishes: Hashes
    markdown: list[int]
    closely: bool
    rank: tuple[bool, int]
    disposable: bool

    @classmethod
    def of(cls, held: HeldUnit) -> _Unit:
        documents = held.documents
        rows = [(d.doc_id, d.version, d.pages, d.max_pages) for d in documents]
        return cls(
            held.unit_id,
            _hashed(row[0] for row in rows),
            _hashed(rows),
            [meeting_key(document.markdown) for document in documents],
            held.plan is not None or held.stale,
            held.rank,
            held.footer is None,
        )


@dataclass(slots=True)
class DocumentIndex:
    """Which unit holds a document. Units are numbered in the order of ``unit_ids``.

    ``strays`` are plans that another outranks: they were written by a process that had lost the output
    when it wrote them, so nobody ever works by them.
    """

    unit_ids: list[str]
    strays: list[str]
    closely: npt.NDArray[np.bool_]
    markdown: set[int] = field(repr=False)
    _ids: Hashes = field(repr=False)
    _wishes: Hashes = field(repr=False)
    _units: Numbers = field(repr=False)

    @classmethod
    def build(
        cls, read: Callable[[str], HeldUnit], unit_ids: Iterable[str], sealed: Iterable[Hashes] = ()
    ) -> DocumentIndex:
        """Read footers and plans of these units, many at once, and keep only hashes.

        ``sealed`` are the documents of sealed units that need no reading, for the sake of strays.
        """
        with ThreadPoolExecutor(READ_THREADS) as threads:
            units = list(threads.map(lambda unit_id: _Unit.of(read(unit_id)), unit_ids))
        units.sort(key=lambda unit: unit.rank, reverse=True)
        strays = _strays(units, list(sealed))
        units = [unit for unit in units if unit.unit_id not in strays]
        ids = _joined([unit.ids for unit in units])
        wishes = _joined([unit.wishes for unit in units])
        numbers = np.repeat(np.arange(len(units), dtype=np.int32), [len(unit.ids) for unit in units])
        unique, first = np.unique(ids, return_index=True)
        return cls(
            [unit.unit_id for unit in units],
            sorted(strays),
            np.array([unit.closely for unit in units], bool),
            {key for unit in units for key in unit.markdown},
            unique,
            wishes[first],
            numbers[first],
        )

    def find(self, rows: Iterable[tuple[Any, ...]]) -> Numbers:
        """The number of the unit that holds each document, or ``NOWHERE``; documents as their fields.

        A unit one of whose documents is wanted otherwise than it is held is marked in ``closely``.
        """
        wanted = [(row[_ID], row[_VERSION], row[_PAGES], row[_MAX_PAGES]) for row in rows]
        if not len(self._ids):
            return np.full(len(wanted), NOWHERE, np.int32)
        ids, wishes = _hashed(row[0] for row in wanted), _hashed(wanted)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        known = self._ids[places] == ids
        numbers = np.where(known, self._units[places], NOWHERE).astype(np.int32)
        self.closely[numbers[known & (self._wishes[places] != wishes)]] = True
        return numbers


def _strays(units: list[_Unit], sealed: list[Hashes]) -> set[str]:
    """Plans of which some document is held by a unit that outranks them; ``units`` go by rank."""
    elsewhere = _joined(sealed)
    ids = np.concatenate([elsewhere, *(unit.ids for unit in units)])
    if len(np.unique(ids)) == len(ids):
        return set()
    strays, taken = set[str](), set[int](elsewhere.tolist())
    for unit in units:
        held = set(unit.ids.tolist())
        if unit.disposable and not taken.isdisjoint(held):
            strays.add(unit.unit_id)
        else:
            taken |= held
    return strays


def hashed_ids(rows: Iterable[tuple[Any, ...]]) -> Hashes:
    """The ids of documents, given as their fields, as the index knows them."""
    return _hashed(row[_ID] for row in rows)


def _hashed(values: Iterable[Any]) -> Hashes:
    """Hashes that hold within this process."""
    return np.array([hash(value) & MASK for value in values], np.uint64)


def _joined(parts: list[Hashes]) -> Hashes:
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
