"""The Markdown of an output held against its rows, and against the documents it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from jobs.verify.format import (
    Hashes,
    PageRow,
    SealedDocument,
    batches,
    contains,
    expected_markdown,
    hashes,
    image_name,
)
from jobs.verify.places import Place
from jobs.verify.report import Defect, Findings, Kind
from jobs.verify.units import SealedUnit

DOCUMENTS_AT_A_TIME = 64
PATHS_AT_A_TIME = 4096


def check_markdown(unit: SealedUnit, place: Place, threads: Executor) -> None:
    """Every document of the unit has the file that its rows make, with the page images it shows."""
    codes = {doc_id: code for code, doc_id in enumerate(unit.rows.documents.values)}
    owners = (sealed for sealed in unit.footer.documents if sealed.markdown)
    for group in batches(owners, DOCUMENTS_AT_A_TIME):
        files = threads.map(lambda sealed: _read(place, sealed), group)
        for sealed, found in zip(group, files, strict=True):
            code = codes.get(sealed.doc_id)
            shown = None if code is None else unit.rows.shown(code, unit.footer.variants)
            rows = [] if shown is None else unit.rows.page_rows(shown)
            if isinstance(found, str):
                problems = [found]
            else:
                expected = expected_markdown(sealed.markdown, rows) if rows or found else None
                problems = _difference(found, expected) + _missing_images(place, sealed.markdown, rows)
            for problem in problems:
                where = f"markdown/{sealed.markdown}.md"
                unit.findings.add(Defect(Kind.MARKDOWN, problem, where, sealed.doc_id))


def _read(place: Place, sealed: SealedDocument) -> bytes | str | None:
    """A document's file, None if there is none, or why it cannot be read."""
    parts = sealed.markdown.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return "its path leaves the output folder"
    try:
        return place.read(f"markdown/{sealed.markdown}.md")
    except OSError as error:
        return f"cannot be read: {error}"


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


def _missing_images(place: Place, markdown: str, rows: Sequence[PageRow]) -> list[str]:
    """Page images that the Markdown shows and that are not beside it."""
    names = {image_name(markdown, row.page) for row in rows if row.has_image and row.status != "skipped"}
    if not names:
        return []
    beside = f"markdown/{markdown}".rpartition("/")[0]
    there = {path.removeprefix(f"{beside}/") for path in place.files(f"markdown/{markdown}_assets")}
    return [f"page image {name} is missing" for name in sorted(names - there)]


def check_owners(place: Place, markdown: Hashes, findings: Findings) -> None:
    """Every file below ``markdown/`` is the text of a document or lies in its assets folder.

    ``markdown`` holds the hash of every document's path.
    """
    owned = np.unique(markdown)
    for group in batches(place.files("markdown"), PATHS_AT_A_TIME):
        names = hashes(path.removeprefix("markdown/").removesuffix(".md") for path in group)
        for path, is_known in zip(group, contains(owned, names), strict=True):
            if not (is_known and path.endswith(".md")) and not _is_asset(path, owned):
                findings.add(Defect(Kind.MARKDOWN, "belongs to no document", path))


def _is_asset(path: str, owned: Hashes) -> bool:
    parts = path.split("/")[1:-1]
    folders = ("/".join(parts[: depth + 1]) for depth, part in enumerate(parts) if part.endswith("_assets"))
    return any(contains(owned, hashes([folder.removesuffix("_assets")])).any() for folder in folders)
