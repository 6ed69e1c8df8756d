"""Pages per second through the whole pipeline, against bare rendering of the same pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from actors.engines.settings import EngineConfig
from benchmarks.bare import BareRendering
from benchmarks.corpus import MIXED, TEXT, Mix, make_corpus
from benchmarks.processes import cpu_seconds
from benchmarks.report import Report
from benchmarks.session import Session, documents_of, scratch_folder
from jobs.config import JobConfig

PAGES = 2_000
WARM_UP_PAGES = 100
ENGINE_WINDOW = 128
TARGETS = ((MIXED, 0.7), (TEXT, 0.3))


def instant_job() -> JobConfig:
    """A job whose engine answers at once."""
    engine_args = {"window": ENGINE_WINDOW, "concurrency": ENGINE_WINDOW}
    return JobConfig(engine=EngineConfig(kind="scripted", engine_args=engine_args))


def run(pairs: int, scale: float) -> Report:
    """Alternating pairs on one warm cluster and one warm pool."""
    report = Report("pipeline: rows written per second against bare PyMuPDF rendering")
    with scratch_folder() as output, Session.of_job(instant_job(), Path(output)) as session:
        for mix, target in TARGETS:
            _measure(mix, target, int(PAGES * scale), pairs, session, report)
    return report


def _measure(mix: Mix, target: float, pages: int, pairs: int, session: Session, report: Report) -> None:
    paths = make_corpus(mix, pages)
    warm_up = make_corpus(mix, WARM_UP_PAGES)
    session.run(documents_of(warm_up, f"{mix.name}-warm-up"))
    runs: list[dict[str, Any]] = []
    cpu: Counter[str] = Counter()
    with BareRendering() as bare:
        bare.seconds(warm_up)
        for pair in range(pairs):
            first = cpu_seconds()
            bare_s = bare.seconds(paths)
            before = cpu_seconds()
            ran = session.run(documents_of(paths, f"{mix.name}-{pair}"))
            cpu["bare"] += (before - first)["bare"]
            cpu.update(cpu_seconds() - before)
            if ran.pages != pages:
                raise RuntimeError(f"{ran.pages} rows of {pages} pages: {ran.statuses}")
            runs.append(
                {"bare": pages / bare_s, "pipeline": pages / ran.seconds, "ratio": bare_s / ran.seconds}
            )
    ratios = [run["ratio"] for run in runs]
    report.data[mix.name] = {"pages": pages, "runs": runs, "cpu_s": dict(cpu)}
    report.add(f"{mix.name}: bare", f"{median(run['bare'] for run in runs):.1f} pages/s")
    report.add(f"{mix.name}: pipeline", f"{median(run['pipeline'] for run in runs):.1f} pages/s")
    value = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    report.add(f"{mix.name}: ratio", value, f">= {target}", median(ratios) >= target)
    whole = sum(seconds for role, seconds in cpu.items() if role != "bare")
    report.add(f"{mix.name}: ratio of CPU seconds", f"{cpu['bare'] / whole:.2f}")
    for role, seconds in cpu.most_common():
        report.add(f"{mix.name}: CPU of {role}", f"{1000 * seconds / pages / pairs:.2f} ms/page")
