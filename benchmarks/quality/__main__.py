"""``python -m benchmarks.quality``: how well pages are read, by class of page, beside Tesseract."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml
from rich.console import Console

from actors.engines.settings import EngineConfig
from benchmarks.quality import tables
from benchmarks.quality.measure import ClassScore, KnownFile, fresh_files, measure, sample_files
from benchmarks.quality.readers import BARE, BareTesseract, EngineReader, Reader, installed_languages
from benchmarks.samples.classes import CLASSES

DOCS = Path("docs/quality.md")
WIDTH = 110


def main() -> None:
    options = _parser().parse_args()
    console = Console()
    console.width = max(console.width, WIDTH)  # a log file says 80, and cut figures say nothing
    started = time.monotonic()
    readers = _readers(options)
    if options.samples:
        what, command = "the committed samples", "--samples"
        scores = measure(readers, _announced(sample_files()))
    else:
        what = f"{options.pages_per_class} fresh pages per class, seed {options.seed}"
        command = f"--seed {options.seed} --pages-per-class {options.pages_per_class}"
        with fresh_files(options.seed, options.pages_per_class, options.classes or CLASSES) as files:
            scores = measure(readers, _announced(files))
    console.print(f"quality: {what}; took {time.monotonic() - started:.0f} s", highlight=False)
    tables.show(scores, console)
    if options.json:
        options.json.write_text(json.dumps([_to_json(score) for score in scores], indent=2))
    if options.write_docs:
        DOCS.write_text(_document(scores, what, command), encoding="utf-8")


def _announced(files: Iterable[KnownFile]) -> Iterator[KnownFile]:
    """Say on standard error which file is read now: a run takes minutes."""
    console = Console(stderr=True)
    for file in files:
        console.print(file.name, style="dim", highlight=False)
        yield file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the pages that are drawn (default: 1)")
    parser.add_argument("--pages-per-class", type=int, default=3, metavar="K", help="default: 3")
    parser.add_argument("--classes", nargs="+", choices=CLASSES, metavar="CLASS", help=", ".join(CLASSES))
    parser.add_argument("--samples", action="store_true", help="read the committed samples instead")
    parser.add_argument("--engine", action="append", help=f"engine kind or {BARE}; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="engine argument")
    parser.add_argument("--write-docs", action="store_true", help=f"write the table into {DOCS}")
    parser.add_argument("--json", type=Path, help="file the figures are written to")
    return parser


def _readers(options: argparse.Namespace) -> list[Reader]:
    """Our engine and, where it is installed, Tesseract beside it."""
    kinds = options.engine or ["rapidocr", *([BARE] if installed_languages() else [])]
    return [
        BareTesseract() if kind == BARE else EngineReader(_engine_config(kind, options.set)) for kind in kinds
    ]


def _engine_config(kind: str, pairs: Sequence[str]) -> EngineConfig:
    """``lang=ell`` sets a field of the configuration, any other name an argument of the engine."""
    settings = {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    known = {name: settings.pop(name) for name in tuple(settings) if name in EngineConfig.model_fields}
    return EngineConfig(**{"engine_args": settings, **known, "kind": kind})


def _to_json(score: ClassScore) -> dict[str, object]:
    return {
        "reader": score.reader,
        "class": score.page_class,
        "pages": score.pages,
        "seconds": round(score.seconds, 2),
        "cer": score.character_error_rate,
        "wer": score.word_error_rate,
        "order": score.order,
        "cells": score.cells,
        "flags": dict(score.flags),
        "counts": dict(score.counts),
    }


def _document(scores: Sequence[ClassScore], what: str, command: str) -> str:
    """``docs/quality.md``: the figures and how to get them again."""
    return INTRODUCTION.format(what=what, command=command) + tables.markdown(scores)


INTRODUCTION = """\
# Quality

Measured by `python -m benchmarks.quality {command}` on {what}. Another seed draws other pages.

- **CER**, **WER**: edits per known character and per known word, in reading order. Markdown marks and
  bullets are taken off both sides, white space is collapsed, typographic quotes and dashes are made
  plain, and words divided at line ends are joined, alike for every engine. Where nothing stands on the
  page: characters read (`ch`).
- **order**: share of neighbouring pieces of five words that follow one another in the text, found with
  tolerance for misread characters.
- **cells**: F1 of table cells that are in the right row and column. Plain text has no tables.
- **s/page**: seconds of the engine alone, on one core.
- `tesseract-bare` is the installed program on the very same pixels, told the page's language where its
  data is installed (else English), finding the orientation itself.

"""


if __name__ == "__main__":
    main()
