"""The output format as documented in ``docs/output.md``, written down a second time for ``verify``.

Nothing here comes from the code that writes outputs: a mistake there must not hide itself here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

STATUSES = ("ok", "blank", "fallback", "failed", "skipped")
BLANK_TEXT = "[[Blank page]]"
BEYOND = "beyond last page"
MAX_BEYOND = 1000
"""Pages past a document's end with a row of their own; one more row stands for all that follow."""
IMAGE_FLAG = "page_image"
FOOTER_KEY = b"pagefleet.unit"
VERSION_KEY = b"pagefleet.schema_version"
SCHEMA_VERSION = b"1"
OPEN_END = 1_000_000
"""Where an open end and the greatest page number lie."""

_REGIONS = pa.list_(
    pa.struct([("label", pa.string()), ("box", pa.list_(pa.int16(), 4)), ("text", pa.string())])
)
COLUMNS: dict[str, Any] = {
    "doc_id": pa.string(),
    "uri": pa.string(),
    "page": pa.int32(),
    "variant": pa.string(),
    "page_count": pa.int32(),
    "status": pa.string(),
    "reason": pa.string(),
    "text": pa.string(),
    "raw_text": pa.string(),
    "regions": _REGIONS,
    "finish_reason": pa.string(),
    "attempts": pa.int16(),
    "mode": pa.string(),
    "model": pa.string(),
    "engine": pa.string(),
    "prompt_tokens": pa.int32(),
    "completion_tokens": pa.int32(),
    "mean_confidence": pa.float32(),
    "worst_confidence": pa.float32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "rotation": pa.int16(),
    "render_s": pa.float32(),
    "queue_s": pa.float32(),
    "infer_s": pa.float32(),
    "flags": pa.list_(pa.string()),
    "replica": pa.string(),
    "generation": pa.int32(),
    "fingerprint": pa.string(),
    "source_version": pa.string(),
    "run_id": pa.string(),
    "finished_at": pa.timestamp("us", tz="UTC"),
    "metadata": pa.string(),
}


