"""What a user names on the command line, as one stream of documents that can be read again and again.

Three steps: ``expand_inputs`` checks the arguments, ``survey`` walks them once and finds ids and
Markdown files that would meet, ``Survey.assign`` gives each document its Markdown file when planned.
"""

from __future__ import annotations

import difflib
import os
import posixpath
import re
import stat
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from fnmatch import fnmatchcase
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from manifests.documents import SUFFIXES, Document
from manifests.errors import DocumentError, InputError, ManifestError, UserError
from manifests.reader import (
    CONTROL,
    FORMATS,
    MAX_NAMED_PROBLEMS,
    cut_bytes,
    document_id,
    local_uri,
    read_located,
    shown,
)
from manifests.sources import local_version

ListRemote = Callable[[str], Iterable[tuple[str, int, str]]]
"""All objects under an ``s3://`` prefix as (uri, bytes, ETag), sorted by uri."""

MAX_COMPONENT_BYTES = 150
MAX_MARKDOWN_BYTES = 600
"""An S3 key ends at 1024 bytes; the rest is left to the output's prefix and to names of assets."""

RESERVED_SUFFIXES = (".grounded", "_assets")
"""What assembly appends to a document's Markdown path for its other outputs."""

PLAIN_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}")
"""The bulk of all names, which need no further look."""

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


