"""Units: slices of whole documents, the grain of commit, resume, assembly and sharing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from manifests.documents import Document

MAX_DOCUMENTS = 256
MAX_BYTES = 10**9


@dataclass(frozen=True, slots=True)
class Cut:
    """How inputs are cut: documents and source bytes at which a unit closes; for trial runs the first
    pages of each document and the first documents (0: all)."""

    max_documents: int = MAX_DOCUMENTS
    max_bytes: int = MAX_BYTES
    max_pages: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """A slice of the input in order. ``unit_id`` comes from its rows, so every process cuts alike."""

    unit_id: str
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """What one generation of a unit is to read.

    ``reread`` is None when everything is read (the first generation). Otherwise it names, by index
    into ``documents``, the pages to read again (``""`` for the whole document); every other row is
    copied from the sealed file, whose version was ``base_version``. ``planning`` numbers the planning
    that made it: should two plans hold one document, the later counts and the earlier is nobody's.
    Each page owes a row in each of ``variants``. ``fingerprint`` is the one that the unit as a whole counts
    as read with, where that is not the reading job's own: a selection read again with other settings
    leaves it as it was.
    """

    unit_id: str
    generation: int
    documents: tuple[Document, ...]
    reread: dict[int, str] | None = None
    base_version: str = ""
    variants: tuple[str, ...] = ("",)
    fingerprint: str = ""
    planning: int = 0

    def wanted_indexes(self) -> list[int]:
        """The documents this generation reads, in order."""
        return list(range(len(self.documents))) if self.reread is None else sorted(self.reread)

    def wanted(self, doc_index: int) -> Document:
        """A document as this generation reads it: a reread of single pages narrows its selection."""
        document = self.documents[doc_index]
        pages = (self.reread or {}).get(doc_index, "")
        return replace(document, pages=pages, max_pages=0) if pages else document

    def restarted(self, doc_index: int, version: str) -> UnitPlan:
        """The plan after a document's source turned out to have another version: all of it is read."""
        documents = list(self.documents)
        documents[doc_index] = replace(documents[doc_index], version=version)
        reread = None if self.reread is None else {**self.reread, doc_index: ""}
        return replace(self, documents=tuple(documents), reread=reread)

    def to_json(self) -> dict[str, Any]:
        return {
            "unit_id": self.unit_id,
            "generation": self.generation,
            "documents": [document.to_json() for document in self.documents],
            "reread": None if self.reread is None else {str(k): v for k, v in self.reread.items()},
            "base_version": self.base_version,
            "variants": list(self.variants),
            "fingerprint": self.fingerprint,
            "planning": self.planning,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> UnitPlan:
        reread = fields["reread"]
        return cls(
            unit_id=fields["unit_id"],
            generation=fields["generation"],
            documents=tuple(Document.from_json(document) for document in fields["documents"]),
            reread=None if reread is None else {int(k): v for k, v in reread.items()},
            base_version=fields["base_version"],
            variants=tuple(fields.get("variants", ("",))),
            fingerprint=fields.get("fingerprint", ""),
            planning=fields.get("planning", 0),
        )


def first_generation(unit: Unit, variants: tuple[str, ...] = ("",)) -> UnitPlan:
    """Read everything the unit names."""
    return UnitPlan(unit.unit_id, 1, unit.documents, variants=variants)


def cut_units(
    documents: Iterable[Document], max_documents: int = MAX_DOCUMENTS, max_bytes: int = MAX_BYTES
) -> Iterator[Unit]:
    """Cut documents in order; a unit closes at a number of documents or source bytes."""
    batch: list[Document] = []
    batch_bytes = 0
    for document in documents:
        if batch and (len(batch) >= max_documents or batch_bytes + document.size > max_bytes):
            yield make_unit(batch)
            batch, batch_bytes = [], 0
        batch.append(document)
        batch_bytes += document.size
    if batch:
        yield make_unit(batch)


def make_unit(documents: Iterable[Document]) -> Unit:
    """Name a slice by what is wanted of which version of which documents (not where they lie)."""
    kept = tuple(documents)
    wanted = ((d.doc_id, d.version, d.pages, d.max_pages, d.prompt, *d.source_keys()) for d in kept)
    named = "".join(map(json.dumps, wanted)).encode()
    return Unit(blake2b(named, digest_size=8).hexdigest(), kept)


def in_shard(unit_id: str, index: int, count: int) -> bool:
    """Whether a process that is shard ``index`` of ``count`` may claim this unit."""
    return int(unit_id, 16) % count == index
