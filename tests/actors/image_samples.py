"""Image files byte by byte: kinds that Pillow reads and does not write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Pixels = np.ndarray


def written(width: int = 300, height: int = 120, ink: int = 0, paper: int = 255) -> Pixels:
    """Gray levels of a page that says something, in large letters."""
    image = Image.new("L", (width, height), paper)
    drawing = ImageDraw.Draw(image)
    for row in range(3):
        drawing.text((20, 12 + 36 * row), "Harbour 1848", fill=ink, font_size=26)
    return np.asarray(image)


def png(samples: Pixels, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of samples (height, width, channels), stored in ``depth`` bits of colour type ``colour``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = samples.shape[:2]
    if depth >= 8:
        rows = [row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in samples]
    else:
        bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits.astype(np.uint8)]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", header), *(chunk(*extra) for extra in chunks), chunk(b"IDAT", data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def bmp32(pixels: Pixels, header_bytes: int = 124) -> bytes:
    """A BMP of 32 bits with a mask for alpha, from (height, width, 4) blue, green, red, alpha."""
    height, width = pixels.shape[:2]
    body = pixels[::-1].astype(np.uint8).tobytes()
    header = struct.pack("<IiiHHIIiiII", header_bytes, width, height, 1, 32, 3, len(body), 2835, 2835, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs"
    header = header.ljust(header_bytes, b"\0")
    offset = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + body


Tag = tuple[int, int, Sequence[int]]
"""Number, type (3 short, 4 long) and values."""


def tiff(*frames: tuple[Pixels, dict[int, int]]) -> bytes:
    """A TIFF of images (samples of their own type, and tags that differ from gray): one directory each."""
    out = io.BytesIO()
    out.write(b"II*\0\0\0\0\0")
    link = 4
    for samples, own in frames:
        start = _frame(out, samples, own)
        end = out.tell()
        out.seek(link)
        out.write(struct.pack("<I", start))
        out.seek(end)
        link = end - 4
    return out.getvalue()


def _frame(out: io.BytesIO, samples: Pixels, own: dict[int, int]) -> int:
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    body = samples.tobytes()
    at = out.tell()
    out.write(body + b"\0" * (len(body) % 2))
    bits = out.tell()
    out.write(struct.pack(f"<{channels}H", *[samples.dtype.itemsize * 8] * channels).ljust(8, b"\0"))
    each = samples.dtype.itemsize * 8
    tags: dict[int, tuple[int, int, int]] = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, channels, bits if channels > 2 else each | each << 16 if channels == 2 else each),
        259: (3, 1, 1),
        262: (3, 1, 2 if channels > 2 else 1),
        273: (4, 1, at),
        277: (3, 1, channels),
        278: (4, 1, height),
        279: (4, 1, len(body)),
    }
    if samples.dtype.kind != "u":
        tags[339] = (3, 1, {"i": 2, "f": 3}[samples.dtype.kind])
    tags.update({tag: (4 if tag == 254 else 3, 1, value) for tag, value in own.items()})
    start = out.tell()
    out.write(struct.pack("<H", len(tags)))
    for tag, (kind, count, value) in sorted(tags.items()):
        out.write(struct.pack("<HHII", tag, kind, count, value))
    out.write(b"\0\0\0\0")
    return start
