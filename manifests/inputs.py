"""What a user names on the command line, as one stream of documents that can be read again and again.

Three steps: ``expand_inputs`` checks the arguments, ``survey.survey`` walks them once and finds ids and
Markdown files that would meet, ``Survey.assign`` gives each document its Markdown file when planned.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from manifests.documents import SUFFIXES, Document
from manifests.errors import DocumentError, InputError, UserError
from manifests.identity import document_id, local_uri, shortest_names, shown
from manifests.reader import FORMATS, read_located, validate_manifest
from manifests.sources import local_version
from manifests.walk import JOB_FILE, Tally, matches, suggestion, walk, within

ListRemote = Callable[[str], Iterable[tuple[str, int, str]]]
"""All objects under an ``s3://`` prefix as (uri, bytes, ETag), sorted by uri."""

READABLE = f"readable are {', '.join(sorted(SUFFIXES))}"
OF_OTHER_KINDS = "files of other kinds skipped"


class _Kind(Enum):
    FILES = auto()
    FOLDER = auto()
    GLOB = auto()
    REMOTE = auto()
    MANIFEST = auto()


@dataclass(frozen=True, slots=True)
class _Root:
    """One input. ``base`` is the absolute folder, ``s3://`` folder or manifest that ids are relative to;
    ``names`` are the files below it (FILES), the pattern by components (GLOB), the prefix to list
    (REMOTE). ``name`` comes first in its ids, ``""`` when it is the only root."""

    kind: _Kind
    argument: str
    base: str
    names: tuple[str, ...] = ()
    name: str = ""

    def id_of(self, relative: str) -> str:
        return document_id(f"{self.name}/{relative}" if self.name else relative)


class InputSet:
    """The documents of all inputs, in the same order each time, one folder's names in memory at once.

    Order: inputs as named (plain files together, where the first stands); in a folder its files
    sorted by name, then its folders; a remote prefix as listed; a manifest as written.
    ``warnings`` tells what was left out; it is complete once all documents were gone through.
    """

    def __init__(self, roots: Sequence[_Root], list_remote: ListRemote | None, notes: Sequence[str]) -> None:
        self.warnings = list(notes)
        self._notes = tuple(notes)
        self._roots = tuple(roots)
        self._list_remote = list_remote

    def __iter__(self) -> Iterator[Document]:
        return (document for _, document in self.located())

    def located(self) -> Iterator[tuple[str, Document]]:
        """Each document with its place for messages: its uri, or file and line of its manifest."""
        tally = Tally()
        for index, root in enumerate(self._roots):
            if root.kind is _Kind.MANIFEST:
                yield from read_located(Path(root.base))
                continue
            for document in self._documents(root, self._before(index), tally):
                yield document.uri, document
        self.warnings = [*self._notes, *tally.sentences()]

    def validate(self) -> None:
        """Raise one ManifestError that lists what is wrong in the manifests, not only the first line."""
        for root in self._roots:
            if root.kind is _Kind.MANIFEST:
                validate_manifest(Path(root.base))

    def _before(self, index: int) -> list[_Root]:
        """The roots whose files the glob at ``index`` leaves to them: folders, and earlier globs."""
        if self._roots[index].kind is not _Kind.GLOB:
            return []
        folders = [root for root in self._roots if root.kind is _Kind.FOLDER]
        return folders + [root for root in self._roots[:index] if root.kind is _Kind.GLOB]

    def _documents(self, root: _Root, before: list[_Root], tally: Tally) -> Iterator[Document]:
        if root.kind is _Kind.REMOTE:
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
    found, problems = list[_Root](), list[str]()
    for argument in inputs:
        try:
            found.extend(_classify(argument, list_remote))
        except InputError as error:
            problems.append(str(error))
    tally = Tally()
    roots = _with_names(_merge_files(_without_repeats(found, tally)))
    expanded = InputSet(roots, list_remote, tally.sentences())
    problems += [problem for root in roots if (problem := _emptiness(expanded, root))]
    if problems:
        raise InputError("\n".join(problems))
    return expanded


