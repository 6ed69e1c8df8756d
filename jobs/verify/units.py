"""The rows of one sealed unit held against each other and against its footer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.verify.format import (
    BEYOND,
    BLANK_TEXT,
    STATUSES,
    Footer,
    Integers,
    SealedDocument,
    Wanted,
    page_list,
    wanted_pages,
)
from jobs.verify.report import Defect, Findings, Kind
from jobs.verify.rows import Rows


@dataclass(frozen=True, slots=True)
class SealedUnit:
    """A sealed file and where what is wrong with it is told."""

    where: str
    footer: Footer
    rows: Rows
    findings: Findings


def check_rows(unit: SealedUnit) -> None:
    """Every page that is wanted once, nothing else, and each row true to itself and to the footer."""
    _check_footer(unit)
    _check_each_row(unit)
    codes = {doc_id: code for code, doc_id in enumerate(unit.rows.documents.values)}
    seen: set[str] = set()
    for sealed in unit.footer.documents:
        if sealed.doc_id in seen:
            unit.findings.add(Defect(Kind.FOOTER, "stands twice in the footer", unit.where, sealed.doc_id))
            continue
        seen.add(sealed.doc_id)
        code = codes.get(sealed.doc_id)
        _check_document(unit, sealed, np.empty(0, np.int64) if code is None else unit.rows.of(code))
    for doc_id, code in codes.items():
        if doc_id not in seen:
            what = "rows of a document that is not in the footer"
            _tell(unit, Kind.ORPHAN, what, unit.rows.of(code))


def _tell(unit: SealedUnit, kind: Kind, what: str, indexes: Integers) -> None:
    """One defect for each document among these rows, with its pages."""
    if not len(indexes):
        return
    documents = unit.rows.documents
    ordered = indexes[np.argsort(documents.codes[indexes], kind="stable")]
    breaks = np.flatnonzero(np.diff(documents.codes[ordered])) + 1
    for group in np.split(ordered, breaks):
        doc_id = documents.values[documents.codes[group[0]]]
        pages = page_list(np.unique(unit.rows.pages[group]))
        unit.findings.add(Defect(kind, what, unit.where, doc_id, pages), len(group))


def _check_footer(unit: SealedUnit) -> None:
    """The name, the totals and the generation that the footer claims."""

    def disagree(what: str) -> None:
        unit.findings.add(Defect(Kind.FOOTER, what, unit.where))

    footer, rows = unit.footer, unit.rows
    if unit.where != f"pages/{footer.unit_id}.parquet":
        disagree(f"its footer is that of unit {footer.unit_id}")
    counted = rows.statuses.counts()
    for status in sorted({*counted, *footer.counts}):
        claimed = footer.counts.get(status, 0)
        if counted[status] != claimed:
            disagree(f"its footer counts {claimed:,} {status} rows, there are {counted[status]:,}")
    made = rows.fingerprints.counts()
    for fingerprint in sorted({*made, *footer.fingerprints}) if footer.fingerprints else ():
        claimed = footer.fingerprints.get(fingerprint, 0)
        if made[fingerprint] != claimed:
            disagree(
                f"its footer counts {claimed:,} rows of fingerprint {fingerprint!r}, there are "
                f"{made[fingerprint]:,}"
            )
    unopened = {rows.documents.values[code] for code in rows.documents.codes[rows.pages == 0]}
    cut = sum(
        wanted_pages(sealed.pages, sealed.max_pages, sealed.page_count).cut
        for sealed in footer.documents
        if sealed.max_pages and sealed.page_count and sealed.doc_id not in unopened
    )
    if cut != footer.cut_pages:
        disagree(f"its footer counts {footer.cut_pages:,} pages cut by max_pages, there are {cut:,}")
    later = np.flatnonzero(rows.generations > footer.generation)
    _tell(unit, Kind.FOOTER, f"rows of a later generation than the file's, {footer.generation}", later)


def _check_each_row(unit: SealedUnit) -> None:
    """What must hold of a row whatever its document is."""
    rows = unit.rows
    read = rows.statuses.among("ok", "blank")
    known = rows.statuses.among(*STATUSES)
    blank = rows.statuses.among("blank")
    unread = rows.statuses.among("failed", "skipped")
    rules = [
        (~rows.has_key, "doc_id, page, variant or status is null"),
        (rows.has_key & ~known, f"status must be one of {', '.join(STATUSES)}"),
        (known & ~read & ~rows.has_reason, "gives no reason for its status"),
        (blank & ~rows.has_blank_text, f"is blank but its text is not {BLANK_TEXT}"),
        (unread & rows.has_text, "has a text, but its status says that it was not read"),
        ((rows.pages == 0) & read, "page 0 is a document that could not be opened: cannot be ok or blank"),
    ]
    for broken, what in rules:
        _tell(unit, Kind.INVALID, what, np.flatnonzero(broken))


def _check_document(unit: SealedUnit, sealed: SealedDocument, indexes: Integers) -> None:
    """Each wanted page of one document has one row in each of its variants, and no other page has."""
    rows = unit.rows
    pages = rows.pages[indexes]
    versions = [rows.versions.values[code] for code in np.unique(rows.versions.codes[indexes])]
    if stale := [version for version in versions if version not in ("", sealed.version)]:
        what = f"rows were read from source version {stale[0]}, the footer says {sealed.version}"
        unit.findings.add(Defect(Kind.CHANGED, what, unit.where, sealed.doc_id))
    if sealed.uris and unit.footer.fingerprints:  # older footers do not tell of folders that moved
        elsewhere = ~rows.uris.among(*sealed.uris, at=indexes)
        _tell(unit, Kind.FOOTER, f"was not read from the footer's {sealed.uri}", indexes[elsewhere])
    if (pages == 0).any():
        what = "stands beside page 0, which is the one row of the whole document"
        _tell(unit, Kind.DOUBLED, what, np.delete(indexes, np.flatnonzero(pages == 0)[0]))
    elif sealed.page_count:
        wanted = wanted_pages(sealed.pages, sealed.max_pages, sealed.page_count)
        _check_page_count(unit, sealed.page_count, wanted, indexes)
        for mine in _by_variant(unit, indexes):
            _check_pages(unit, sealed, np.concatenate([wanted.inside, wanted.beyond]), mine)
    elif len(pages):
        _tell(unit, Kind.ORPHAN, "has a row, but the footer knows no page count", indexes)
    else:
        unit.findings.add(Defect(Kind.MISSING, "has no row", unit.where, sealed.doc_id, "0"))


def _check_page_count(unit: SealedUnit, page_count: int, wanted: Wanted, indexes: Integers) -> None:
    """Rows know the document's length, and those past its end say so."""
    rows = unit.rows
    known = rows.page_counts[indexes]
    others = indexes[(known != 0) & (known != page_count)]
    _tell(unit, Kind.FOOTER, f"page_count differs from the footer's, {page_count}", others)
    past = rows.pages[indexes] > page_count
    skipped = rows.statuses.among("skipped", at=indexes) & rows.is_beyond[indexes]
    what = f"must be skipped as {BEYOND!r}: the document has {page_count} pages"
    _tell(unit, Kind.INVALID, what, indexes[past & ~skipped])
    what = f"is skipped as {BEYOND!r}, but the document has {page_count} pages"
    _tell(unit, Kind.INVALID, what, indexes[skipped & ~past])
    right = indexes[past & skipped]
    last = int(wanted.beyond[-1]) if wanted.rest else 0
    says = [
        reason == (wanted.rest if page == last else BEYOND)
        for page, reason in zip(rows.pages[right].tolist(), rows.reasons(right), strict=True)
    ]
    wrong = right[~np.array(says, dtype=np.bool_)]
    _tell(unit, Kind.INVALID, f"must give {wanted.rest or BEYOND!r} as its reason", wrong)


