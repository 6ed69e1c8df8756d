"""A sealed file loaded for ``verify``: its footer, and the columns of its rows that are checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.verify.format import (
    BEYOND,
    BLANK_TEXT,
    COLUMNS,
    FOOTER_KEY,
    IMAGE_FLAG,
    Footer,
    Integers,
    PageRow,
    parse_footer,
    schema_differences,
)
from jobs.verify.places import Place
from jobs.verify.report import Defect, Findings, Kind

Mask = npt.NDArray[np.bool_]

KEYS = ["doc_id", "page", "variant"]
CHECKED = [
    *(*KEYS, "uri", "page_count", "status", "reason", "text", "flags", "generation"),
    *("fingerprint", "source_version"),
]
DRAIN_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Coded:
    """A text column as numbers that point into its distinct values. Nulls are ``""``."""

    codes: Integers
    values: list[str]

    @classmethod
    def of(cls, column: Any) -> Coded:
        encoded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
        return cls(np.asarray(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist())

    def among(self, *values: str, at: Integers | None = None) -> Mask:
        """Which rows, or which of those at some places, hold one of these values."""
        codes = self.codes if at is None else self.codes[at]
        found: Mask = np.array([value in values for value in self.values], dtype=np.bool_)[codes]
        return found

    def counts(self) -> Counter[str]:
        """How many rows hold each value."""
        times = np.bincount(self.codes, minlength=len(self.values)).tolist()
        return Counter(dict(zip(self.values, times, strict=True)))


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns of a unit's rows that are checked; ``order`` sorts them by document, stably."""

    documents: Coded
    pages: Integers
    variants: Coded
    uris: Coded
    statuses: Coded
    fingerprints: Coded
    versions: Coded
    page_counts: Integers
    generations: Integers
    has_key: Mask
    has_reason: Mask
    is_beyond: Mask
    has_blank_text: Mask
    has_text: Mask
    has_image: Mask
    reason: Any
    text: Any
    order: Integers
    starts: Integers

    def of(self, code: int) -> Integers:
        """Where the rows of a document stand, in the file's order."""
        return self.order[self.starts[code] : self.starts[code + 1]]

    def reasons(self, indexes: Integers) -> list[str]:
        """What these rows give as their reason."""
        return _values(self.reason, indexes)

    def shown(self, code: int, variants: tuple[str, ...]) -> Integers:
        """Where the rows of a document stand that its Markdown shows: those of the variant ``""`` or else of
        the first, and that of the document as a whole."""
        indexes = self.of(code)
        variant = "" if "" in variants else variants[0]
        shown: Integers = indexes[self.variants.among(variant, at=indexes) | (self.pages[indexes] == 0)]
        return shown

    def page_rows(self, indexes: Integers) -> list[PageRow]:
        """What the Markdown shows of these rows."""
        texts, reasons = (_values(column, indexes) for column in (self.text, self.reason))
        return [
            PageRow(
                int(self.pages[i]), self.statuses.values[self.statuses.codes[i]], reason, text, bool(image)
            )
            for i, reason, text, image in zip(indexes, reasons, texts, self.has_image[indexes], strict=True)
        ]


def _values(column: Any, indexes: Integers) -> list[str]:
    first = int(indexes[0]) if len(indexes) else 0
    if np.array_equal(indexes, np.arange(first, first + len(indexes))):
        values = column.slice(first, len(indexes)).to_pylist()
    else:
        values = [column[int(i)].as_py() for i in indexes]
    return [value or "" for value in values]


def load_unit(place: Place, path: str, findings: Findings) -> tuple[Footer | None, Rows | None]:
    """Footer and rows of a sealed file; None, with a defect, for what is not as documented."""
    try:
        with place.open(path) as source, pq.ParquetFile(source) as file:
            metadata = dict(file.schema_arrow.metadata or {}) | dict(file.metadata.metadata or {})
            differences = schema_differences(file.schema_arrow, metadata)
            footer = _load_footer(metadata, path, findings)
            rows = _load_rows(file)
    except Exception as error:  # noqa: BLE001 - whatever reading a damaged file raises is the defect
        findings.add(Defect(Kind.UNREADABLE, f"cannot be read as Parquet: {_first_line(error)}", path))
        return None, None
    for difference in differences:
        findings.add(Defect(Kind.SCHEMA, difference, path))
    return footer, rows


def load_keys(place: Place, path: str) -> tuple[Coded, Integers, Coded]:
    """Document, page and variant of every row."""
    with place.open(path) as source, pq.ParquetFile(source) as file:
        table = file.read(columns=KEYS)
        return Coded.of(table["doc_id"]), _integers(table["page"]), Coded.of(table["variant"])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _load_footer(metadata: dict[bytes, bytes], path: str, findings: Findings) -> Footer | None:
    if FOOTER_KEY not in metadata:
        findings.add(Defect(Kind.FOOTER, f"has no {FOOTER_KEY.decode()} in its metadata", path))
        return None
    try:
        return parse_footer(metadata[FOOTER_KEY])
    except ValueError as error:
        findings.add(Defect(Kind.FOOTER, f"is not as documented: {error}", path))
        return None


def _load_rows(file: Any) -> Rows | None:
    """None when a column that identity or status rests on is not there in a usable type."""
    names = file.schema_arrow.names
    for _ in file.iter_batches(batch_size=DRAIN_ROWS, columns=[n for n in names if n not in CHECKED]):
        pass  # what nothing is checked of must be readable all the same
    if any(names.count(name) != 1 for name in CHECKED):
        return None
    table = file.read(columns=CHECKED)
    try:
        table = pa.table({name: table[name].cast(COLUMNS[name]) for name in CHECKED})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    documents = Coded.of(table["doc_id"])
    order = np.argsort(documents.codes, kind="stable")
    starts = np.searchsorted(documents.codes[order], np.arange(len(documents.values) + 1))
    nulls = [table[name].is_null() for name in ("doc_id", "page", "variant", "status")]
    return Rows(
        documents=documents,
        pages=_integers(table["page"]),
        variants=Coded.of(table["variant"]),
        uris=Coded.of(table["uri"]),
        statuses=Coded.of(table["status"]),
        fingerprints=Coded.of(table["fingerprint"]),
        versions=Coded.of(table["source_version"]),
        page_counts=_integers(table["page_count"]),
        generations=_integers(table["generation"]),
        has_key=~np.logical_or.reduce([_mask(null) for null in nulls]),
        has_reason=_mask(pc.not_equal(table["reason"], "")),
        is_beyond=_mask(pc.starts_with(table["reason"], BEYOND)),
        has_blank_text=_mask(pc.equal(table["text"], BLANK_TEXT)),
        has_text=_mask(pc.not_equal(table["text"], "")),
        has_image=_flagged(table["flags"].combine_chunks(), table.num_rows),
        reason=table["reason"],
        text=table["text"],
        order=order,
        starts=starts,
    )


def _integers(column: Any) -> Integers:
    return np.asarray(pc.fill_null(column, -1)).astype(np.int64)


def _mask(column: Any) -> Mask:
    return np.asarray(pc.fill_null(column, False)).astype(np.bool_)


def _flagged(flags: Any, count: int) -> Mask:
    parents = np.asarray(pc.list_parent_indices(flags))
    found: Mask = np.zeros(count, dtype=np.bool_)
    found[parents[_mask(pc.equal(pc.list_flatten(flags), IMAGE_FLAG))]] = True
    return found
