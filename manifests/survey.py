"""One walk over all documents before a job: how much there is, what would meet, and the cut into units."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice

import numpy as np

from manifests.documents import Document
from manifests.errors import ManifestError
from manifests.inputs import InputSet
from manifests.markdown_paths import hash64, markdown_path, meeting_key, short_hash
from manifests.reader import MAX_NAMED_PROBLEMS
from manifests.spool import UnitSpool
from manifests.units import Cut, Unit, cut_units

RESERVED_SUFFIXES = (".grounded", "_assets")
"""What assembly appends to a document's Markdown path for its other outputs."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk over all documents told.

    ``units`` are the documents as they are to be read, cut in order; what changes in the inputs
    afterwards changes nothing here. ``digest`` changes with the cut, and with any id, selection, prompt
    or version in it and their order, but not when a folder moves. ``markdown_clashes`` and
    ``full_name_clashes`` are sorted hashes of Markdown paths that documents would share: without their
    extension, and even with it; ``names`` are those of all paths that any of them may take.
    """

    documents: int
    bytes: int
    digest: str
    units: UnitSpool
    markdown_clashes: array[int]
    full_name_clashes: array[int]
    names: np.ndarray[tuple[int], np.dtype[np.uint64]]

    def assigned(self, unit: Unit) -> Unit:
        """The unit, each of its documents with its own Markdown file."""
        return Unit(unit.unit_id, tuple(map(self.assign, unit.documents)))

    def assign(self, document: Document) -> Document:
        """The document with its own Markdown file.

        Documents whose files would meet keep their extension (``x.pdf``, ``x.png``); if they meet
        even so, the id's hash is appended. The answer depends on all documents, not on their order.
        """
        return replace(document, markdown=self.markdown_of(document.doc_id))

    def markdown_of(self, doc_id: str) -> str:
        """The Markdown file of one of the documents."""
        path = markdown_path(doc_id)
        if self.markdown_clashes and _holds(self.markdown_clashes, meeting_key(path)):
            path = markdown_path(doc_id, keep_extension=True)
            if _holds(self.full_name_clashes, meeting_key(path)):
                path = f"{path}-{short_hash(doc_id)}"
        return path

    def takes(self, markdown: str) -> bool:
        """Whether some document's Markdown file may be this one, under any of its names."""
        return _holds(self.names, meeting_key(markdown))


@dataclass(slots=True)
class _Notes:
    """What is remembered of each document that passed by: 16 bytes as a rule."""

    bytes: int = 0
    ids: array[int] = field(default_factory=lambda: array("Q"))
    paths: array[int] = field(default_factory=lambda: array("Q"))
    reserved: array[int] = field(default_factory=lambda: array("Q"))

    def passing(self, documents: Iterable[Document]) -> Iterator[Document]:
        add_id, add_path = self.ids.append, self.paths.append
        for document in documents:
            self.bytes += document.size
            add_id(hash64(document.doc_id))
            path = markdown_path(document.doc_id)
            add_path(meeting_key(path))
            if path.lower().endswith(RESERVED_SUFFIXES):
                self.reserved.extend(_reserved_by(path))
            yield document


def survey(inputs: InputSet, cut: Cut | None = None) -> Survey:
    """Count the documents, cut them, check that ids are unique, and find Markdown files that would meet.

    Walks the inputs once, and what it cut once more if anything meets.
    Raises ManifestError naming the ids given twice, both places and the remedy.
    """
    cut = cut or Cut()
    notes, units = _Notes(), UnitSpool()
    passing = notes.passing(_listed(inputs))
    for unit in cut_units(
        _shortened(islice(passing, cut.limit or None), cut), cut.max_documents, cut.max_bytes
    ):
        units.append(unit)
    for _ in passing:  # what a limit leaves out is counted, and checked, all the same
        pass
    if repeated := _repeated(notes.ids):
        _refuse_duplicates(inputs, set(repeated[:MAX_NAMED_PROBLEMS]))
    clashes = _clashes(notes.paths, notes.reserved)
    documents = inputs if cut.limit else (document for unit in units for document in unit.documents)
    full = _full_names(documents, clashes) if clashes else array("Q")
    full_clashes = _full_name_clashes(full, notes)
    digest = blake2b("".join(units.unit_ids).encode(), digest_size=16).hexdigest()
    names = _sorted(notes.paths + full)
    return Survey(len(notes.ids), notes.bytes, digest, units, clashes, full_clashes, names)


def _shortened(documents: Iterable[Document], cut: Cut) -> Iterable[Document]:
    if not cut.max_pages:
        return documents
    return (replace(document, max_pages=cut.max_pages) for document in documents)


def _listed(inputs: InputSet) -> Iterator[Document]:
    """The documents; if a manifest row is malformed, all that is wrong is told at once."""
    try:
        yield from inputs
    except ManifestError:
        inputs.validate()
        raise


def _reserved_by(path: str) -> list[int]:
    """Keys of the path of which this one would be another output, and of itself."""
    suffix = next(suffix for suffix in RESERVED_SUFFIXES if path.lower().endswith(suffix))
    return [meeting_key(path[: -len(suffix)]), meeting_key(path)]


def _sorted(hashes: array[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.sort(np.frombuffer(hashes, dtype=np.uint64))


def _as_array(hashes: Iterable[int]) -> array[int]:
    return array("Q", sorted(set(hashes)))


def _repeated(hashes: array[int]) -> array[int]:
    """The hashes that stand more than once, sorted."""
    ordered = _sorted(hashes)
    return _as_array(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _holds(hashes: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.uint64]], wanted: int) -> bool:
    index = bisect_left(hashes, wanted)
    return index < len(hashes) and hashes[index] == wanted


def _clashes(paths: array[int], reserved: array[int]) -> array[int]:
    """Paths that two documents share, and both of a pair like ``x`` and ``x.grounded``."""
    bases, owners = np.frombuffer(reserved, dtype=np.uint64).reshape(-1, 2).T
    taken = np.isin(bases, np.frombuffer(paths, dtype=np.uint64))
    return _as_array([*_repeated(paths), *bases[taken].tolist(), *owners[taken].tolist()])


def _full_names(documents: Iterable[Document], clashes: array[int]) -> array[int]:
    """Keys of the paths, extension kept, of documents that would share one without."""
    full = array("Q")
    for document in documents:
        if _holds(clashes, meeting_key(markdown_path(document.doc_id))):
            full.append(meeting_key(markdown_path(document.doc_id, keep_extension=True)))
    return full


def _full_name_clashes(full: array[int], notes: _Notes) -> array[int]:
    """Full names that two documents share, that are another's path, or whose other outputs are."""
    every = [np.frombuffer(hashes, dtype=np.uint64) for hashes in (notes.paths, notes.reserved)]
    names = np.frombuffer(full, dtype=np.uint64)
    return _as_array([*_repeated(full), *names[np.isin(names, np.concatenate(every))].tolist()])


def _refuse_duplicates(inputs: InputSet, suspects: set[int]) -> None:
    """Raise ManifestError for ids given twice; returns if the suspects only share a hash."""
    first: dict[str, str] = {}
    problems = list[str]()
    for location, document in inputs.located():
        if hash64(document.doc_id) not in suspects:
            continue
        if document.doc_id in first and len(problems) < MAX_NAMED_PROBLEMS:
            problems.append(
                f"{location}: id: {document.doc_id!r} is already that of {first[document.doc_id]}"
            )
        first.setdefault(document.doc_id, location)
    if problems:
        raise ManifestError("\n".join([*problems, "give each document an id of its own, in a manifest"]))
