"""Peak memory of a job above its idle pipeline: a long document against one of a tenth of its pages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.corpus import SCANS, make_corpus
from benchmarks.pipeline import instant_job
from benchmarks.processes import MemoryPeak, memory_by_role
from benchmarks.report import Report, mebibytes
from benchmarks.session import Session, documents_of, scratch_folder

PAGES = 3_000
MAX_RATIO = 1.2
COMMAND = (sys.executable, "-m", "benchmarks.memory")


def run(pairs: int, scale: float) -> Report:
    """Each document in a cluster of its own, alternating. More than one pair takes long: two at most."""
    report = Report("memory: peak above the idle pipeline, one PDF of scans, every shared page once")
    sizes = (int(PAGES * scale) // 10, int(PAGES * scale))
    for size in sizes:
        make_corpus(SCANS, size, one_document=True)
    runs: list[dict[int, Any]] = [
        {size: _measured_apart(size) for size in sizes} for _ in range(min(2, pairs))
    ]
    small, large = (median(run[size]["above_idle"] for run in runs) for size in sizes)
    report.data = {"runs": runs}
    for size, figures in runs[-1].items():
        report.add(f"{size:,} pages: idle", mebibytes(figures["idle"]))
        report.add(f"{size:,} pages: peak", mebibytes(figures["peak"]))
        for role, count in figures["roles"].items():
            report.add(
                f"  {role}", f"{mebibytes(count)} (idle {mebibytes(figures['idle_roles'].get(role, 0))})"
            )
    value = f"{large / small:.2f} ({mebibytes(large)} over {mebibytes(small)})"
    report.add("above idle, long over short", value, f"<= {MAX_RATIO}", large / small <= MAX_RATIO)
    return report


def _measured_apart(pages: int) -> dict[str, Any]:
    """``measure`` in a process of its own."""
    done = subprocess.run([*COMMAND, str(pages)], stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(pages: int) -> dict[str, Any]:
    """Start a cluster, note what it takes, read the document and note the peak."""
    paths = make_corpus(SCANS, pages, one_document=True)
    with scratch_folder() as output, Session.of_job(instant_job(), Path(output)) as session:
        idle = memory_by_role()
        with MemoryPeak() as memory:
            ran = session.run(documents_of(paths, "memory"))
    if ran.pages != pages:
        raise RuntimeError(f"{ran.pages} rows of {pages} pages: {ran.statuses}")
    return {
        "idle": sum(idle.values()),
        "peak": memory.peak,
        "above_idle": memory.peak - sum(idle.values()),
        "pages_per_s": pages / ran.seconds,
        "idle_roles": dict(idle),
        "roles": dict(memory.roles),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
