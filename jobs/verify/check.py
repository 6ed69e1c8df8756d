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

from jobs.verify.doubles import DoubledRows
from jobs.verify.format import (
    Hashes,
    Integers,
    SealedDocument,
    batches,
    contains,
    hashes,
    joined,
    page_list,
    parse_job,
    past_the_end_of_one_only,
    wanted_pages,
)
from jobs.verify.manifests import Named, named_documents
from jobs.verify.markdown import check_markdown, check_owners
from jobs.verify.places import Place, Sources, VerifyS3Options, open_place
from jobs.verify.report import Defect, Findings, Kind, print_findings
from jobs.verify.rows import load_unit
from jobs.verify.units import SealedUnit, check_rows
from manifests.errors import StoreError

__all__ = ["Findings", "Kind", "VerifyS3Options", "print_findings", "verify"]

THREADS = 16


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
        self._max_pages = self._job()
        self._doubled = DoubledRows()
        self._partials: dict[str, _Partial] = {}
        self._planned: list[Hashes] = []
        self._markdown: list[Hashes] = []
        self._failed: list[Hashes] = []

    def _job(self) -> int:
        """Check ``job.json``; the cut of a trial run, as it has it, 0 when it does not tell."""
        try:
            return int(parse_job(self._place.read("job.json") or b"")["input"].get("max_pages", 0))
        except (ValueError, OSError) as error:
            what = f"is not a job's file as documented: {error}"
            self.findings.add(Defect(Kind.UNREADABLE, what, "job.json"))
            return 0

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
        check_owners(self._place, joined(self._markdown), self.findings)
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
            failed = np.unique(rows.documents.codes[rows.statuses.among("failed")])
            self._failed.append(hashes(rows.documents.values[code] for code in failed))
        if footer is None:
            return
        self._forget_sealed(path, footer.generation)
        self._planned.append(hashes(sealed.doc_id for sealed in footer.documents))
        self._markdown.append(hashes(sealed.markdown for sealed in footer.documents))
        if self._named:
            self._compare_with_manifests(path, footer.documents, self._named)
        if rows is not None:
            unit = SealedUnit(path, footer, rows, self.findings)
            check_rows(unit)
            check_markdown(unit, self._place, self._threads)
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
                    self.findings.add(Defect(Kind.UNREADABLE, f"is not a unit's plan: {error!r}", where))
            what = f"unit {unit_id} is unfinished: {count} documents (resume the job)"
            self.findings.add(Defect(Kind.UNFINISHED, what, where))

    def _planned_documents(self, path: str) -> int:
        """How many documents a generation under way reads; their ids and Markdown are theirs already."""
        plan = json.loads(self._place.read(path) or b"")
        documents = plan["documents"]
        self._planned.append(hashes(document["doc_id"] for document in documents))
        self._markdown.append(hashes(document.get("markdown", "") for document in documents))
        return len(documents if plan.get("reread") is None else plan["reread"])

    def _compare_with_manifests(self, path: str, documents: Sequence[SealedDocument], named: Named) -> None:
        """Documents that no manifest names, and pages that a manifest asks for and the unit does not."""
        selections = named.selections([sealed.doc_id for sealed in documents])
        for sealed, selection in zip(documents, selections, strict=True):
            if selection is None:
                self.findings.add(Defect(Kind.ORPHAN, "is in no manifest", path, sealed.doc_id))
                continue
            missing = _asked_but_not_planned(sealed, selection, self._max_pages)
            if len(missing):
                what = "its manifest asks for it, the unit does not"
                defect = Defect(Kind.MISSING, what, path, sealed.doc_id, page_list(missing))
                self.findings.add(defect, len(missing))

    def _unnamed(self, manifests: Sequence[str]) -> None:
        """Documents of the manifests that no unit has."""
        planned = np.unique(joined(self._planned))
        for group in batches(named_documents(manifests), 4096):
            there = contains(planned, hashes(entry.doc_id for entry in group))
            for entry, is_there in zip(group, there, strict=True):
                if not is_there:
                    what = f"is in no unit, but {entry.place} names it"
                    self.findings.add(Defect(Kind.MISSING, what, doc_id=entry.doc_id))

    def _check_sources(self, path: str, documents: Sequence[SealedDocument]) -> None:
        drifts = self._threads.map(lambda sealed: self._sources.drift(sealed.uri, sealed.version), documents)
        for sealed, drift in zip(documents, drifts, strict=True):
            if drift and drift.changed:
                self.findings.add(Defect(Kind.CHANGED, drift.what, path, sealed.doc_id))
            elif drift:
                self.findings.warn(f"{sealed.doc_id} in {path}: {drift.what}")

    def _summary(self) -> None:
        """``summary.json`` is written when a job ends: without it units may be missing that nothing names."""
        data = self._place.read("summary.json")
        if data is None:
            what = "is not there: the job has not come to its end (resume the job)"
            self.findings.add(Defect(Kind.UNFINISHED, what, "summary.json"))
            return
        try:
            pages: dict[str, Any] = dict(json.loads(data)["pages"])
        except (ValueError, KeyError, TypeError) as error:
            what = f"holds no totals of pages by status: {error!r}"
            self.findings.add(Defect(Kind.SUMMARY, what, "summary.json"))
            return
        for status in sorted({*pages, *self.findings.statuses}):
            counted = self.findings.statuses.get(status, 0)
            if pages.get(status, 0) != counted:
                what = f"says {pages.get(status, 0)} {status} pages, there are {counted:,}"
                self.findings.add(Defect(Kind.SUMMARY, what, "summary.json"))

        self._failures()

    def _failures(self) -> None:
        """``failures.jsonl`` is written with the summary: a manifest of the documents with failed pages."""
        where = "failures.jsonl"
        lines = (self._place.read(where) or b"").splitlines()
        try:
            pages = sum(int(json.loads(line)["failed_pages"]) for line in lines)
            named = np.unique(hashes(json.loads(line)["id"] for line in lines))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.findings.add(Defect(Kind.SUMMARY, f"is not a manifest of failures: {error!r}", where))
            return
        counted = self.findings.statuses.get("failed", 0)
        if pages != counted:
            self.findings.add(
                Defect(Kind.SUMMARY, f"names {pages:,} failed pages, there are {counted:,}", where)
            )
        elif not np.array_equal(named, np.unique(joined(self._failed))):
            self.findings.add(
                Defect(Kind.SUMMARY, "names other documents than those with failed pages", where)
            )

    def _leftovers(self) -> None:
        temporary = sum(path != ".tmp/lock" for path in self._place.files(".tmp"))
        if temporary:
            self.findings.warn(f".tmp: {temporary:,} temporary files; the next run removes old ones")
        for path in self._place.files("claims"):
            self.findings.warn(f"{path}: a job is at work on this unit, or was killed")
        if self._sources.s3_problem:
            self.findings.warn(self._sources.s3_problem)


def _asked_but_not_planned(sealed: SealedDocument, selection: str, max_pages: int) -> Integers:
    """Pages of ``selection``, cut like the job's, that the unit never meant to read."""
    if not sealed.page_count or (selection, max_pages) == (sealed.pages, sealed.max_pages):
        return np.empty(0, np.int64)
    asked = wanted_pages(selection, max_pages, sealed.page_count).inside
    planned = wanted_pages(sealed.pages, sealed.max_pages, sealed.page_count).inside
    past = past_the_end_of_one_only(selection, sealed.pages, sealed.page_count)
    return np.concatenate([np.setdiff1d(asked, planned), past])
