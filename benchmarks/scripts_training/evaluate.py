"""How often pages of collected lines are flagged, by script and by the number of lines on the page."""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import Any

from actors.scripts.judge import judge_scripts
from benchmarks.scripts_training.fit import records
from benchmarks.scripts_training.texts import COVERED


def judged(page: list[dict[str, Any]], aspects: bool) -> Any:
    lines = [(r["text"], r["score"]) for r in page]
    return judge_scripts(lines, [r["aspect"] for r in page] if aspects else ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--show", action="store_true", help="print the pages judged wrongly")
    options = parser.parse_args()
    pages = [list(page) for _, page in groupby(records(options.records), lambda row: row["id"])]
    for aspects in (True, False):
        for size in (10, 3, 1):
            report(pages, size, aspects, options.show and aspects and size == 10)


def report(pages: list[list[dict[str, Any]]], size: int, aspects: bool, show: bool) -> None:
    """Pages cut to ``size`` lines. A page is foreign when half of its lines lost letters."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for page in pages:
        for start in range(0, len(page) - size + 1, size):
            part = page[start : start + size]
            foreign = [r["label"] for r in part if r["label"] != COVERED]
            if 0 < len(foreign) < 0.5 * size:
                continue
            truth = foreign[0] if foreign else COVERED
            verdict = judged(part, aspects)
            totals[truth][0] += 1
            totals[truth][1] += not verdict.covered
            totals[truth][2] += verdict.script == truth
            if show and verdict.covered != (truth == COVERED):
                _show(part, verdict)
    print(f"\n{size} lines, boxes {'known' if aspects else 'unknown'}: pages, flagged, script named")
    for name, (count, flagged, named) in sorted(totals.items()):
        print(f"  {name:12} {count:6} {100 * flagged / count:6.1f} %  {100 * named / count:6.1f} %")


def _show(page: list[dict[str, Any]], verdict: Any) -> None:
    print(f"\n{verdict}", *(page[0][key] for key in ("language", "font", "size", "defect", "amount")))
    for r in page:
        print(f"   {r['label']:9} {r['aspect']:6} {r['score']:.2f} {r['truth'][:50]!r} -> {r['text'][:50]!r}")


if __name__ == "__main__":
    main()