def _by_variant(unit: SealedUnit, indexes: Integers) -> Iterator[Integers]:
    """A document's rows by variant, with every one that is owed: empty where it has none."""
    variants = unit.rows.variants
    codes = variants.codes[indexes]
    for variant in unit.footer.variants:
        yield indexes[variants.among(variant, at=indexes)]
    unknown = ~variants.among(*unit.footer.variants, at=indexes)
    for code in np.unique(codes[unknown]):
        what = (
            f"is in variant {variants.values[code]!r}, owed are {', '.join(map(repr, unit.footer.variants))}"
        )
        _tell(unit, Kind.ORPHAN, what, indexes[codes == code])


def _check_pages(unit: SealedUnit, sealed: SealedDocument, wanted: Integers, indexes: Integers) -> None:
    pages = unit.rows.pages[indexes]
    if np.array_equal(np.sort(pages), wanted):  # nearly always, and faster to tell
        return
    found, first = np.unique(pages, return_index=True)
    missing = np.setdiff1d(wanted, found, assume_unique=True)
    if len(missing):
        what = "has no row" if len(indexes) else "has no row, nor has any page of the document"
        defect = Defect(Kind.MISSING, what, unit.where, sealed.doc_id, page_list(missing))
        unit.findings.add(defect, len(missing))
    _tell(unit, Kind.DOUBLED, "has more than one row", np.delete(indexes, first))
    unwanted = indexes[first[~np.isin(found, wanted)]]
    _tell(unit, Kind.ORPHAN, "has a row, but nobody asked for it", unwanted)
