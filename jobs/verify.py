"""``pagefleet verify``: hold an output against what it must be, by code that did not write it.

Of this package it imports only its own ``verify_*`` siblings and the error tree. It reads one unit
after another: memory is that of the largest unit, and 8 to 30 bytes for each document.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.verify_doubles import DoubledRows
from jobs.verify_format import (
    Hashes,
    PageRow,
    SealedDocument,
    batches,
    contains,
    expected_markdown,
    hashes,
    image_name,
)
from jobs.verify_manifests import Named, entries
from jobs.verify_places import Place, Sources, VerifyS3Options, open_place
from jobs.verify_report import Finding, Findings, Kind, print_findings
from jobs.verify_rows import load_unit
from jobs.verify_units import Unit, check_rows
from manifests.errors import StoreError

__all__ = ["Findings", "Kind", "VerifyS3Options", "print_findings", "verify"]

THREADS = 16
DOCUMENTS_AT_A_TIME = 64


def verify(
    out: str, manifests: Sequence[str] = (), s3: VerifyS3Options | None = None, check_hashes: bool = False
) -> Findings:
    """All that is wrong with the output ``out``, a folder or ``s3://bucket/prefix``.

    With ``manifests``, every document they name must be there and no other. ``check_hashes`` reads
    sources whose version is a SHA-256 once more. Raises InputError when ``out`` holds no job or a
    manifest is not to be found, ManifestError for a malformed one, StoreError when listing fails.
    """
    options = s3 or VerifyS3Options()
    place = open_place(out, options)
    named = Named(manifests) if manifests else None
    with ThreadPoolExecutor(THREADS) as threads:
        check = _Check(place, named, Sources(options, check_hashes), threads)
        try:
            check.run(manifests)
        except OSError as error:
            raise StoreError(f"{out}: cannot be listed: {error}") from error
    return check.findings


@dataclass(slots=True)
class _Partial:
    """What lies below ``partial/<unit>/``: generations with a plan, and all generations."""

    planned: set[int] = field(default_factory=set)
    generations: set[int] = field(default_factory=set)
    files: int = 0


class _Check:
    """One pass over an output, and what later steps need of the earlier ones."""

    def __init__(
        self, place: Place, named: Named | None, sources: Sources, threads: ThreadPoolExecutor
    ) -> None:
        self.findings = Findings()
        self._place = place
        self._named = named
        self._sources = sources
        self._threads = threads
        self._doubled = DoubledRows()
        self._partials: dict[str, _Partial] = {}
        self._planned: list[Hashes] = []
        self._markdown: list[Hashes] = []

    def run(self, manifests: Sequence[str]) -> None:
        """Partials are listed before units: what is sealed meanwhile is then seen as sealed."""
        self._list_partials()
        for path in self._place.files("pages"):
            if re.fullmatch(r"pages/[^/]+\.parquet", path):
                self._unit(path)
            else:
                self.findings.warn(f"{path}: is not a unit's file")
        self._unfinished()
        self._doubled.report(self._place, self.findings)
        self.findings.documents = len(self._doubled.documents())
        self._unowned_markdown()
        if self._named:
            self._unnamed(manifests)
        self._summary()
        self._leftovers()

    def _list_partials(self) -> None:
        for path in self._place.files("partial"):
            found = re.fullmatch(r"partial/([^/]+)/g(\d+)/([^/]+)", path)
            if not found:
                self.findings.warn(f"{path}: is not a file of a unit under way")
                continue
            partial = self._partials.setdefault(found[1], _Partial())
            partial.generations.add(int(found[2]))
            partial.files += 1
            if found[3] == "unit.json":
                partial.planned.add(int(found[2]))

    def _unit(self, path: str) -> None:
        footer, rows = load_unit(self._place, path, self.findings)
        if rows is not None:
            self.findings.units += 1
            self.findings.statuses = dict(Counter(self.findings.statuses) + rows.statuses.counts())
            self._doubled.add(path, hashes(rows.documents.values))
        if footer is None:
            return
        self._forget_sealed(path, footer.generation)
        self._planned.append(hashes(sealed.doc_id for sealed in footer.documents))
        self._markdown.append(hashes(sealed.markdown for sealed in footer.documents))
        if self._named:
            self._orphans(path, footer.documents, self._named)
        if rows is not None:
            unit = Unit(path, footer, rows, self.findings)
            check_rows(unit)
            codes = {doc_id: code for code, doc_id in enumerate(rows.documents.values)}
            for documents in batches(footer.documents, DOCUMENTS_AT_A_TIME):
                self._check_markdown(unit, documents, codes)
        self._check_sources(path, footer.documents)

    def _forget_sealed(self, path: str, generation: int) -> None:
        """Partials of a sealed generation are only leftovers; a later one is under way."""
        unit_id = path.removeprefix("pages/").removesuffix(".parquet")
        partial = self._partials.get(unit_id)
        if partial and max(partial.generations) <= generation:
            del self._partials[unit_id]
            self.findings.warn(f"partial/{unit_id}: {partial.files:,} files left over of a sealed unit")

    def _unfinished(self) -> None:
        for unit_id, partial in self._partials.items():
            where = f"partial/{unit_id}/g{max(partial.generations):04d}"
            count = "an unknown number of"
            if partial.planned:
                where = f"partial/{unit_id}/g{max(partial.planned):04d}/unit.json"
                try:
                    count = f"{self._planned_documents(where):,}"
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    self.findings.add(Finding(Kind.UNREADABLE, f"is not a unit's plan: {error!r}", where))
            what = f"unit {unit_id} is unfinished: {count} documents (resume the job)"
            self.findings.add(Finding(Kind.UNFINISHED, what, where))

    def _planned_documents(self, path: str) -> int:
        """How many documents a generation under way reads; their ids and Markdown are theirs already."""
        plan = json.loads(self._place.read(path) or b"")
        documents = plan["documents"]
        self._planned.append(hashes(document["doc_id"] for document in documents))
        self._markdown.append(hashes(document.get("markdown", "") for document in documents))
        return len(documents if plan.get("reread") is None else plan["reread"])

    def _orphans(self, path: str, documents: Sequence[SealedDocument], named: Named) -> None:
        known = named.names(sealed.doc_id for sealed in documents)
        for sealed, is_known in zip(documents, known, strict=True):
            if not is_known:
                self.findings.add(Finding(Kind.ORPHAN, "is in no manifest", path, sealed.doc_id))
            elif named.asks_otherwise(sealed.doc_id, sealed.pages):
                what = f"its manifest asks for other pages than the unit, {sealed.pages or 'all'}"
                self.findings.add(Finding(Kind.MISSING, what, path, sealed.doc_id))

    def _unnamed(self, manifests: Sequence[str]) -> None:
        """Documents of the manifests that no unit has."""
        planned = np.unique(np.concatenate([np.empty(0, np.uint64), *self._planned]))
        for group in batches(entries(manifests), 4096):
            there = contains(planned, hashes(entry.doc_id for entry in group))
            for entry, is_there in zip(group, there, strict=True):
                if not is_there:
                    what = f"is in no unit, but {entry.place} names it"
                    self.findings.add(Finding(Kind.MISSING, what, doc_id=entry.doc_id))

    def _check_markdown(self, unit: Unit, documents: Sequence[SealedDocument], codes: dict[str, int]) -> None:
        owners = [sealed for sealed in documents if sealed.markdown]
        for sealed, found in zip(owners, self._threads.map(self._read_markdown, owners), strict=True):
            code = codes.get(sealed.doc_id)
            rows = [] if code is None else unit.rows.page_rows(unit.rows.of(code))
            if isinstance(found, str):
                problems = [found]
            else:
                expected = expected_markdown(sealed.markdown, rows) if rows or found else None
                problems = _difference(found, expected) + self._missing_images(sealed.markdown, rows)
            for problem in problems:
                where = f"markdown/{sealed.markdown}.md"
                self.findings.add(Finding(Kind.MARKDOWN, problem, where, sealed.doc_id))

    def _read_markdown(self, sealed: SealedDocument) -> bytes | str | None:
        """The file, None if there is none, or why it cannot be read."""
        parts = sealed.markdown.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            return "its path leaves the output folder"
        try:
            return self._place.read(f"markdown/{sealed.markdown}.md")
        except OSError as error:
            return f"cannot be read: {error}"

    def _missing_images(self, markdown: str, rows: Sequence[PageRow]) -> list[str]:
        """Page images that the Markdown shows and that are not beside it."""
        names = {image_name(markdown, row.page) for row in rows if row.has_image and row.status != "skipped"}
        if not names:
            return []
        beside = f"markdown/{markdown}".rpartition("/")[0]
        there = {path.removeprefix(f"{beside}/") for path in self._place.files(f"markdown/{markdown}_assets")}
        return [f"page image {name} is missing" for name in sorted(names - there)]

    def _unowned_markdown(self) -> None:
        """Files below ``markdown/`` that are neither a document's text nor in its assets folder."""
        owned = np.unique(np.concatenate([np.empty(0, np.uint64), *self._markdown]))
        for group in batches(self._place.files("markdown"), 4096):
            known = contains(
                owned, hashes(path.removeprefix("markdown/").removesuffix(".md") for path in group)
            )
            for path, is_known in zip(group, known, strict=True):
                if not (is_known and path.endswith(".md")) and not _is_asset(path, owned):
                    self.findings.add(Finding(Kind.MARKDOWN, "belongs to no document", path))

    def _check_sources(self, path: str, documents: Sequence[SealedDocument]) -> None:
        drifts = self._threads.map(lambda sealed: self._sources.drift(sealed.uri, sealed.version), documents)
        for sealed, drift in zip(documents, drifts, strict=True):
            if drift and drift.changed:
                self.findings.add(Finding(Kind.CHANGED, drift.what, path, sealed.doc_id))
            elif drift:
                self.findings.warn(f"{sealed.doc_id} in {path}: {drift.what}")

    def _summary(self) -> None:
        """``summary.json`` is written when a job ends: without it the job may have stopped early."""
        data = self._place.read("summary.json")
        if data is None:
            self.findings.warn("there is no summary.json: the job has not come to its end")
            return
        try:
            pages: dict[str, Any] = dict(json.loads(data)["pages"])
        except (ValueError, KeyError, TypeError) as error:
            what = f"holds no totals of pages by status: {error!r}"
            self.findings.add(Finding(Kind.SUMMARY, what, "summary.json"))
            return
        for status in sorted({*pages, *self.findings.statuses}):
            counted = self.findings.statuses.get(status, 0)
            if pages.get(status, 0) != counted:
                what = f"says {pages.get(status, 0)} {status} pages, there are {counted:,}"
                self.findings.add(Finding(Kind.SUMMARY, what, "summary.json"))

    def _leftovers(self) -> None:
        temporary = sum(path != ".tmp/lock" for path in self._place.files(".tmp"))
        if temporary:
            self.findings.warn(f".tmp: {temporary:,} temporary files; the next run removes old ones")
        for path in self._place.files("claims"):
            self.findings.warn(f"{path}: a job is at work on this unit, or was killed")
        if self._sources.s3_problem:
            self.findings.warn(self._sources.s3_problem)


def _difference(found: bytes | None, expected: bytes | None) -> list[str]:
    """Why a document's Markdown is not what its rows make, or nothing."""
    if found == expected:
        return []
    if found is None or expected is None:
        return ["is missing"]
    have, want = found.split(b"\n"), expected.split(b"\n")
    same = next((n for n, (a, b) in enumerate(zip(have, want, strict=False)) if a != b), None)
    line = min(len(have), len(want)) if same is None else same
    return [f"differs from the document's rows at line {line + 1}"]


def _is_asset(path: str, owned: Hashes) -> bool:
    parts = path.split("/")[1:-1]
    folders = ("/".join(parts[: depth + 1]) for depth, part in enumerate(parts) if part.endswith("_assets"))
    return any(contains(owned, hashes([folder.removesuffix("_assets")])).any() for folder in folders)
