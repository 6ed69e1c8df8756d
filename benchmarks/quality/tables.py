"""Quality figures as tables: for the terminal, and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.engines.base import SCRIPT_FLAG
from benchmarks.quality.measure import ClassScore
from benchmarks.quality.readers import BARE

TARGETS: Mapping[str, float] = {
    "clean_scan": 0.01,
    "two_column": 0.02,
    "three_column": 0.03,
    "skewed_noisy": 0.05,
    "rotated": 0.02,
    "page_number": 0.0,
    "greek": 0.03,
}
"""Character error rates an engine of ours must not exceed."""
EMPTY = ("blank", "show_through")
OTHER_SCRIPTS = ("greek", "cyrillic")
HEAD = ("class", "read by", "pages", "CER", "WER", "order", "cells", "s/page", "target", "")


def rows(scores: Sequence[ClassScore]) -> list[tuple[str, ...]]:
    """One row per class and reader, in the order of ``HEAD``."""
    bare = {score.page_class: score for score in scores if score.reader == BARE}
    return [_row(score, bare.get(score.page_class)) for score in scores]


def flag_lines(scores: Iterable[ClassScore]) -> list[str]:
    """What pages were flagged with, by class and reader."""
    return [
        f"{score.page_class}, {score.reader}: "
        + ", ".join(f"{flag} {count}" for flag, count in sorted(score.flags.items()))
        for score in scores
        if score.flags
    ]


def show(scores: Sequence[ClassScore], console: Console) -> None:
    """Print the figures."""
    table = Table(*HEAD, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[2:8]:
        column.justify = "right"
    for row in rows(scores):
        style = {"met": "green", "MISSED": "red"}.get(row[-1], "")
        table.add_row(*row[:-1], Text(row[-1], style))
    console.print(table)
    for line in flag_lines(scores):
        console.print(f"  {line}", style="dim", highlight=False)


def markdown(scores: Sequence[ClassScore]) -> str:
    """The figures as a Markdown table, flags under it."""
    lines = [_markdown_row(HEAD), _markdown_row("---" for _ in HEAD)]
    lines += [_markdown_row(row) for row in rows(scores)]
    flags = [f"- {line}" for line in flag_lines(scores)]
    return "\n".join([*lines, "", "Statuses other than `ok`, and flags (pages):", "", *flags, ""])


def judged(score: ClassScore, bare: ClassScore | None) -> tuple[str, bool | None]:
    """The target a reader of ours is held against, and whether it is met; nothing for the baseline."""
    if score.reader == BARE:
        return "", None
    if score.page_class in EMPTY:
        return "0 ch", score.read_from_nothing == 0
    rate = score.character_error_rate or 0.0
    if score.page_class in OTHER_SCRIPTS and score.flags[SCRIPT_FLAG] == score.pages:
        return "read or flagged", True
    limit = TARGETS.get(score.page_class)
    targets, met = ([f"<= {limit:.0%}"], [rate <= limit]) if limit is not None else ([], [])
    if bare is not None and score.page_class not in OTHER_SCRIPTS:
        targets.append("<= tesseract")
        met.append(rate <= (bare.character_error_rate or 0.0))
    return ", ".join(targets), all(met) if met else None


def _row(score: ClassScore, bare: ClassScore | None) -> tuple[str, ...]:
    target, met = judged(score, bare)
    cer = _percent(score.character_error_rate)
    if score.character_error_rate is None:
        cer = f"{score.read_from_nothing} ch"
    return (
        score.page_class,
        score.reader,
        str(score.pages),
        cer,
        _percent(score.word_error_rate),
        _share(score.order),
        _share(score.cells),
        f"{score.seconds / score.pages:.1f}",
        target,
        {True: "met", False: "MISSED", None: ""}[met],
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
