"""What a user names on the command line, as one stream of documents that can be read again and again.

Three steps: ``expand_inputs`` checks the arguments, ``survey.survey`` walks them once and finds ids and
Markdown files that would meet, ``Survey.assign`` gives each document its Markdown file when planned.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from manifests.blame import Symptom, local_symptom
from manifests.documents import SUFFIXES, Document, is_remote
from manifests.errors import DocumentError, InputError, SourceUnavailable, UserError
from manifests.identity import local_uri, shown
from manifests.reader import read_located, validate_manifest
from manifests.roots import (
    READABLE,
    Root,
    RootKind,
    classify,
    covers,
    merge_files,
    with_names,
    without_repeats,
)
from manifests.sources import local_version
from manifests.walk import JOB_FILE, Tally, matches, walk

ListRemote = Callable[[str], Iterable[tuple[str, int, str]]]
"""All objects under an ``s3://`` prefix as (uri, bytes, ETag), sorted by uri."""

OF_OTHER_KINDS = "files of other kinds skipped"


class InputSet:
    """The documents of all inputs, in the same order each time, one folder's names in memory at once.

    Order: inputs as named (plain files together, where the first stands); in a folder its files
    sorted by name, then its folders; a remote prefix as listed; a manifest as written.
    ``warnings`` tells what was left out; it is complete once all documents were gone through.
    """

    def __init__(self, roots: Sequence[Root], list_remote: ListRemote | None, notes: Sequence[str]) -> None:
        self.warnings = list(notes)
        self._notes = tuple(notes)
        self._roots = tuple(roots)
        self._list_remote = list_remote

    def __iter__(self) -> Iterator[Document]:
        return (document for _, document in self.located())

    def located(self) -> Iterator[tuple[str, Document]]:
        """Each document with its location for messages: its uri, or file and line of its manifest."""
        tally = Tally()
        for index, root in enumerate(self._roots):
            if root.kind is RootKind.MANIFEST:
                yield from _manifest_documents(root, tally)
                continue
            empty = True
            for document in self._documents(root, self._before(index), tally):
                empty = False
                yield document.uri, document
            if empty and root.kind in (RootKind.FOLDER, RootKind.REMOTE):
                message = f"{shown(root.argument)!r}: held documents before and holds none now"
                raise SourceUnavailable(f"{message}: is it mounted?")
        self.warnings = [*self._notes, *tally.sentences()]

    def validate(self) -> None:
        """Raise one ManifestError that lists what is wrong in the manifests, not only the first line."""
        for root in self._roots:
            if root.kind is RootKind.MANIFEST:
                validate_manifest(Path(root.base))

    def _before(self, index: int) -> list[Root]:
        """The roots whose files the glob at ``index`` leaves to them: folders, and earlier globs."""
        if self._roots[index].kind is not RootKind.GLOB:
            return []
        folders = [root for root in self._roots if root.kind is RootKind.FOLDER]
        return folders + [root for root in self._roots[:index] if root.kind is RootKind.GLOB]

    def _documents(self, root: Root, before: list[Root], tally: Tally) -> Iterator[Document]:
        if root.kind is RootKind.REMOTE:
            return _remote_documents(root, self._list_remote, tally)
        return _local_documents(root, before, tally)


def expand_inputs(inputs: Sequence[str], list_remote: ListRemote | None = None) -> InputSet:
    """Check files, folders, globs, ``s3://`` prefixes and manifests as named on the command line.

    A document's id is its POSIX path relative to its input, with the input's shortest unique name
    first when there are several; all plain files count as one input, their common folder. Rows of a
    manifest keep their own ids. Raises InputError naming everything that is wrong at once.
    """
    if not inputs:
        raise InputError("no input: name files, folders, globs, s3:// prefixes or manifests")
    found, problems = list[Root](), list[str]()
    for argument in inputs:
        try:
            found.extend(classify(argument, list_remote is not None))
        except InputError as error:
            problems.append(str(error))
    tally = Tally()
    roots = with_names(merge_files(without_repeats(found, tally)))
    expanded = InputSet(roots, list_remote, tally.sentences())
    problems += [problem for root in roots if (problem := _emptiness(expanded, root))]
    if problems:
        raise InputError("\n".join(problems))
    return expanded


def _emptiness(inputs: InputSet, root: Root) -> str:
    """Why a root gives no document, else ``""``. Stops at the first one."""
    if root.kind in (RootKind.MANIFEST, RootKind.FILES):
        return ""
    tally = Tally()
    try:
        if next(inputs._documents(root, [], tally), None):
            return ""
    except (UserError, DocumentError) as error:
        return f"{shown(root.argument)!r}: {error}"
    what = "matches no file" if root.kind is RootKind.GLOB else "holds no document"
    found = "; ".join(["", *tally.sentences()])
    return f"{shown(root.argument)!r}: {what} that can be read: {READABLE}{found}"


def _manifest_documents(root: Root, tally: Tally) -> Iterator[tuple[str, Document]]:
    for location, document in read_located(Path(root.base), complete=True):
        if not document.size and not is_remote(document.uri):
            tally.add("documents of manifests that are not there, or empty", document.uri)
        yield location, document


def _remote_documents(root: Root, list_remote: ListRemote | None, tally: Tally) -> Iterator[Document]:
    assert list_remote is not None  # noqa: S101  # _remote_root refuses the argument otherwise
    (prefix,) = root.names
    output = ""
    for uri, size, etag in list_remote(prefix):
        if posixpath.basename(uri) == JOB_FILE:
            output = posixpath.dirname(uri) + "/markdown/"  # sorts after it: page images are no input
        if output and uri.startswith(output):
            continue
        relative = uri.removeprefix(f"{root.base}/")
        inside = uri.startswith(prefix) if prefix.endswith("/") else uri == prefix
        if not inside or uri.endswith("/") or any(part.startswith(".") for part in relative.split("/")):
            continue
        if posixpath.splitext(uri)[1].lower() not in SUFFIXES:
            tally.add(OF_OTHER_KINDS, relative)
            continue
        yield Document(root.id_of(relative), uri, size=size, version=etag.strip('"'))


def _local_documents(root: Root, before: list[Root], tally: Tally) -> Iterator[Document]:
    names: Iterable[str] = root.names
    if root.kind is not RootKind.FILES:
        names = walk(root.base, root.names or ("**",), tally)
    folder = posixpath.join(root.base, "")
    for name in names:
        path = folder + name
        if root.kind is RootKind.GLOB and not matches(name, root.names):
            continue
        if any(covers(other, path) for other in before):
            tally.add("inside another input, read once", path)
        elif name[name.rfind(".") :].lower() not in SUFFIXES:  # a third of splitext's time, for millions
            tally.add(OF_OTHER_KINDS, name)
        elif document := _local_document(path, root.id_of(name), tally):
            yield document


def _local_document(path: str, doc_id: str, tally: Tally) -> Document | None:
    """The document, of size 0 and version ``""`` if it cannot be looked at; None for a pipe or device."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a million Paths cost more time and memory than the calls
    except OSError as error:
        if local_symptom(error) is Symptom.OUTAGE:
            raise SourceUnavailable(f"{shown(path)}: cannot be looked at: {error.strerror}") from error
        return Document(doc_id, local_uri(path))
    if not stat.S_ISREG(found.st_mode):
        tally.add("not regular files, skipped", path)
        return None
    version = local_version(found.st_size, found.st_mtime_ns)
    return Document(doc_id, local_uri(path), size=found.st_size, version=version)