@dataclass(slots=True)
class _Tally:
    """What one pass left out, counted, with the first few names of each sort."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str) -> None:
        self.counts[what] += 1
        if self.counts[what] <= 3:
            self.examples.setdefault(what, []).append(shown(name))

    def sentences(self) -> list[str]:
        return [self._sentence(what, count) for what, count in self.counts.items()]

    def _sentence(self, what: str, count: int) -> str:
        named = self.examples[what]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        return f"{what} ({count}): {', '.join(named)}{more}"


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
        tally = _Tally()
        for index, root in enumerate(self._roots):
            if root.kind is _Kind.MANIFEST:
                yield from read_located(Path(root.base))
                continue
            for document in self._documents(root, self._before(index), tally):
                yield document.uri, document
        self.warnings = [*self._notes, *tally.sentences()]

    def _before(self, index: int) -> list[_Root]:
        """The roots whose files the glob at ``index`` leaves to them: folders, and earlier globs."""
        if self._roots[index].kind is not _Kind.GLOB:
            return []
        folders = [root for root in self._roots if root.kind is _Kind.FOLDER]
        return folders + [root for root in self._roots[:index] if root.kind is _Kind.GLOB]

    def _documents(self, root: _Root, before: list[_Root], tally: _Tally) -> Iterator[Document]:
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
    tally = _Tally()
    roots = _with_names(_merge_files(_without_repeats(found, tally)))
    expanded = InputSet(roots, list_remote, tally.sentences())
    problems += [problem for root in roots if (problem := _emptiness(expanded, root))]
    if problems:
        raise InputError("\n".join(problems))
    return expanded


def _classify(argument: str, list_remote: ListRemote | None) -> list[_Root]:
    if argument.startswith("s3://"):
        return [_remote_root(argument, list_remote)]
    path = _absolute(argument)
    if argument and path.is_dir():
        return [_Root(_Kind.FOLDER, argument, str(path))]
    if argument and path.exists():
        return [_file_root(argument, path)]
    if any(character in argument for character in "*?["):
        return _glob_roots(argument)
    raise InputError(f"{shown(argument)!r}: no such file or folder{_suggestion(path)}")


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
    fixed = next(index for index, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base = _absolute(str(Path(*parts[:fixed])))
    if not base.is_dir():
        raise InputError(f"{shown(argument)!r}: no such folder as {shown(base)!r}{_suggestion(base)}")
    root = _Root(_Kind.GLOB, argument, str(base), parts[fixed:])
    if Path(argument).suffix.lower() not in FORMATS:
        return [root]
    names = [name for name in _walk(str(base), root.names, _Tally()) if _matches(name, root.names)]
    if not names:
        raise InputError(f"{shown(argument)!r}: matches no manifest")
    return [_file_root(str(base / name), base / name) for name in names]


def _absolute_pattern(argument: str) -> tuple[str, ...]:
    return (Path(argument) if argument.startswith("/") else Path.cwd() / argument).parts


def _suggestion(path: Path) -> str:
    """A near name for the first component that does not exist."""
    missing = path
    while not missing.parent.exists() and missing.parent != missing:
        missing = missing.parent
    try:
        with os.scandir(missing.parent) as entries:
            names = [entry.name for entry in islice(entries, 5000)]
    except OSError:
        return ""
    near = difflib.get_close_matches(missing.name, names, n=1)
    return f": did you mean {shown(missing.parent / near[0])!r}?" if near else ""


def _without_repeats(roots: Iterable[_Root], tally: _Tally) -> list[_Root]:
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
        return any(_within(parent, file) for parent in _parents(file) & folders) or any(
            _covers(other, file) for other in globs
        )
    if root.kind in (_Kind.FOLDER, _Kind.GLOB):
        own = {root.base} if root.kind is _Kind.GLOB else set[str]()
        return any(_within(parent, root.base) for parent in (_parents(root.base) | own) & folders)
    return False


def _parents(path: str) -> set[str]:
    return {str(parent) for parent in Path(path).parents}


def _within(base: str, path: str) -> bool:
    """Whether walking ``base`` comes by ``path``: it is below, and nothing on the way is hidden."""
    inside = path.removeprefix(base.rstrip("/") + "/")
    return path == base or (inside != path and not any(part.startswith(".") for part in inside.split("/")))


def _covers(root: _Root, path: str) -> bool:
    if not _within(root.base, path):
        return False
    inside = path.removeprefix(root.base.rstrip("/") + "/")
    return root.kind is _Kind.FOLDER or _matches(inside, root.names)


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
    names = _shortest_names({root.base for root in roots if root.kind is not _Kind.MANIFEST})
    return [replace(root, name=names.get(root.base, "")) for root in roots]


def _shortest_names(bases: Iterable[str]) -> dict[str, str]:
    """The fewest last components that tell the bases apart, none of them the beginning of another."""
    parts = {base: _components(base) for base in bases}
    if len(parts) < 2:
        return dict.fromkeys(parts, "")
    depth = dict.fromkeys(parts, 1)
    while True:
        names = {base: parts[base][-depth[base] :] for base in parts}
        counts = Counter(names.values())
        begun = {name[:size] for name in names.values() for size in range(1, len(name))}
        meeting = [
            base
            for base, name in names.items()
            if depth[base] < len(parts[base])
            and (
                counts[name] > 1
                or name in begun
                or any(name[:size] in counts for size in range(1, len(name)))
            )
        ]
        if not meeting:
            return {base: "/".join(name) for base, name in names.items()}
        for base in meeting:
            depth[base] += 1


def _components(base: str) -> tuple[str, ...]:
    return tuple(part for part in base.replace("s3://", "s3/").split("/") if part) or ("root",)


def _emptiness(inputs: InputSet, root: _Root) -> str:
    """Why a root gives no document, else ``""``. Stops at the first one."""
    if root.kind in (_Kind.MANIFEST, _Kind.FILES):
        return ""
    tally = _Tally()
    try:
        if next(inputs._documents(root, [], tally), None):
            return ""
    except (UserError, DocumentError) as error:
        return f"{shown(root.argument)!r}: {error}"
    what = "matches no file" if root.kind is _Kind.GLOB else "holds no document"
    found = "; ".join(["", *tally.sentences()])
    return f"{shown(root.argument)!r}: {what} that can be read: {READABLE}{found}"


def _remote_documents(root: _Root, list_remote: ListRemote | None, tally: _Tally) -> Iterator[Document]:
    assert list_remote is not None  # noqa: S101  # _remote_root refuses the argument otherwise
    (prefix,) = root.names
    for uri, size, etag in list_remote(prefix):
        relative = uri.removeprefix(f"{root.base}/")
        inside = uri.startswith(prefix) if prefix.endswith("/") else uri == prefix
        if not inside or uri.endswith("/") or any(part.startswith(".") for part in relative.split("/")):
            continue
        if posixpath.splitext(uri)[1].lower() not in SUFFIXES:
            tally.add(OF_OTHER_KINDS, relative)
            continue
        yield Document(root.id_of(relative), uri, size=size, version=etag.strip('"'))


def _local_documents(root: _Root, before: list[_Root], tally: _Tally) -> Iterator[Document]:
    if root.kind is _Kind.FILES:
        names: Iterable[str] = root.names
    else:
        names = _walk(root.base, root.names or ("**",), tally)
    for name in names:
        path = posixpath.join(root.base, name)
        if root.kind is _Kind.GLOB and not _matches(name, root.names):
            continue
        if any(_covers(other, path) for other in before):
            tally.add("inside another input, read once", path)
        elif posixpath.splitext(name)[1].lower() not in SUFFIXES:
            tally.add(OF_OTHER_KINDS, name)
        elif document := _local_document(path, root.id_of(name), tally):
            yield document


def _local_document(path: str, doc_id: str, tally: _Tally) -> Document | None:
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


def _walk(base: str, pattern: tuple[str, ...], tally: _Tally) -> Iterator[str]:
    """Paths below ``base`` of all files in folders that ``pattern`` may reach, hidden ones left out.

    A linked folder is followed once, and not at all where it leads back up or, when everything is
    read anyway, to another place below ``base``.
    """
    seen = {_inode(base)}
    real_base = str(Path(base).resolve())
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            files, folders = _scan(posixpath.join(base, inside))
        except OSError as error:
            tally.add("folders that cannot be read", f"{inside or base} ({error.strerror})")
            continue
        yield from (inside + name for name in files)
        inner = [
            inside + name
            for name in folders
            if _may_hold(inside + name, pattern)
            and _is_new(posixpath.join(base, inside + name), real_base, pattern == ("**",), seen)
        ]
        waiting += [f"{path}/" for path in reversed(inner)]


def _scan(folder: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in a folder, each sorted."""
    files, folders = list[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if _is_folder(entry) else files).append(entry.name)
    return sorted(files), sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where we may not look
        return False


