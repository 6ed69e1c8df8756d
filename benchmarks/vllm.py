"""vLLM through the pipeline, against the same vLLM engine fed directly with rendered pages.

Runs where vLLM is installed: ``.venv-engines/bin/python -m benchmarks vllm``. On a CPU both engines are
pinned to one core and everything else to another, and every answer has the same number of tokens:
otherwise the ratio would measure who got the core.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from PIL import Image

from actors.engines.base import Completion, EngineInfo, Request
from actors.engines.prompts import Asking
from actors.engines.settings import EngineConfig, Sampling, VllmSettings
from actors.engines.vllm.engine import VllmEngine
from actors.engines.vllm.sampling import sampling_params
from actors.page_reader import PageReader, ReaderConfig
from actors.render.settings import RenderConfig
from actors.retry import RetryPolicy
from benchmarks.report import Report
from benchmarks.session import Ran, Session, documents_of, scratch_folder
from cluster.settings import ClusterConfig
from jobs.config import JobConfig
from jobs.factories import Recipe
from tests.engines.tiny_reader.model import MODEL
from tests.engines.tiny_reader.pages import draw, numbers, write_pdf

PAGES = 2_000
PAGES_PER_DOCUMENT = 100
WARM_UP_PAGES = 200
TOKENS = 64
MAX_NUM_SEQS = 64
MOST_AT_ONCE = 4 * MAX_NUM_SEQS
SAMPLE_S = 0.1
DPI = 72
PROMPT = "<image>\nWhich number is this?"
TARGET_RATE, TARGET_FED = 0.9, 0.95
ENGINE_CORE, OTHER_CORE = 0, 1


def engine_config() -> EngineConfig:
    """The tiny reader, every answer of the same length."""
    return EngineConfig(
        kind="vllm",
        model=str(MODEL),
        device="cpu",
        prompt=PROMPT,
        sampling=Sampling(max_tokens=TOKENS, min_tokens=TOKENS, stop_repetition=False),
        vllm=VllmSettings(enforce_eager=True, max_model_len=1024, max_num_seqs=MAX_NUM_SEQS),
    )


def run(pairs: int, scale: float) -> Report:
    """Alternating pairs; both engines stay loaded, one idle while the other works."""
    report = Report("vllm: requests per second through the pipeline against the engine fed directly")
    pages = max(WARM_UP_PAGES, int(PAGES * scale))
    runs: list[dict[str, float]] = []
    job = JobConfig(
        engine=engine_config(),
        render=RenderConfig(dpi=DPI),
        cluster=ClusterConfig(replicas=1, renderers=1),
    )
    with _pinned(), scratch_folder() as folder:
        said = numbers(pages, seed=5)
        paths = list(_write_documents(Path(folder) / "in", said))
        watched = Path(folder) / "watched.jsonl"
        session = _watched_session(job, Path(folder) / "out", watched)
        with session, _Direct(job.engine) as direct:
            engines = _Engines.find()
            engines.pin()
            direct.seconds(said[:WARM_UP_PAGES])
            session.run(documents_of(paths[: WARM_UP_PAGES // PAGES_PER_DOCUMENT], "warm-up"))
            for pair in range(pairs):
                with engines.alone(engines.pipeline):
                    direct_s = direct.seconds(said)
                started = time.time()
                with engines.alone(engines.direct):
                    ran = session.run(documents_of(paths, f"pair-{pair}"))
                runs.append(_judge(direct_s, ran, _well_fed(watched, started, pages), pages))
    ratios = [run["ratio"] for run in runs]
    fed = [run["fed"] for run in runs]
    report.data["vllm"] = {"pages": pages, "tokens": TOKENS, "max_num_seqs": MAX_NUM_SEQS, "runs": runs}
    report.add("direct", f"{median(run['direct'] for run in runs):.1f} requests/s")
    report.add("pipeline", f"{median(run['pipeline'] for run in runs):.1f} requests/s")
    value = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    report.add("ratio", value, f">= {TARGET_RATE}", median(ratios) >= TARGET_RATE)
    value = f"{median(fed):.1%} of {SAMPLE_S * 1000:.0f} ms samples ({min(fed):.1%}-{max(fed):.1%})"
    report.add("well fed", value, f">= {TARGET_FED:.0%}", median(fed) >= TARGET_FED)
    return report


def _judge(direct_s: float, ran: Ran, fed: float, pages: int) -> dict[str, float]:
    if ran.pages != pages or set(ran.statuses) - {"ok", "fallback"}:
        raise RuntimeError(f"{ran.pages} rows of {pages} pages: {ran.statuses}")
    return {
        "direct": pages / direct_s,
        "pipeline": pages / ran.seconds,
        "ratio": direct_s / ran.seconds,
        "fed": fed,
    }


def _well_fed(watched: Path, started: float, pages: int) -> float:
    """Share of samples in which the engine had enough to do, from the first such one on."""
    samples = [json.loads(line) for line in watched.read_text().splitlines()]
    samples = [sample for sample in samples if sample["at"] >= started]
    base = samples[0]["finished"]
    enough = [
        sample["unfinished"] >= min(MAX_NUM_SEQS / 2, pages - (sample["finished"] - base))
        for sample in samples
        if sample["finished"] - base < pages
    ]
    warm = enough[enough.index(True) :] if True in enough else enough
    return sum(warm) / max(1, len(warm))


def _write_documents(folder: Path, said: Sequence[str]) -> Iterator[Path]:
    for start in range(0, len(said), PAGES_PER_DOCUMENT):
        path = folder / f"numbers-{start:06d}.pdf"
        write_pdf(path, list(said[start : start + PAGES_PER_DOCUMENT]))
        yield path


class _Direct:
    """An engine of its own, given all pages at once."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._numbers = count(1)
        self._engine: VllmEngine | None = None

    def __enter__(self) -> _Direct:
        self._engine = VllmEngine(self._config)
        return self

    def __exit__(self, *error: object) -> None:
        if self._engine is not None:
            self._loop.run_until_complete(self._engine.close())
        self._loop.close()

    def seconds(self, said: Sequence[str]) -> float:
        """From the first request to the last answer; the pages are drawn before."""
        pages = [Image.fromarray(draw(number)) for number in said]
        started = time.perf_counter()
        self._loop.run_until_complete(self._generate_all(pages))
        return time.perf_counter() - started

    async def _generate_all(self, pages: Sequence[Image.Image]) -> None:
        """vLLM's own call, a coroutine per page, nothing of ours in between."""
        assert self._engine is not None
        llm = self._engine._llm
        text = self._engine._prompts.text(PROMPT, 1)
        params = sampling_params(self._config.sampling, 0.0, {})
        slots = asyncio.Semaphore(MOST_AT_ONCE)

        async def generate(page: Image.Image) -> None:
            prompt = {"prompt": text, "multi_modal_data": {"image": page}}
            async with slots:
                async for _ in llm.generate(prompt, params, f"direct-{next(self._numbers)}"):
                    pass

        await asyncio.gather(*map(generate, pages))


