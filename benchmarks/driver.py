"""The scheduler by itself: real queues, real Ray actors, real writer; only render and read are empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_seconds, driver_rss
from benchmarks.report import Report, mebibytes
from benchmarks.session import Session, scratch_folder
from benchmarks.stubs import StubWorkers
from cluster.settings import ClusterConfig, FleetSpec
from jobs.driver.snapshot import Snapshot
from manifests.documents import Document

PAGES = 100_000
MANY_PAGES = 1_000_000
MIN_RATE = 5_000
MAX_GROWTH = 50 * 2**20
MAX_COST_RATIO = 1.3


def run(pairs: int, scale: float) -> Report:
    """Long documents, single pages, growth of cost and of the driver's memory. ``pairs`` is not used:
    there is no baseline to alternate with."""
    report = Report("driver: pages per second with empty render and read")
    pages = int(PAGES * scale)
    with scratch_folder() as output:
        workers = StubWorkers(output)
        spec = FleetSpec(workers.make_renderer, workers.make_reader, workers.make_writer, num_cpus=0.1)
        with Session(spec, ClusterConfig(), Path(output)) as session:
            _run(session, "warm-up", pages // 10, 100)
            small = _run(session, "tenth", pages // 10, 100)
            full = _run(session, "full", pages, 100)
            single = _run(session, "single", pages // 10, 1)
            report.data = {"tenth": small, "full": full, "single pages": single}
            _tell_rate(report, "documents of 100 pages", full)
            _tell_rate(report, "documents of 1 page", single, target=0)  # each writes a durable Markdown file
            ratio = full["us_per_page"] / small["us_per_page"]
            what = f"cost per page, {pages:,} over {pages // 10:,}"
            report.add(what, f"{ratio:.2f}", f"<= {MAX_COST_RATIO}", ratio <= MAX_COST_RATIO)
            many = int(MANY_PAGES * scale)
            growth = report.data["growth"] = _growth(session, pages, many)
            what = f"driver RSS from {pages:,} to {many:,} pages"
            value = f"{mebibytes(growth['growth'])} ({growth['rate']:,.0f} pages/s)"
            report.add(what, value, "<= 50 MiB", growth["growth"] <= MAX_GROWTH)
    return report


def documents(name: str, pages: int, each: int) -> Iterator[Document]:
    """Documents that only the stubs can read."""
    for number in range(pages // each):
        doc_id = f"{name}/{number // 1000:04d}/{number:07d}"
        yield Document(f"{doc_id}.pdf", f"stub/{each}", size=1000, version="1", markdown=doc_id)


def _run(session: Session, name: str, pages: int, each: int) -> dict[str, Any]:
    before = cpu_seconds()
    ran = session.run(documents(name, pages, each))
    used = cpu_seconds() - before
    if ran.pages != pages:
        raise RuntimeError(f"{ran.pages} rows of {pages} pages: {ran.statuses}")
    return {
        "rate": pages / ran.seconds,
        "us_per_page": 1e6 * ran.seconds / pages,
        "cpu_us_per_page": {role: round(1e6 * s / pages, 1) for role, s in Counter(used).most_common()},
    }


def _tell_rate(report: Report, what: str, figures: dict[str, Any], target: int = MIN_RATE) -> None:
    rate = figures["rate"]
    if target:
        report.add(what, f"{rate:,.0f} pages/s", f">= {target:,}", rate >= target)
    else:
        report.add(what, f"{rate:,.0f} pages/s")
    for role, cost_us in figures["cpu_us_per_page"].items():
        report.add(f"  CPU of {role}", f"{cost_us:.0f} us/page")


def _growth(session: Session, first: int, pages: int) -> dict[str, Any]:
    """The driver's resident bytes after ``first`` pages and at the most from there to the end."""
    sizes: list[int] = []

    def observe(snapshot: Snapshot) -> None:
        if snapshot.progress.pages >= first:
            sizes.append(driver_rss())
            sizes[1:] = [max(sizes[1:])] if len(sizes) > 1 else []

    ran = session.run(documents("growth", pages, 100), observe)
    return {"rate": ran.pages / ran.seconds, "growth": max(sizes[1:], default=sizes[0]) - sizes[0]}
