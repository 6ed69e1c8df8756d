"""One walk over all documents before a job: how much there is, and what would meet."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from manifests.documents import Document
from manifests.errors import ManifestError
from manifests.inputs import InputSet
from manifests.markdown_paths import hash64, markdown_path, meeting_key, short_hash
from manifests.reader import MAX_NAMED_PROBLEMS

RESERVED_SUFFIXES = (".grounded", "_assets")
"""What assembly appends to a document's Markdown path for its other outputs."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk over all documents told.

    ``digest`` changes with any id, selection, prompt or version, and with their order, but not when
    a folder moves. ``markdown_clashes`` and ``full_name_clashes`` are sorted hashes of Markdown
    paths that documents would share: without their extension, and even with it.
    """

    documents: int
    bytes: int
    digest: str
    markdown_clashes: array[int]
    full_name_clashes: array[int]

    def assign(self, document: Document) -> Document:
        """The document with its own Markdown file.

        Documents whose files would meet keep their extension (``x.pdf``, ``x.png``); if they meet
        even so, the id's hash is appended. The answer depends on all documents, not on their order.
        """
        path = markdown_path(document.doc_id)
        if _holds(self.markdown_clashes, meeting_key(path)):
            path = markdown_path(document.doc_id, keep_extension=True)
            if _holds(self.full_name_clashes, meeting_key(path)):
                path = f"{path}-{short_hash(document.doc_id)}"
        return replace(document, markdown=path)


def survey(inputs: InputSet) -> Survey:
    """Count the documents, check that ids are unique, and find Markdown files that would meet.

    Walks the inputs once, and once more if anything meets. Memory: 16 bytes per document.
    Raises ManifestError naming the ids given twice, both places and the remedy.
    """
    ids, paths, reserved = array("Q"), array("Q"), array("Q")
    digest = blake2b(digest_size=16)
    size = 0
    for document in _listed(inputs):
        size += document.size
        parts = (document.doc_id, document.pages, str(document.max_pages), document.prompt, document.version)
        for raw in map(str.encode, (*parts, *document.source_keys())):
            digest.update(b"%d:%s" % (len(raw), raw))
        path = markdown_path(document.doc_id)
        ids.append(hash64(document.doc_id))
        paths.append(meeting_key(path))
        reserved.extend(_reserved_by(path))
    if repeated := _repeated(ids):
        _refuse_duplicates(inputs, set(repeated[:MAX_NAMED_PROBLEMS]))
    clashes = _clashes(paths, reserved)
    full_clashes = _full_name_clashes(inputs, clashes, paths, reserved) if clashes else array("Q")
    return Survey(len(ids), size, digest.hexdigest(), clashes, full_clashes)


def _listed(inputs: InputSet) -> Iterator[Document]:
    """The documents; if a manifest row is malformed, all that is wrong is told at once."""
    try:
        yield from inputs
    except ManifestError:
        inputs.validate()
        raise


def _reserved_by(path: str) -> list[int]:
    """Keys of the path of which this one would be another output, and of itself."""
    for suffix in RESERVED_SUFFIXES:
        if path.lower().endswith(suffix):
            return [meeting_key(path[: -len(suffix)]), meeting_key(path)]
    return []


def _sorted(hashes: array[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.sort(np.frombuffer(hashes, dtype=np.uint64))


def _as_array(hashes: Iterable[int]) -> array[int]:
    return array("Q", sorted(set(hashes)))


def _repeated(hashes: array[int]) -> array[int]:
    """The hashes that stand more than once, sorted."""
    ordered = _sorted(hashes)
    return _as_array(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _holds(hashes: array[int], wanted: int) -> bool:
    index = bisect_left(hashes, wanted)
    return index < len(hashes) and hashes[index] == wanted


def _clashes(paths: array[int], reserved: array[int]) -> array[int]:
    """Paths that two documents share, and both of a pair like ``x`` and ``x.grounded``."""
    bases, owners = np.frombuffer(reserved, dtype=np.uint64).reshape(-1, 2).T
    taken = np.isin(bases, np.frombuffer(paths, dtype=np.uint64))
    return _as_array([*_repeated(paths), *bases[taken].tolist(), *owners[taken].tolist()])


def _full_name_clashes(
    inputs: InputSet, clashes: array[int], paths: array[int], reserved: array[int]
) -> array[int]:
    """Full names that two documents share, that are another's path, or whose other outputs are."""
    full = array("Q")
    for document in inputs:
        if _holds(clashes, meeting_key(markdown_path(document.doc_id))):
            full.append(meeting_key(markdown_path(document.doc_id, keep_extension=True)))
    taken = np.concatenate([np.frombuffer(paths, dtype=np.uint64), np.frombuffer(reserved, dtype=np.uint64)])
    names = np.frombuffer(full, dtype=np.uint64)
    return _as_array([*_repeated(full), *names[np.isin(names, taken)].tolist()])


def _refuse_duplicates(inputs: InputSet, suspects: set[int]) -> None:
    """Raise ManifestError for ids given twice; returns if the suspects only share a hash."""
    first: dict[str, str] = {}
    problems = list[str]()
    for place, document in inputs.located():
        if hash64(document.doc_id) not in suspects:
            continue
        if document.doc_id in first and len(problems) < MAX_NAMED_PROBLEMS:
            problems.append(f"{place}: id: {document.doc_id!r} is already that of {first[document.doc_id]}")
        first.setdefault(document.doc_id, place)
    if problems:
        raise ManifestError("\n".join([*problems, "give each document an id of its own, in a manifest"]))
