"""What a file is, told by its first bytes: its name may lie."""

from __future__ import annotations

import re
from collections.abc import Sequence

from manifests.errors import DocumentError

HEAD_BYTES = 1024
"""How much of a file is looked at. PDF readers accept ``%PDF-`` anywhere within it."""

PDF = "PDF"

_IMAGES: Sequence[tuple[bytes, str]] = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"RIFF....WEBP", "WEBP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM....\0\0\0\0", "BMP"),
)
_OTHERS: Sequence[tuple[bytes, str]] = (
    (rb"\0*\Z", "only zero bytes, probably an incomplete download"),
    (rb"version https://git-lfs", "a git-lfs pointer: run 'git lfs pull'"),
    (rb"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)", "an HTML page"),
    (rb"\s*<Error>|\s*<\?xml[^>]*>\s*<Error>", "an error answer of an object store"),
    (rb"(?i)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype )?svg", "an SVG drawing"),
    (rb"\s*<\?xml", "an XML file"),
    (rb"PK\x03\x04", "a ZIP archive or an Office document"),
    (rb"\xd0\xcf\x11\xe0", "an old Office document"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"%!PS", "a PostScript file"),
    (rb"\{\\rtf", "an RTF document"),
    (rb"AT&TFORM", "a DjVu document"),
    (rb"....ftyp(heic|heix|mif1|avif)", "a HEIC or AVIF image"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
)


def document_kind(head: bytes, name: str) -> str:
    """``PDF`` or Pillow's name of an image format, from the first ``HEAD_BYTES`` of a file.

    Raises DocumentError that says what the file seems to be instead.
    """
    for pattern, kind in _IMAGES:
        if re.match(pattern, head, re.DOTALL):
            return kind
    if b"%PDF-" in head[:HEAD_BYTES]:
        return PDF
    wanted = "PDF" if name.lower().endswith(".pdf") else "PDF or supported image"
    for pattern, what in _OTHERS:
        if re.match(pattern, head, re.DOTALL):
            raise DocumentError(f"not a {wanted}: it is {what}")
    raise DocumentError(f"not a {wanted}: starts with {head[:16]!r}")
