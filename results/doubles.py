"""Documents with rows that stand twice, and which of these rows to keep."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.pages import DOCUMENT_PAGE, plan_pages
from manifests.units import UnitPlan
from results.merging import KEY_BITS, VARIANT_BITS, row_keys
from results.open_unit import OpenUnit
from results.output import Output
from results.rows import Status
from results.unit_files import Footer, SealedDocument, row_groups, sealed_path

COLUMNS = ["doc_id", "page", "variant", "status", "finished_at", "source_version"]
NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Double:
    """A row of a document that has too many: which it is, where it stands, and how good it is."""

    unit_id: str
    row_index: int
    page: int
    variant: str
    failed: bool
    finished_at: datetime
    version: str


@dataclass(frozen=True, slots=True)
class DoubledDocument:
    """A document with rows that stand twice: in which units, which rows to keep, and in which unit.

    ``winners`` is empty where nothing tells what to keep.
    """

    doc_id: str
    sealed: tuple[tuple[Footer, SealedDocument], ...]
    rows: tuple[Double, ...]
    keeper: Footer
    winners: tuple[Double, ...]

    @property
    def losers(self) -> int:
        """How many rows are not kept."""
        return len(self.rows) - len(self.winners)

    def row_indexes(self, unit_id: str) -> set[int]:
        """Where its rows stand in a unit."""
        return {row.row_index for row in self.rows if row.unit_id == unit_id}


def doubled_documents(output: Output) -> Iterator[DoubledDocument]:
    """Every document that has two rows of one page and variant, or rows beside that of the whole document.

    Memory: 16 bytes for each document of the output, and the keys of the rows of those in several units.
    """
    suspects = _in_several_units(output)
    rows: dict[str, list[Double]] = defaultdict(list)
    sealed: dict[str, list[tuple[Footer, SealedDocument]]] = defaultdict(list)
    for footer in output.units():
        named = {s.document.doc_id for s in footer.documents if _hash(s.document.doc_id) in suspects}
        named |= _doubled_within(output, footer)
        if not named:
            continue
        for item in footer.documents:
            if item.document.doc_id in named:
                sealed[item.document.doc_id].append((footer, item))
        for doc_id, row in _rows_of(output, footer, named):
            rows[doc_id].append(row)
    for doc_id, found in rows.items():
        keys = Counter((row.page, row.variant if row.page != DOCUMENT_PAGE else "") for row in found)
        beside = any(page == DOCUMENT_PAGE for page, _ in keys) and len(keys) > 1
        if beside or max(keys.values()) > 1:
            keeper, winners = _decide(sealed[doc_id], found)
            yield DoubledDocument(doc_id, tuple(sealed[doc_id]), tuple(found), keeper, winners)


def _decide(
    sealed: list[tuple[Footer, SealedDocument]], rows: list[Double]
) -> tuple[Footer, tuple[Double, ...]]:
    """The unit that keeps the document, and which rows it then has.

    All rows are of one version of the source, the one read last. The unit with most pages that did not
    fail keeps the document, of equals the first; of a page that failed there the newest row of another unit
    that did not is taken.
    """
    newest = max(rows, key=lambda row: (not row.failed, row.finished_at))
    current = [row for row in rows if row.version in ("", newest.version)]
    well = Counter(row.unit_id for row in current if not row.failed)
    known = [footer for footer, item in sealed if item.version in ("", newest.version)]
    keeper = max(known or [sealed[0][0]], key=lambda footer: well[footer.unit_id])
    best: dict[tuple[int, str], Double] = {}
    for row in sorted(
        current,
        key=lambda row: (not row.failed, row.unit_id == keeper.unit_id, row.finished_at),
        reverse=True,
    ):
        best.setdefault((row.page, row.variant if row.page != DOCUMENT_PAGE else ""), row)
    whole = best.pop((DOCUMENT_PAGE, ""), None)
    if whole is None or _are_all(sealed, best):
        return keeper, tuple(best.values())
    return keeper, () if best else (whole,)


def _are_all(sealed: list[tuple[Footer, SealedDocument]], pages: dict[tuple[int, str], Double]) -> bool:
    """Whether a document that could not be opened once has all its pages all the same."""
    for footer, item in sealed:
        if item.page_count:
            document = item.document
            wanted = plan_pages(document.pages, document.max_pages, item.page_count).read
            return all((page, v) in pages for span in wanted for page in span for v in footer.variants)
    return False


def _in_several_units(output: Output) -> set[int]:
    """Hashes of documents that stand in more than one footer."""
    found = [
        np.unique(np.fromiter((_hash(s.document.doc_id) for s in footer.documents), dtype=np.uint64))
        for footer in output.units()
    ]
    ordered = np.sort(np.concatenate([np.empty(0, np.uint64), *found]))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _doubled_within(output: Output, footer: Footer) -> set[str]:
    """Documents with two rows of one page in one unit, or a row beside that of the whole document."""
    unit = _unit(footer)
    tables = row_groups(output.store, sealed_path(footer.unit_id), ["doc_id", "page", "variant"])
    keys = np.sort(np.concatenate([np.empty(0, np.int64), *(row_keys(unit, table)[0] for table in tables)]))
    keys = keys[keys >= 0]
    twice = keys[1:][keys[1:] == keys[:-1]] >> KEY_BITS
    documents = keys >> KEY_BITS
    whole = documents[(keys >> VARIANT_BITS) & ((1 << (KEY_BITS - VARIANT_BITS)) - 1) == DOCUMENT_PAGE]
    names, counts = np.unique(documents, return_counts=True)
    beside = np.intersect1d(whole, names[counts > 1])
    return {footer.documents[i].document.doc_id for i in {*twice.tolist(), *beside.tolist()}}


def _rows_of(output: Output, footer: Footer, doc_ids: set[str]) -> Iterator[tuple[str, Double]]:
    wanted = pa.array(sorted(doc_ids), pa.string())
    start = 0
    for table in row_groups(output.store, sealed_path(footer.unit_id), COLUMNS):
        row_indexes = np.flatnonzero(np.asarray(pc.is_in(table.column("doc_id"), value_set=wanted)))
        for row_index, row in zip(
            (start + row_indexes).tolist(), table.take(pa.array(row_indexes)).to_pylist(), strict=True
        ):
            yield (
                row["doc_id"],
                Double(
                    footer.unit_id,
                    row_index,
                    row["page"],
                    row["variant"],
                    row["status"] == Status.FAILED,
                    row["finished_at"] or NEVER,
                    row["source_version"],
                ),
            )
        start += table.num_rows


def _unit(footer: Footer) -> OpenUnit:
    documents = tuple(sealed.document for sealed in footer.documents)
    return OpenUnit(UnitPlan(footer.unit_id, footer.generation, documents, variants=footer.variants))


def _hash(doc_id: str) -> int:
    return int.from_bytes(blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
