"""Draws or opens documents whose text is known, has them read, and adds up scores by class."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from benchmarks.quality.metrics import PageScore, score_page
from benchmarks.quality.readers import PageText, Reader
from benchmarks.samples.blocks import KnownDocument
from benchmarks.samples.classes import CLASSES, Order, draw
from results.rows import Status

SAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "samples"


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A document on disk whose text is known."""

    name: str
    path: Path
    known: KnownDocument


@dataclass(slots=True)
class ClassScore:
    """Scores of a class's pages, added up, as read by one reader."""

    reader: str
    page_class: str
    pages: int = 0
    seconds: float = 0.0
    flags: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, score: PageScore, answer: PageText) -> None:
        self.pages += 1
        self.seconds += answer.seconds
        self.flags.update(answer.flags)
        if answer.status != Status.OK:
            self.flags[answer.status] += 1
        self.counts.update({each.name: getattr(score, each.name) for each in fields(score)})

    @property
    def character_error_rate(self) -> float | None:
        """None where nothing was to be read."""
        return self._share("character_edits", "known_characters")

    @property
    def word_error_rate(self) -> float | None:
        return self._share("word_edits", "known_words")

    @property
    def order(self) -> float | None:
        """Share of neighbouring pieces that follow one another; None where none could be judged."""
        return self._share("pairs_in_order", "pairs")

    @property
    def cells(self) -> float | None:
        """F1 of cells at the right row and column; None for pages without tables."""
        known, read, right = (self.counts[f"{which}_cells"] for which in ("known", "read", "right"))
        return 2 * right / (known + read) if known else None

    @property
    def read_from_nothing(self) -> int:
        """Characters that were read where there were none."""
        return 0 if self.counts["known_characters"] else self.counts["read_characters"]

    def _share(self, part: str, whole: str) -> float | None:
        return self.counts[part] / self.counts[whole] if self.counts[whole] else None


def drawn_files(folder: Path, seed: int, pages_per_class: int, classes: Iterable[str]) -> Iterator[KnownFile]:
    """Fresh documents of every class, drawn one after the other into the folder."""
    for page_class in classes:
        for number in range(pages_per_class):
            drawn = draw(Order(page_class, f"{seed}/{number}"))
            path = folder / f"{page_class}-{number}{drawn.suffix}"
            path.write_bytes(drawn.data)
            yield KnownFile(path.name, path, drawn.known)


def sample_files(samples: Path = SAMPLES) -> Iterator[KnownFile]:
    """The committed corpus."""
    known = json.loads((samples / "known_text.json").read_text("utf-8"))
    for name, fields_of_document in known.items():
        yield KnownFile(name, samples / name, KnownDocument.from_json(fields_of_document))


@contextmanager
def fresh_files(seed: int, pages_per_class: int, classes: Iterable[str]) -> Iterator[Iterator[KnownFile]]:
    """``drawn_files`` in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="pagefleet-quality-") as folder:
        yield drawn_files(Path(folder), seed, pages_per_class, classes)


def measure(readers: Iterable[Reader], files: Iterable[KnownFile]) -> list[ClassScore]:
    """Have every file read by every reader, one at a time; scores in the order of classes and readers."""
    readers = list(readers)
    scores: dict[tuple[str, str], ClassScore] = {}
    for file in files:
        for reader in readers:
            key = (file.known.page_class, reader.name)
            score = scores.setdefault(key, ClassScore(reader.name, file.known.page_class))
            answers = reader.read(file.path, file.known.language)
            for known, answer in zip(file.known.pages, answers, strict=True):
                score.add(score_page(known, answer.text), answer)
    order = list(CLASSES)
    return sorted(scores.values(), key=lambda score: order.index(score.page_class))