@dataclass(frozen=True, slots=True)
class _WatchedReader:
    """Makes a page reader whose engine's load is written down every ``SAMPLE_S``."""

    recipe: Recipe
    file: str

    def __call__(self, sink: Any, replica: str) -> PageReader:
        config = self.recipe.config.engine
        engine = _Watched(VllmEngine(config), Path(self.file))
        once = RetryPolicy(temperatures=(0.0,))  # every answer is cut: that must not be tried again
        reader = ReaderConfig("benchmark", "benchmark", variants={"": Asking(config.prompt)}, retry=once)
        return PageReader(engine, reader, sink, replica)


class _Watched:
    """A vLLM engine, and what vLLM has running or waiting by its own count."""

    def __init__(self, engine: VllmEngine, file: Path) -> None:
        self._engine = engine
        self._file = file
        self._finished = 0
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def read(self, request: Request) -> Completion:
        try:
            return await self._engine.read(request)
        finally:
            self._finished += 1

    async def close(self) -> None:
        await self._engine.close()

    def _watch(self) -> None:
        with self._file.open("a", buffering=1) as file:
            while True:
                unfinished = self._engine._llm.output_processor.get_num_unfinished_requests()
                sample = {"at": time.time(), "unfinished": unfinished, "finished": self._finished}
                file.write(json.dumps(sample) + "\n")
                time.sleep(SAMPLE_S)


def _watched_session(job: JobConfig, output: Path, watched: Path) -> Session:
    recipe = Recipe(job, str(output), "benchmark", "benchmark")
    spec = recipe.fleet_spec()
    return Session(replace(spec, make_reader=_WatchedReader(recipe, str(watched))), job.cluster, output)


@contextmanager
def _pinned() -> Iterator[None]:
    """This process and all it starts on one core; vLLM's threads, by its own setting, on the other."""
    before = os.sched_getaffinity(0)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(ENGINE_CORE)
    os.sched_setaffinity(0, {OTHER_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class _Engines:
    """vLLM's own processes: those of the direct engine, and those of the pipeline's."""

    direct: Sequence[psutil.Process]
    pipeline: Sequence[psutil.Process]

    @classmethod
    def find(cls) -> _Engines:
        """Raises RuntimeError when there are not two engines."""
        cores = [process for process in psutil.Process().children(recursive=True) if _is_core(process)]
        families = [[core, *core.children(recursive=True)] for core in cores]
        ours = [family for family in families if family[0].ppid() == os.getpid()]
        others = [family for family in families if family not in ours]
        if (len(ours), len(others)) != (1, 1):
            raise RuntimeError(f"expected two engines, found {families}")
        return cls(ours[0], others[0])

    def pin(self) -> None:
        """All their threads to the engines' core."""
        for process in (*self.direct, *self.pipeline):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {ENGINE_CORE})

    @contextmanager
    def alone(self, other: Sequence[psutil.Process]) -> Iterator[None]:
        """Stop the ``other`` engine for a while: an idle worker of vLLM's polls, and takes half the core."""
        for process in other:
            process.suspend()
        try:
            yield
        finally:
            for process in other:
                process.resume()


def _is_core(process: psutil.Process) -> bool:
    return "EngineCore" in " ".join(process.cmdline())
