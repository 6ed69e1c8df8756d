"""Units of an input, kept in the order they were cut: a few dozen bytes a document, on disk when many."""

from __future__ import annotations

import pickle
import tempfile
import zlib
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from manifests.documents import FIELDS, Document
from manifests.errors import InputError
from manifests.units import Unit

MEMORY_BYTES = 64 * 2**20
LEVEL = 1

_values = attrgetter(*FIELDS)
ID = FIELDS.index("doc_id")
_MARKDOWN = FIELDS.index("markdown")


def with_markdown(row: tuple[Any, ...], markdown: str) -> Document:
    """The document of such fields with its Markdown file. ``dataclasses.replace`` takes ten times as long."""
    values = list(row)
    values[_MARKDOWN] = markdown
    return Document(*values)


class UnitSpool:
    """An append-only sequence of units. An input is walked once; all that follows reads from here."""

    def __init__(self) -> None:
        self.unit_ids: list[str] = []
        self.counts: list[int] = []
        self._ends: list[int] = [0]
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - lives as long as we do

    def append(self, unit: Unit) -> None:
        """Raises InputError when there is no room for temporary files."""
        # Documents as tuples: pickling the objects themselves takes five times as long.
        packed = zlib.compress(pickle.dumps([_values(document) for document in unit.documents]), LEVEL)
        try:
            self._file.seek(self._ends[-1])
            self._file.write(packed)
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: no room to note the inputs ({error.strerror}): free space there, "
                "or set TMPDIR to a folder with some"
            ) from error
        self._ends.append(self._ends[-1] + len(packed))
        self.unit_ids.append(unit.unit_id)
        self.counts.append(len(unit.documents))

    def __len__(self) -> int:
        return len(self.unit_ids)

    def __getitem__(self, index: int) -> Unit:
        return Unit(self.unit_ids[index], tuple(Document(*row) for row in self.rows(index)))

    def rows(self, index: int) -> list[tuple[Any, ...]]:
        """A unit's documents as the values of their fields, in order: ``Document(*row)``."""
        start, end = self._ends[index], self._ends[index + 1]
        self._file.seek(start)
        packed = zlib.decompress(self._file.read(end - start))
        rows: list[tuple[Any, ...]] = pickle.loads(packed)  # noqa: S301 - our own bytes
        return rows

    def __iter__(self) -> Iterator[Unit]:
        return (self[index] for index in range(len(self)))
