"""PDFs written by hand, object by object: what no writer would write."""

from __future__ import annotations

import io
from collections.abc import Sequence

from tests.actors.render_samples import stream

FONT = "<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
HELLO = b"BT /F 40 Tf 60 300 Td (Hello World) Tj ET"


def pdf_of(objects: Sequence[bytes]) -> bytes:
    """A PDF with these objects, numbered from 1; the first is its catalog."""
    out, offsets = io.BytesIO(), []
    out.write(b"%PDF-1.6\n")
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n" % number + body + b"\nendobj\n")
    xref = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, xref))
    return out.getvalue()


def leaf(content: int, fields: str = "/MediaBox[0 0 500 500]", parent: int = 2) -> bytes:
    """A page whose content is the object of that number."""
    return f"<</Type/Page/Parent {parent} 0 R{fields}/Contents {content} 0 R/Resources{FONT}>>".encode()


def one_page(fields: str, content: bytes = HELLO) -> bytes:
    """One page with these fields beside its content."""
    pages = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
    return pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", pages, leaf(4, fields), stream("", content)])


def tree(top: str, *nodes: str | bytes) -> bytes:
    """A page tree: its top, then objects 3, 4, …; pages that say one, two, … have ``PAGE n`` for a node."""
    objects: list[bytes] = [b"<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages{top}>>".encode()]
    first_content = 3 + len(nodes)
    contents = []
    for node in nodes:
        if isinstance(node, str) and node.startswith("PAGE "):
            contents.append(stream("", b"BT /F 40 Tf 60 300 Td (page " + node[5:].encode() + b") Tj ET"))
            objects.append(leaf(first_content + len(contents) - 1))
        else:
            objects.append(node if isinstance(node, bytes) else node.encode())
    return pdf_of([*objects, *contents])