def _classify(argument: str, list_remote: ListRemote | None) -> list[_Root]:
    if not argument:
        raise InputError("an input is empty, as from a variable that is not set: name a file or folder")
    if argument.startswith("s3://"):
        return [_remote_root(argument, list_remote)]
    path = _absolute(argument)
    if path.is_dir():
        return [_Root(_Kind.FOLDER, argument, str(path))]
    if path.exists():
        return [_file_root(argument, path)]
    if any(character in argument for character in "*?["):
        return _glob_roots(argument)
    raise InputError(f"{shown(argument)!r}: no such file or folder{suggestion(path)}")


def _absolute(argument: str) -> Path:
    path = Path(argument)
    return path.resolve() if ".." in path.parts else path.absolute()


def _file_root(argument: str, path: Path) -> _Root:
    if not os.access(path, os.R_OK):
        raise InputError(f"{shown(argument)!r}: may not be read: check its permissions")
    if path.suffix.lower() in FORMATS:
        return _Root(_Kind.MANIFEST, argument, str(path))
    if path.suffix.lower() not in SUFFIXES:
        manifests = ", ".join(FORMATS)
        raise InputError(f"{shown(argument)!r}: unknown extension: {READABLE}; manifests are {manifests}")
    return _Root(_Kind.FILES, argument, str(path.parent), (path.name,))


def _remote_root(argument: str, list_remote: ListRemote | None) -> _Root:
    """A prefix ends at a slash (``s3://b/scans`` is ``s3://b/scans/``); one document may be named too."""
    base = argument.rstrip("/")
    suffix = posixpath.splitext(argument)[1].lower()
    if list_remote is None:
        raise InputError(f"{argument!r}: s3:// inputs cannot be listed here")
    if base == "s3:" or base.startswith("s3:///"):
        raise InputError(f"{argument!r}: must be s3://bucket/prefix")
    if suffix in FORMATS:
        raise InputError(
            f"{argument!r}: a manifest must be a local file: copy it here, its rows may be s3://"
        )
    if suffix in SUFFIXES:
        return _Root(_Kind.REMOTE, argument, posixpath.dirname(argument), (argument,))
    return _Root(_Kind.REMOTE, argument, base, (f"{base}/",))


def _glob_roots(argument: str) -> list[_Root]:
    parts = _absolute_pattern(argument)
    fixed = 0  # a component that is there as it is written is no pattern: Scans [1990]/*.pdf
    while not any(sign in parts[fixed] for sign in "*?[") or Path(*parts[: fixed + 1]).exists():
        fixed += 1
    base = _absolute(str(Path(*parts[:fixed])))
    if not base.is_dir():
        raise InputError(f"{shown(argument)!r}: no such folder as {shown(base)!r}{suggestion(base)}")
    root = _Root(_Kind.GLOB, argument, str(base), parts[fixed:])
    if Path(argument).suffix.lower() not in FORMATS:
        return [root]
    names = [name for name in walk(str(base), root.names, Tally()) if matches(name, root.names)]
    if not names:
        raise InputError(f"{shown(argument)!r}: matches no manifest")
    return [_file_root(str(base / name), base / name) for name in names]


def _absolute_pattern(argument: str) -> tuple[str, ...]:
    return (Path(argument) if argument.startswith("/") else Path.cwd() / argument).parts


def _without_repeats(roots: Iterable[_Root], tally: Tally) -> list[_Root]:
    """Leave out what is named twice or lies in a folder or glob that is named too."""
    unique: dict[tuple[object, ...], _Root] = {}
    for root in roots:
        key = (root.kind, root.base, root.names)
        if key in unique:
            tally.add("named twice, read once", root.argument)
        unique.setdefault(key, root)
    folders = {root.base for root in unique.values() if root.kind is _Kind.FOLDER}
    globs = [root for root in unique.values() if root.kind is _Kind.GLOB]
    kept = []
    for root in unique.values():
        if _is_covered(root, folders, globs):
            tally.add("inside another input, read once", root.argument)
        else:
            kept.append(root)
    return kept


