"""Documents for the render tests, made here; and a call to render them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pymupdf
from PIL import Image

from actors.chunks import Chunk, RenderedPage
from actors.render.renderer import Renderer
from actors.render.settings import RenderConfig
from actors.sources.cache import SourceCache
from manifests.documents import Document
from manifests.pages import PageSpan
from manifests.work import RenderCall, RenderItem, RenderReport


def text_pdf(path: Path, pages: int = 3, **save: object) -> Path:
    document = pymupdf.open()
    for number in range(1, pages + 1):
        document.new_page(width=300, height=400).insert_text((40, 60), f"page {number} " * 4, fontsize=14)
    document.save(path, **save)
    return path


def stream(fields: str, body: bytes) -> bytes:
    return f"<<{fields}/Length {len(body)}>>stream\n".encode() + body + b"\nendstream"


def raw_pdf(objects: list[bytes], media_box: str = "0 0 500 500") -> bytes:
    """A one-page PDF whose content is object 4 and whose XObject /X is object 5."""
    page = (
        f"<</Type/Page/Parent 2 0 R/MediaBox[{media_box}]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>"
    )
    everything = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page.encode(),
        *objects,
    ]
    out, offsets = io.BytesIO(), []
    out.write(b"%PDF-1.5\n")
    for number, body in enumerate(everything, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n" % number + body + b"\nendobj\n")
    xref = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(everything) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(everything) + 1, xref))
    return out.getvalue()


def image_pdf(fields: str, body: bytes) -> bytes:
    """A page filled by one image."""
    content = stream("", b"q 500 0 0 500 0 0 cm /X Do Q")
    return raw_pdf([content, stream(f"/Type/XObject/Subtype/Image/BitsPerComponent 8{fields}", body)])


def laughing_pdf(levels: int) -> bytes:
    """Forms that each draw the next one ten times: 10 ** levels rectangles."""
    objects = [stream("", b"/X Do")]
    form = "/Type/XObject/Subtype/Form/BBox[0 0 500 500]"
    for level in range(levels):
        objects.append(stream(f"{form}/Resources<</XObject<</X {6 + level} 0 R>>>>", b"/X Do " * 10))
    return raw_pdf([*objects, stream(form, b"0 0 10 10 re f")])


def grouping_pdf(levels: int) -> bytes:
    """Nested transparency groups: each needs a page-sized buffer of its own while it is drawn."""
    objects = [stream("", b"/X Do")]
    form = "/Type/XObject/Subtype/Form/BBox[0 0 5000 5000]"
    state = "/ExtGState<</G <</ca 0.5/CA 0.5>>>>"
    for level in range(levels):
        fields = f"{form}/Group<</S/Transparency/I true>>/Resources<<{state}/XObject<</X {6 + level} 0 R>>>>"
        objects.append(stream(fields, b"/G gs 0 0 4000 4000 re f /X Do"))
    return raw_pdf([*objects, stream(form, b"0 0 10 10 re f")], "0 0 5000 5000")


def huge_png(side: int) -> bytes:
    """A 1-bit PNG of side x side pixels, streamed."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    row = b"\0" * (1 + (side + 7) // 8)
    packer = zlib.compressobj(1)
    body = b"".join([packer.compress(row) for _ in range(side)] + [packer.flush()])
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", body) + piece(b"IEND", b"")


def corners(width: int = 40, height: int = 20) -> Image.Image:
    """Red top left, green top right, blue bottom left, black bottom right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2, 0] = 255
    pixels[: height // 2, width // 2 :, 1] = 255
    pixels[height // 2 :, : width // 2, 2] = 255
    return Image.fromarray(pixels)


def renderer(tmp_path: Path, hard_limits: bool = False, **config: object) -> Renderer:
    cache = SourceCache(str(tmp_path / "cache"), 2**30, {})
    return Renderer(RenderConfig.model_validate(config), cache, hard_limits=hard_limits)


def call(*items: RenderItem, max_pages: int = 100, max_bytes: int = 2**30, **more: object) -> RenderCall:
    return RenderCall("u1", 1, items, max_pages, max_bytes, **{"max_s": 60.0, **more})  # type: ignore[arg-type]


def item(path: Path | str, *spans: PageSpan, index: int = 0, **document: object) -> RenderItem:
    return RenderItem(index, Document(f"doc{index}", str(path), **document), spans)  # type: ignore[arg-type]


def render(tmp_path: Path, path: Path | bytes, **config: object) -> tuple[RenderReport, Chunk]:
    """Render one whole document."""
    if isinstance(path, bytes):
        target = tmp_path / "document.bin"
        target.write_bytes(path)
        path = target
    working = renderer(tmp_path, **config)
    try:
        return working.render(call(item(path)))
    finally:
        working.close()


def only_page(tmp_path: Path, path: Path | bytes, **config: object) -> RenderedPage:
    (page,) = render(tmp_path, path, **config)[1].pages
    return page


def encoded(image: Image.Image, kind: str, **save: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **save)
    return buffer.getvalue()