def _inode(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_dev, found.st_ino


def _is_new(path: str, real_base: str, reads_all: bool, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is to be entered; remembers that it was."""
    try:
        if Path(path).is_symlink():
            target = str(Path(path).resolve())
            leads_up = f"{real_base}/".startswith(target.rstrip("/") + "/")
            if leads_up or (reads_all and _within(real_base, target)):
                return False
        inode = _inode(path)
    except OSError:
        return True  # scanning it fails too, and tells
    if inode in seen:
        return False
    seen.add(inode)
    return True


def _matches(name: str, pattern: tuple[str, ...]) -> bool:
    """Whether a relative path matches a glob; ``**`` stands for any number of components."""
    return _parts_match(tuple(name.split("/")), pattern)


def _parts_match(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _parts_match(parts, pattern[1:]) or (bool(parts) and _parts_match(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _parts_match(parts[1:], pattern[1:])


def _may_hold(folder: str, pattern: tuple[str, ...]) -> bool:
    """Whether files that match may lie below a folder."""
    parts = folder.split("/")
    for part, wanted in zip(parts, pattern, strict=False):
        if wanted == "**":
            return True
        if not fnmatchcase(part, wanted):
            return False
    return len(parts) < len(pattern)


def markdown_path(doc_id: str) -> str:
    """A document's file below ``markdown/``, extension excluded: relative, safe, of bounded length.

    ``a/b/scan.pdf`` gives ``a/b/scan``; only extensions of readable documents are taken off. What
    could leave the folder, hide, or not be stored is replaced, and then the id's hash is appended.
    Ids that differ only by extension or case still meet: ``Survey.assign`` parts them.
    """
    return _safe_path(doc_id, keep_extension=False)


def _safe_path(doc_id: str, keep_extension: bool) -> str:
    stem, extension = posixpath.splitext(doc_id)
    plain = doc_id if keep_extension or extension.lower() not in SUFFIXES else stem
    *folders, name = plain.split("/")
    parts = [*map(_safe_folder, folders), _safe_component(name)]
    while len("/".join(parts).encode()) > MAX_MARKDOWN_BYTES:
        del parts[0]
    path = "/".join(parts)
    return path if path == plain else f"{path}-{_short_hash(doc_id)}"


def _safe_component(part: str) -> str:
    """One name that every file system and S3 take as it is."""
    if PLAIN_COMPONENT.fullmatch(part):
        return part
    text = part.encode("utf-8", "replace").decode()
    text = CONTROL.sub("_", text).replace("\\", "_")
    text = re.sub(r"^([A-Za-z]):", r"\1_", text)
    text = re.sub(r"^\.+", "_", text) or "_"
    return cut_bytes(text, MAX_COMPONENT_BYTES)


def _safe_folder(part: str) -> str:
    """A component that also never meets a Markdown file: ``x.md/y`` could not stand beside ``x.md``."""
    name = _safe_component(part)
    return f"{name}_" if name.lower().endswith(".md") else name


def _short_hash(doc_id: str) -> str:
    return blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _hash64(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _meeting_key(path: str) -> int:
    """Equal for paths that are one file where case or Unicode composition does not count."""
    if path.isascii():
        return _hash64(path.lower())
    return _hash64(unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold()))


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
        if _holds(self.markdown_clashes, _meeting_key(path)):
            path = _safe_path(document.doc_id, keep_extension=True)
            if _holds(self.full_name_clashes, _meeting_key(path)):
                path = f"{path}-{_short_hash(document.doc_id)}"
        return replace(document, markdown=path)


def survey(inputs: InputSet) -> Survey:
    """Count the documents, check that ids are unique, and find Markdown files that would meet.

    Walks the inputs once, and once more if anything meets. Memory: 16 bytes per document.
    Raises ManifestError naming the ids given twice, both places and the remedy.
    """
    ids, paths, reserved = array("Q"), array("Q"), array("Q")
    digest = blake2b(digest_size=16)
    size = 0
    for document in inputs:
        size += document.size
        parts = (document.doc_id, document.pages, str(document.max_pages), document.prompt, document.version)
        digest.update(b"".join(b"%d:%s" % (len(raw), raw) for raw in map(str.encode, parts)))
        path = markdown_path(document.doc_id)
        ids.append(_hash64(document.doc_id))
        paths.append(_meeting_key(path))
        reserved.extend(_reserved_by(path))
    if repeated := _repeated(ids):
        _refuse_duplicates(inputs, set(repeated[:MAX_NAMED_PROBLEMS]))
    clashes = _clashes(paths, reserved)
    full_clashes = _full_name_clashes(inputs, clashes, paths, reserved) if clashes else array("Q")
    return Survey(len(ids), size, digest.hexdigest(), clashes, full_clashes)


def _reserved_by(path: str) -> list[int]:
    """Keys of the path of which this one would be another output, and of itself."""
    for suffix in RESERVED_SUFFIXES:
        if path.lower().endswith(suffix):
            return [_meeting_key(path[: -len(suffix)]), _meeting_key(path)]
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
        if _holds(clashes, _meeting_key(markdown_path(document.doc_id))):
            full.append(_meeting_key(_safe_path(document.doc_id, keep_extension=True)))
    taken = np.concatenate([np.frombuffer(paths, dtype=np.uint64), np.frombuffer(reserved, dtype=np.uint64)])
    names = np.frombuffer(full, dtype=np.uint64)
    return _as_array([*_repeated(full), *names[np.isin(names, taken)].tolist()])


def _refuse_duplicates(inputs: InputSet, suspects: set[int]) -> None:
    """Raise ManifestError for ids given twice; returns if the suspects only share a hash."""
    first: dict[str, str] = {}
    problems = list[str]()
    for place, document in inputs.located():
        if _hash64(document.doc_id) not in suspects:
            continue
        if document.doc_id in first and len(problems) < MAX_NAMED_PROBLEMS:
            problems.append(f"{place}: id: {document.doc_id!r} is already that of {first[document.doc_id]}")
        first.setdefault(document.doc_id, place)
    if problems:
        raise ManifestError("\n".join([*problems, "give each document an id of its own, in a manifest"]))
