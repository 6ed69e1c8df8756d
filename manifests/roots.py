"""The inputs that a user names, each checked and sorted by kind: what is walked, listed or read."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from manifests.blame import Symptom, does_not_answer, local_symptom
from manifests.documents import SUFFIXES, is_remote
from manifests.errors import InputError, SourceUnavailable
from manifests.files import irregular_kind
from manifests.formats.files import EXTENSIONS, kind_by_name
from manifests.identity import document_id, normal_uri, shortest_names, shown
from manifests.walk import Tally, matches, suggestion, walk, within

READABLE = f"readable are {', '.join(sorted(SUFFIXES))}"


class RootKind(Enum):
    FILES = auto()
    FOLDER = auto()
    GLOB = auto()
    REMOTE = auto()
    MANIFEST = auto()


@dataclass(frozen=True, slots=True)
class Root:
    """One input. ``base`` is the absolute folder, ``s3://`` folder or manifest that ids are relative to;
    ``names`` are the files below it (FILES), the pattern by components (GLOB), the prefix to list
    (REMOTE). ``name`` comes first in its ids, ``""`` when it is the only root."""

    kind: RootKind
    argument: str
    base: str
    names: tuple[str, ...] = ()
    name: str = ""

    def id_of(self, relative: str) -> str:
        return document_id(f"{self.name}/{relative}" if self.name else relative)


def classify(argument: str, can_list: bool) -> list[Root]:
    """What one argument names. ``can_list`` tells whether ``s3://`` prefixes may be listed.

    Raises InputError for what is wrong with the argument, SourceUnavailable for a place that does not answer.
    """
    if not argument:
        raise InputError("an input is empty, as from a variable that is not set: name a file or folder")
    if is_remote(uri := normal_uri(argument)):
        return [_remote_root(argument, uri, can_list)]
    path = _absolute(argument)
    found = _look(argument, path)
    if found is None:
        if any(character in argument for character in "*?["):
            return _glob_roots(argument)
        _refuse_other_sources(argument)
        raise InputError(f"{shown(argument)!r}: no such file or folder{suggestion(path)}")
    if not stat.S_ISDIR(found.st_mode):
        return [_file_root(argument, path, found)]
    if names := _parquet_files(path):
        return [Root(RootKind.MANIFEST, argument, str(path / name)) for name in names]
    return [Root(RootKind.FOLDER, argument, str(path))]


def _look(argument: str, path: Path) -> os.stat_result | None:
    """What is at a path; None for nothing. Raises InputError or SourceUnavailable where nobody can tell."""
    try:
        return os.stat(path)  # noqa: PTH116  the same call as everywhere else in finding documents
    except (OSError, ValueError) as error:
        if local_symptom(error) is Symptom.MISSING:
            return None
        reason = getattr(error, "strerror", None) or str(error)
        kind = SourceUnavailable if does_not_answer(error) else InputError
        raise kind(f"{shown(argument)!r}: cannot be looked at: {reason}") from error


def _refuse_other_sources(argument: str) -> None:
    """Raise InputError for what users may take for a source and is none."""
    scheme, separator, _ = argument.partition("://")
    if separator:
        raise InputError(f"{argument!r}: cannot read {scheme}:// addresses: name local paths or s3://")
    if argument == "-":
        raise InputError("'-': standard input cannot be read more than once: write the manifest to a file")


def _absolute(argument: str) -> Path:
    path = Path(argument)
    return path.resolve() if ".." in path.parts else path.absolute()


def _file_root(argument: str, path: Path, found: os.stat_result) -> Root:
    if kind := irregular_kind(found.st_mode):
        raise InputError(f"{shown(argument)!r}: is {kind}, not a regular file: write its content to a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{shown(argument)!r}: may not be read: check its permissions")
    if kind_by_name(path.name):
        return Root(RootKind.MANIFEST, argument, str(path))
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{shown(argument)!r}: unknown extension: {READABLE}; manifests are {EXTENSIONS}")
    return Root(RootKind.FILES, argument, str(path.parent), (path.name,))


def _parquet_files(folder: Path) -> list[str]:
    """The files of a folder that holds Parquet files, marks like ``_SUCCESS`` aside, and nothing else: a
    manifest in parts, as Spark, Dask and the like write it."""
    names = list[str]()
    for name in walk(str(folder), ("**",), Tally()):
        if posixpath.basename(name).startswith("_"):
            continue
        if not name.lower().endswith(".parquet"):
            return []
        names.append(name)
    return names


def _remote_root(argument: str, uri: str, can_list: bool) -> Root:
    """A prefix ends at a slash (``s3://b/scans`` is ``s3://b/scans/``); one document may be named too."""
    base = uri.rstrip("/")
    if not can_list:
        raise InputError(f"{argument!r}: s3:// inputs cannot be listed here")
    if base == "s3:" or base.startswith("s3:///"):
        raise InputError(f"{argument!r}: must be s3://bucket/prefix")
    if kind_by_name(uri):
        raise InputError(
            f"{argument!r}: a manifest must be a local file: copy it here, its rows may be s3://"
        )
    if posixpath.splitext(uri)[1].lower() in SUFFIXES:
        return Root(RootKind.REMOTE, argument, posixpath.dirname(uri), (uri,))
    return Root(RootKind.REMOTE, argument, base, (f"{base}/",))


def _glob_roots(argument: str) -> list[Root]:
    parts = _absolute_pattern(argument)
    fixed = 0  # a component that is there as it is written is no pattern: Scans [1990]/*.pdf
    while not any(sign in parts[fixed] for sign in "*?[") or Path(*parts[: fixed + 1]).exists():
        fixed += 1
    base = _absolute(str(Path(*parts[:fixed])))
    if not base.is_dir():
        raise InputError(f"{shown(argument)!r}: no such folder as {shown(base)!r}{suggestion(base)}")
    root = Root(RootKind.GLOB, argument, str(base), parts[fixed:])
    if not kind_by_name(argument):
        return [root]
    names = [name for name in walk(str(base), root.names, Tally()) if matches(name, root.names)]
    if not names:
        raise InputError(f"{shown(argument)!r}: matches no manifest")
    found = ((name, _look(name, base / name)) for name in names)
    return [_file_root(str(base / name), base / name, status) for name, status in found if status]


def _absolute_pattern(argument: str) -> tuple[str, ...]:
    return (Path(argument) if argument.startswith("/") else Path.cwd() / argument).parts


def without_repeats(roots: Iterable[Root], tally: Tally) -> list[Root]:
    """Leave out what is named twice or lies in a folder or glob that is named too."""
    unique: dict[tuple[object, ...], Root] = {}
    for root in roots:
        key = (root.kind, root.base, root.names)
        if key in unique:
            tally.add("named twice, read once", root.argument)
        unique.setdefault(key, root)
    folders = {root.base for root in unique.values() if root.kind is RootKind.FOLDER}
    globs = [root for root in unique.values() if root.kind is RootKind.GLOB]
    kept = []
    for root in unique.values():
        if _is_covered(root, folders, globs):
            tally.add("inside another input, read once", root.argument)
        else:
            kept.append(root)
    return kept


def _is_covered(root: Root, folders: set[str], globs: list[Root]) -> bool:
    if root.kind is RootKind.FILES:
        file = posixpath.join(root.base, root.names[0])
        return any(within(parent, file) for parent in _parents(file) & folders) or any(
            covers(other, file) for other in globs
        )
    if root.kind in (RootKind.FOLDER, RootKind.GLOB):
        own = {root.base} if root.kind is RootKind.GLOB else set[str]()
        return any(within(parent, root.base) for parent in (_parents(root.base) | own) & folders)
    return False


def _parents(path: str) -> set[str]:
    return {str(parent) for parent in Path(path).parents}


def covers(root: Root, path: str) -> bool:
    if not within(root.base, path):
        return False
    inside = path.removeprefix(root.base.rstrip("/") + "/")
    return root.kind is RootKind.FOLDER or matches(inside, root.names)


def merge_files(roots: Sequence[Root]) -> list[Root]:
    """All plain files as one root, their common folder, where the first of them stands."""
    files = [posixpath.join(root.base, root.names[0]) for root in roots if root.kind is RootKind.FILES]
    if not files:
        return list(roots)
    base = posixpath.commonpath([posixpath.dirname(file) for file in files])
    names = tuple(posixpath.relpath(file, base) for file in files)
    first = next(index for index, root in enumerate(roots) if root.kind is RootKind.FILES)
    others = [root for root in roots[first:] if root.kind is not RootKind.FILES]
    return [*roots[:first], Root(RootKind.FILES, roots[first].argument, base, names), *others]


def with_names(roots: Sequence[Root]) -> list[Root]:
    """Give every root its shortest unique name; a manifest has none, nor has a root that is alone."""
    names = shortest_names({root.base for root in roots if root.kind is not RootKind.MANIFEST})
    return [replace(root, name=names.get(root.base, "")) for root in roots]
