"""Bytes on their way to the store: in memory while they are few, then in a scratch file."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from results.store import Store

MEMORY_BYTES = 16 * 2**20


class Spool:
    """Takes bytes one after the other and gives them back, or stores them all; gone after its block.

    ``size`` is how many bytes it has.
    """

    def __init__(self, store: Store, memory_bytes: int = MEMORY_BYTES) -> None:
        self._store = store
        self._memory_bytes = memory_bytes
        self._content: BinaryIO = io.BytesIO()
        self._file: Path | None = None
        self.size = 0
        self._stack = ExitStack()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._content.close()
        return self._stack.__exit__(kind, error, trace)

    def append(self, data: bytes | memoryview) -> int:
        """Take bytes; returns where they begin."""
        start = self.size
        if self._file is None and start + len(data) > self._memory_bytes:
            self._roll_over()
        self._content.seek(start)
        self._content.write(data)
        self.size += len(data)
        return start

    def read(self, start: int, size: int) -> bytes:
        """Bytes taken earlier."""
        self._content.seek(start)
        return self._content.read(size)

    def put(self, path: str) -> None:
        """Store all bytes as one object, over what is there."""
        if self._file is None:
            self._content.seek(0)
            self._store.replace(path, self._content.read())
        else:
            self._content.flush()
            self._store.replace_file(path, self._file)

    def _roll_over(self) -> None:
        self._file = self._stack.enter_context(self._store.scratch_file())
        content = self._file.open("wb+")
        self._stack.callback(content.close)
        self._content.seek(0)
        content.write(self._content.read())
        self._content.close()
        self._content = content