def _is_covered(root: _Root, folders: set[str], globs: list[_Root]) -> bool:
    if root.kind is _Kind.FILES:
        file = posixpath.join(root.base, root.names[0])
        return any(within(parent, file) for parent in _parents(file) & folders) or any(
            _covers(other, file) for other in globs
        )
    if root.kind in (_Kind.FOLDER, _Kind.GLOB):
        own = {root.base} if root.kind is _Kind.GLOB else set[str]()
        return any(within(parent, root.base) for parent in (_parents(root.base) | own) & folders)
    return False


def _parents(path: str) -> set[str]:
    return {str(parent) for parent in Path(path).parents}


def _covers(root: _Root, path: str) -> bool:
    if not within(root.base, path):
        return False
    inside = path.removeprefix(root.base.rstrip("/") + "/")
    return root.kind is _Kind.FOLDER or matches(inside, root.names)


def _merge_files(roots: Sequence[_Root]) -> list[_Root]:
    """All plain files as one root, their common folder, where the first of them stands."""
    files = [posixpath.join(root.base, root.names[0]) for root in roots if root.kind is _Kind.FILES]
    if not files:
        return list(roots)
    base = posixpath.commonpath([posixpath.dirname(file) for file in files])
    names = tuple(posixpath.relpath(file, base) for file in files)
    first = next(index for index, root in enumerate(roots) if root.kind is _Kind.FILES)
    others = [root for root in roots[first:] if root.kind is not _Kind.FILES]
    return [*roots[:first], _Root(_Kind.FILES, roots[first].argument, base, names), *others]


def _with_names(roots: Sequence[_Root]) -> list[_Root]:
    """Give every root its shortest unique name; a manifest has none, nor has a root that is alone."""
    names = shortest_names({root.base for root in roots if root.kind is not _Kind.MANIFEST})
    return [replace(root, name=names.get(root.base, "")) for root in roots]


def _emptiness(inputs: InputSet, root: _Root) -> str:
    """Why a root gives no document, else ``""``. Stops at the first one."""
    if root.kind in (_Kind.MANIFEST, _Kind.FILES):
        return ""
    tally = Tally()
    try:
        if next(inputs._documents(root, [], tally), None):
            return ""
    except (UserError, DocumentError) as error:
        return f"{shown(root.argument)!r}: {error}"
    what = "matches no file" if root.kind is _Kind.GLOB else "holds no document"
    found = "; ".join(["", *tally.sentences()])
    return f"{shown(root.argument)!r}: {what} that can be read: {READABLE}{found}"


def _remote_documents(root: _Root, list_remote: ListRemote | None, tally: Tally) -> Iterator[Document]:
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


def _local_documents(root: _Root, before: list[_Root], tally: Tally) -> Iterator[Document]:
    names: Iterable[str] = root.names
    if root.kind is not _Kind.FILES:
        names = walk(root.base, root.names or ("**",), tally)
    folder = posixpath.join(root.base, "")
    for name in names:
        path = folder + name
        if root.kind is _Kind.GLOB and not matches(name, root.names):
            continue
        if any(_covers(other, path) for other in before):
            tally.add("inside another input, read once", path)
        elif name[name.rfind(".") :].lower() not in SUFFIXES:  # a third of splitext's time, for millions
            tally.add(OF_OTHER_KINDS, name)
        elif document := _local_document(path, root.id_of(name), tally):
            yield document


def _local_document(path: str, doc_id: str, tally: Tally) -> Document | None:
    """The document, of size 0 and version ``""`` if it cannot be looked at; None for a pipe or device."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a million Paths cost more time and memory than the calls
    except OSError:
        return Document(doc_id, local_uri(path))
    if not stat.S_ISREG(found.st_mode):
        tally.add("not regular files, skipped", path)
        return None
    version = local_version(found.st_size, found.st_mtime_ns)
    return Document(doc_id, local_uri(path), size=found.st_size, version=version)
