"""The pipeline with the openai engine, against a bare client of the same constant-latency server."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from actors.engines.settings import EngineConfig, OpenAiSettings
from actors.render.settings import RenderConfig
from benchmarks.bare import BareRendering
from benchmarks.corpus import MIXED, make_corpus
from benchmarks.processes import cpu_seconds
from benchmarks.report import Report
from benchmarks.server_process import LATENCY_S, SLOTS, ConstantServer
from benchmarks.server_reference import BareClient
from benchmarks.session import Session, documents_of, scratch_folder
from jobs.config import JobConfig

PAGES = 2_000
WARM_UP_PAGES = 300
TARGET = 0.75


def asking_job(url: str) -> JobConfig:
    """A job whose pages all go to the server, blank ones too."""
    return JobConfig(
        engine=EngineConfig(
            kind="openai",
            prompt="<image>Read this page.",
            openai=OpenAiSettings(server_urls=(url,), max_concurrency=SLOTS),
        ),
        render=RenderConfig(skip_blank=False),
    )


def run(pairs: int, scale: float) -> Report:
    """Alternating runs on one warm cluster, one warm client and one warm pool of renderers."""
    report = Report(f"openai: a server with {LATENCY_S} s latency and {SLOTS} slots, against a bare client")
    pages = int(PAGES * scale)
    paths, warm_up = make_corpus(MIXED, pages), make_corpus(MIXED, WARM_UP_PAGES)
    runs: list[dict[str, float]] = []
    cpu: Counter[str] = Counter()
    with ExitStack() as stack:
        server = stack.enter_context(ConstantServer())
        output = Path(stack.enter_context(scratch_folder()))
        session = stack.enter_context(Session.of_job(asking_job(server.url), output))
        client = stack.enter_context(BareClient(server.url))
        rendering = stack.enter_context(BareRendering())
        session.run(documents_of(warm_up, "warm-up"))
        client.seconds(warm_up)
        rendering.seconds(warm_up)
        for pair in range(pairs):
            rendering_s = rendering.seconds(paths)
            first = cpu_seconds()
            client_s = client.seconds(paths)
            before = cpu_seconds()
            ran = session.run(documents_of(paths, f"pair-{pair}"))
            cpu["bare"] += (before - first)["bare"]
            cpu.update(cpu_seconds() - before)
            if ran.statuses.get("ok") != pages:
                raise RuntimeError(f"{ran.pages} rows of {pages} pages: {ran.statuses}")
            seconds = {"rendering": rendering_s, "client": client_s, "pipeline": ran.seconds}
            runs.append({name: pages / took for name, took in seconds.items()})
    _tell(report, runs, cpu, pages)
    return report


def _tell(report: Report, runs: list[dict[str, float]], cpu: Counter[str], pages: int) -> None:
    report.data = {"pages": pages, "runs": runs, "cpu_s": dict(cpu)}
    for name in ("rendering", "client", "pipeline"):
        report.add(f"bare {name}" if name != "pipeline" else name, f"{_median(runs, name):.1f} pages/s")
    ratios = [run["pipeline"] / run["client"] for run in runs]
    value = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    report.add("pipeline to bare client", value, f">= {TARGET}", median(ratios) >= TARGET)
    to_rendering = median(run["pipeline"] / run["rendering"] for run in runs)
    report.add("pipeline to bare rendering", f"{to_rendering:.2f}")
    whole = sum(seconds for role, seconds in cpu.items() if role not in ("bare", "server"))
    report.add("ratio of CPU seconds", f"{cpu['bare'] / whole:.2f}")
    for role, seconds in cpu.most_common():
        report.add(f"CPU of {role}", f"{1000 * seconds / pages / len(runs):.2f} ms/page")


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return float(median(run[name] for run in runs))