def schema_differences(schema: Any, metadata: dict[bytes, bytes]) -> list[str]:
    """In words, how a file's columns differ from the documented ones."""
    version = metadata.get(VERSION_KEY, SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        return [f"has schema version {version!r}, known is {SCHEMA_VERSION!r}: use a newer pagefleet"]
    found = []
    for name, wanted in COLUMNS.items():
        count = schema.names.count(name)
        if count != 1:
            found.append(f"column {name} is there {count} times")
        elif not schema.field(name).type.equals(wanted):
            found.append(f"column {name} is {schema.field(name).type}, not {wanted}")
    found += [f"column {name} is not part of the format" for name in schema.names if name not in COLUMNS]
    if not found and schema.names != list(COLUMNS):
        found.append("columns stand in another order")
    return found


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A document as a footer tells it: what was wanted of which version of which source."""

    doc_id: str
    uri: str
    pages: str
    max_pages: int
    markdown: str
    page_count: int
    version: str
    uris: frozenset[str]


@dataclass(frozen=True, slots=True)
class Footer:
    """What a sealed file says of itself. ``fingerprints`` is empty in those of older versions."""

    unit_id: str
    generation: int
    counts: dict[str, int]
    fingerprints: dict[str, int]
    variants: tuple[str, ...]
    cut_pages: int
    documents: tuple[SealedDocument, ...]


def parse_footer(data: bytes) -> Footer:
    """Raises ValueError naming the field that is not as documented."""
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("is not a JSON object")
    counts, fingerprints = _field(fields, "counts", dict), _field(fields, "fingerprints", dict, {})
    return Footer(
        unit_id=_field(fields, "unit_id", str),
        generation=_field(fields, "generation", int),
        counts={str(status): _field(counts, status, int) for status in counts},
        fingerprints={str(name): _field(fingerprints, name, int) for name in fingerprints},
        variants=_names(fields, "variants", [""]),
        cut_pages=_field(fields, "cut_pages", int),
        documents=tuple(_sealed_document(item) for item in _field(fields, "documents", list)),
    )


def _sealed_document(item: Any) -> SealedDocument:
    document = _field(item, "document", dict)
    page_count = _field(item, "page_count", int)
    if not 0 <= page_count <= OPEN_END:
        raise ValueError(f"page_count must be between 0 and {OPEN_END}, got {page_count}")
    merged_spans(pages := _field(document, "pages", str, ""))
    uri = _field(document, "uri", str, "")
    return SealedDocument(
        doc_id=_field(document, "doc_id", str),
        uri=uri,
        pages=pages,
        max_pages=_field(document, "max_pages", int, 0),
        markdown=_field(document, "markdown", str, ""),
        page_count=page_count,
        version=_field(item, "version", str),
        uris=frozenset((uri, *_names(item, "uris", []))) if uri else frozenset(),
    )


def _names(fields: Any, name: str, default: list[str]) -> tuple[str, ...]:
    names = _field(fields, name, list, default)
    if not all(isinstance(value, str) for value in names):
        raise ValueError(f"{name} must be a list of names, got {names!r:.80}")
    return tuple(names)


def parse_job(data: bytes) -> dict[str, Any]:
    """``job.json``. Raises ValueError naming the field that is not as documented."""
    fields = json.loads(data)
    for name, kind in (("fingerprint", str), ("inputs", list), ("config", dict)):
        _field(fields, name, kind)
    config: dict[str, Any] = fields["config"]
    _field(_field(config, "input", dict), "max_pages", int, 0)
    return config


def _field(fields: Any, name: str, kind: type, default: Any = None) -> Any:
    if not isinstance(fields, dict):
        raise ValueError(f"{name} must stand in a JSON object, got {type(fields).__name__}")
    value = fields.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r:.80}")
    return value


@dataclass(frozen=True, slots=True)
class Wanted:
    """Page numbers a document owes a row for: those it has, those past its end; and how many were cut.

    When those past its end are many the last row stands for the rest; ``rest`` is then its reason.
    """

    inside: Integers
    beyond: Integers
    cut: int
    rest: str = ""


def wanted_pages(selection: str, max_pages: int, page_count: int) -> Wanted:
    """What a selection wants of a document with ``page_count`` pages.

    All pages when it is empty. Only the first ``max_pages`` of the pages that exist, 0 meaning no
    cut. Pages named past the end are owed as well, but an open end stops at the last page.
    """
    spans = merged_spans(selection) or [(1, OPEN_END)]
    inside = _numbers((first, min(last, page_count)) for first, last in spans)
    past = _past(spans, page_count)
    kept = inside[:max_pages] if max_pages else inside
    beyond, rest = _first_of(past)
    return Wanted(kept, beyond, len(inside) - len(kept), rest)


def _past(spans: Iterable[tuple[int, int]], page_count: int) -> list[tuple[int, int]]:
    """The part of these spans that lies past a document's end; an open end stops at the last page."""
    return [(max(first, page_count + 1), last) for first, last in spans if page_count < last < OPEN_END]


def past_the_end_of_one_only(asked: str, planned: str, page_count: int) -> Integers:
    """Pages past the end that the selection ``asked`` names and ``planned`` does not."""
    left = _past(merged_spans(asked), page_count)
    for low, high in _past(merged_spans(planned), page_count):
        cut = [[(first, min(last, low - 1)), (max(first, high + 1), last)] for first, last in left]
        left = [(first, last) for pair in cut for first, last in pair if first <= last]
    return _numbers(left)


def _first_of(past: list[tuple[int, int]]) -> tuple[Integers, str]:
    """The pages of these spans that have a row, and what the last row says when it stands for more."""
    count = sum(last - first + 1 for first, last in past)
    if count <= MAX_BEYOND + 1:
        return _numbers(past), ""
    kept: list[tuple[int, int]] = []
    room = MAX_BEYOND + 1
    for first, last in past:
        kept.append((first, min(last, first + room - 1)))
        room -= kept[-1][1] - first + 1
        if not room:
            break
    return _numbers(kept), f"{BEYOND}: {kept[-1][1]}-{past[-1][1]}, {count - MAX_BEYOND} pages"


def merged_spans(selection: str) -> list[tuple[int, int]]:
    """``"5-7,1-3,4"`` as ``[(1, 7)]``. Raises ValueError on what is no selection."""
    spans = []
    for part in selection.split(","):
        if not part.strip():
            continue
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        spans.append((int(first), int(last) if last else OPEN_END if dash else int(first)))
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if not 1 <= low <= high <= OPEN_END:
            raise ValueError(f"pages must be like 1-10,15, got {selection!r:.80}")
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _numbers(spans: Iterable[tuple[int, int]]) -> Integers:
    runs = [np.arange(first, last + 1, dtype=np.int64) for first, last in spans if first <= last]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def page_list(pages: Integers, most: int = 10) -> str:
    """Sorted page numbers as ``"3-7,9"``; after ``most`` runs only ``…``."""
    breaks = np.flatnonzero(np.diff(pages) != 1)
    firsts = pages[np.concatenate([[0], breaks + 1])].tolist()
    lasts = pages[np.concatenate([breaks, [len(pages) - 1]])].tolist()
    runs = [str(a) if a == b else f"{a}-{b}" for a, b in zip(firsts, lasts, strict=True)]
    return ",".join(runs[:most] + ["…"] * (len(runs) > most))


@dataclass(frozen=True, slots=True)
class PageRow:
    """What the Markdown shows of a row."""

    page: int
    status: str
    reason: str
    text: str
    has_image: bool


def image_name(markdown: str, page: int) -> str:
    """A kept page image, as a path beside the document's Markdown file."""
    return f"{markdown.rpartition('/')[2]}_assets/page-{page:05d}.jpg"


def expected_markdown(markdown: str, rows: Sequence[PageRow]) -> bytes:
    """The document's file: its pages in order with a blank line between, and one newline at the end."""
    blocks = (_block(markdown, row) for row in sorted(rows, key=lambda row: row.page))
    kept = [block for block in blocks if block is not None]
    return ("\n\n".join(kept) + "\n").encode("utf-8", "surrogatepass")


def _block(markdown: str, row: PageRow) -> str | None:
    """Heading (from page 2 on), image and text; None for a skipped page, which has no place."""
    if row.status == "skipped":
        return None
    lines = [f"----- Page {row.page} -----"] if row.page > 1 else []
    if row.has_image:
        lines.append(f"![Page {row.page}]({quote(image_name(markdown, row.page))})")
    if row.status == "failed":
        subject = f"Page {row.page}" if row.page > 0 else "Document"
        lines.append(f"[[{subject} could not be read: {' '.join(row.reason.split())}]]")
    else:
        lines.append(row.text.strip())
    return "\n\n".join(lines).rstrip()


def hash64(text: str) -> int:
    """64 bits that stand for a text where millions of texts are remembered."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def hashes(texts: Iterable[str]) -> Hashes:
    """``hash64`` of each text."""
    return np.fromiter(map(hash64, texts), dtype=np.uint64)


def joined(parts: Sequence[Hashes]) -> Hashes:
    """All of these, of which there may be none."""
    return np.concatenate([np.empty(0, np.uint64), *parts])


def contains(haystack: Hashes, needles: Hashes) -> npt.NDArray[np.bool_]:
    """Which needles are in a sorted haystack."""
    if not len(haystack):
        return np.zeros(len(needles), dtype=np.bool_)
    at = np.searchsorted(haystack, needles)
    found: npt.NDArray[np.bool_] = haystack[np.minimum(at, len(haystack) - 1)] == needles
    return found


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Items in lists of at most ``size``."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
