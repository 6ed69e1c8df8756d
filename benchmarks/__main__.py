"""``python -m benchmarks [NAME…]``: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path

NAMES = ("pipeline", "openai", "reading", "driver", "memory", "resume")
WITH_MODELS = ("vllm",)
"""These need what ``make test-engines`` installs: .venv-engines/bin/python -m benchmarks vllm."""
EPILOG = "How well pages are read is measured by a command of its own: python -m benchmarks.quality"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(NAMES)} (default: these), {', '.join(WITH_MODELS)}",
    )
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs where there is a baseline")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of pages")
    parser.add_argument("--json", type=Path, help="file the figures are written to")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - {*NAMES, *WITH_MODELS}):
        parser.error(
            f"no such benchmark: {', '.join(unknown)}; there are {', '.join([*NAMES, *WITH_MODELS])}"
        )
    results = {}
    for name in options.names or NAMES:
        started = time.monotonic()
        report = importlib.import_module(f"benchmarks.{name}").run(options.pairs, options.scale)
        print(report.show(), f"  took {time.monotonic() - started:.0f} s on {os.cpu_count()} cores", sep="\n")
        results[name] = report.to_json()
        if options.json:
            options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
