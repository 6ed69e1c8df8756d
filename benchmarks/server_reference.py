"""The baseline of asking a server: in as many processes as cores, render, encode, post with httpx."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from benchmarks.bare import DPI
from benchmarks.server_process import MODEL, SLOTS

JPEG = {"quality": 95, "subsampling": 0}
"""As the renderers encode (``actors.render.image.encode_jpeg``)."""
HEAD = (
    f'{{"model": "{MODEL}", "max_tokens": 4096, "temperature": 0.0, "messages": [{{"role": "user", '
    '"content": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,'
).encode()
TAIL = b'"}}, {"type": "text", "text": "Read this page."}]}]}'

_worker: _Worker


class BareClient:
    """Processes that share documents and the server's slots, and drop the answers."""

    def __init__(self, url: str) -> None:
        width = os.cpu_count() or 1
        context = get_context("spawn")
        self._width = width
        self._next = context.Value("i", 0)
        share = SLOTS // width
        self._processes = ProcessPoolExecutor(width, context, _make_worker, (url, share, self._next))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.shutdown()

    def seconds(self, documents: Sequence[Path]) -> float:
        """How long it takes to have all pages of the documents answered."""
        self._next.value = 0
        started = time.perf_counter()
        pages = sum(self._processes.map(_read, [documents] * self._width))
        seconds = time.perf_counter() - started
        if not pages:
            raise RuntimeError("no page was answered")
        return seconds


class _Worker:
    """One process: a thread that renders, and an event loop that posts.

    Each request in flight has an httpx client of its own: one client with so many connections takes
    five times the CPU, because its pool looks at all of them for every request.
    """

    def __init__(self, url: str, share: int, next_document: Any) -> None:
        import httpx

        self._url = f"{url}/chat/completions"
        self._next = next_document
        self._loop = asyncio.new_event_loop()
        self._free = [httpx.AsyncClient(timeout=60.0, trust_env=False, verify=False) for _ in range(share)]
        self._slots = asyncio.Semaphore(share)

    def read(self, documents: Sequence[Path]) -> int:
        return self._loop.run_until_complete(self._read(documents))

    async def _read(self, documents: Sequence[Path]) -> int:
        jpegs = self._jpegs(documents)
        posts: list[asyncio.Task[None]] = []
        while True:
            await self._slots.acquire()
            jpeg = await asyncio.to_thread(next, jpegs, None)
            if jpeg is None:
                self._slots.release()
                break
            posts.append(asyncio.ensure_future(self._post(jpeg)))
        await asyncio.gather(*posts)
        return len(posts)

    async def _post(self, jpeg: bytes) -> None:
        client = self._free.pop()
        body = b"".join((HEAD, base64.b64encode(jpeg), TAIL))
        response = await client.post(self._url, content=body, headers={"Content-Type": "application/json"})
        assert response.json()["choices"][0]["message"]["content"]
        self._free.append(client)
        self._slots.release()

    def _jpegs(self, documents: Sequence[Path]) -> Iterator[bytes]:
        """Pages of whichever documents no other process has taken."""
        import pymupdf
        from PIL import Image

        while (number := self._take()) < len(documents):
            with pymupdf.open(documents[number]) as document:
                for page in document:
                    pixmap = page.get_pixmap(dpi=DPI, alpha=False)
                    sink = io.BytesIO()
                    image = Image.frombuffer("RGB", (pixmap.width, pixmap.height), pixmap.samples_mv)
                    image.save(sink, "JPEG", **JPEG)
                    yield sink.getvalue()

    def _take(self) -> int:
        with self._next.get_lock():
            self._next.value += 1
            return int(self._next.value) - 1


def _make_worker(url: str, share: int, next_document: Any) -> None:
    global _worker
    _worker = _Worker(url, share, next_document)


def _read(documents: Sequence[Path]) -> int:
    return _worker.read(documents)
