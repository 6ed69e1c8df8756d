"""Markdown files of documents: where an id leads below ``markdown/``, whatever it holds."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from hashlib import blake2b

from manifests.documents import SUFFIXES
from manifests.identity import CONTROL, cut_bytes

MAX_COMPONENT_BYTES = 150
MAX_MARKDOWN_BYTES = 600
"""An S3 key ends at 1024 bytes; the rest is left to the output's prefix and to names of assets."""

PLAIN_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}")
"""The bulk of all names, which need no further look."""

PLAIN_PATH = re.compile(
    rf"(?=.{{1,{MAX_MARKDOWN_BYTES}}}\Z)(?:{PLAIN_COMPONENT.pattern}/)*{PLAIN_COMPONENT.pattern}"
)
"""The bulk of all paths, likewise."""


def markdown_path(doc_id: str, *, keep_extension: bool = False) -> str:
    """A document's file below ``markdown/``, without its own ``.md``: relative, safe, of bounded length.

    ``a/b/scan.pdf`` gives ``a/b/scan``, or ``a/b/scan.pdf`` with ``keep_extension``; only extensions
    of readable documents are taken off. What could leave the folder, hide, or not be stored is
    replaced, and then the id's hash is appended. Ids that differ only by extension or case still
    meet: ``Survey.assign`` parts them.
    """
    stem, extension = posixpath.splitext(doc_id)
    plain = doc_id if keep_extension or extension.lower() not in SUFFIXES else stem
    if PLAIN_PATH.fullmatch(plain) and ".md/" not in plain.lower():
        return plain
    *folders, name = plain.split("/")
    parts = [*map(_safe_folder, folders), _safe_component(name)]
    while len("/".join(parts).encode()) > MAX_MARKDOWN_BYTES:
        del parts[0]
    path = "/".join(parts)
    return path if path == plain else f"{path}-{short_hash(doc_id)}"


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


def short_hash(doc_id: str) -> str:
    """8 hex digits that tell ids apart whose Markdown files would meet; any text has one."""
    return blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def meeting_key(path: str) -> int:
    """Equal, within this process, for paths that are one file where case or Unicode composition does not
    count."""
    if path.isascii():
        return hash64(path.lower())
    return hash64(unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold()))


def hash64(text: str) -> int:
    """A hash that holds within this process, as quick as there is."""
    return hash(text) & 0xFFFF_FFFF_FFFF_FFFF
