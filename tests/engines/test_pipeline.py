"""Two hundred pages through the whole pipeline with each engine: every answer at its own page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.harness import Job, Runner, rows, until
from tests.engines.conftest import ENVIRONMENT
from tests.engines.tiny_reader.model import MODEL
from tests.engines.tiny_reader.pages import numbers, write_corpus

PAGES = 200
WITHIN_S = 300.0
SETS = ["render.dpi=72", "engine.sampling.max_tokens=8", "cluster.replicas=1", "cluster.renderers=1"]
VLLM = ["engine.device=cpu", "engine.vllm.enforce_eager=true", "engine.vllm.max_model_len=1024"]
WORDS: dict[str, list[str]] = {
    "vllm": ["--engine", "vllm", "--model", str(MODEL)],
    "transformers": ["--engine", "transformers", "--model", str(MODEL), "--batch-size", "16"],
}
ENGINE_SETS = {"vllm": VLLM, "transformers": ["engine.device=cpu"]}
Said = dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    folder = tmp_path_factory.mktemp("numbers")
    return folder, write_corpus(folder, numbers(PAGES, seed=11))


@pytest.fixture
def said_by(runner: Runner, corpus: tuple[Path, Said], tmp_path: Path) -> Iterator[Any]:
    """Reads the corpus with an engine, checks the output, and returns its rows."""

    def read(*words: str, sets: list[str]) -> list[dict[str, Any]]:
        out = tmp_path / "out"
        job = runner.start("ocr", corpus[0], "-o", out, *words, sets=[*SETS, *sets], env=ENVIRONMENT)
        assert job.wait(WITHIN_S) == 0, job.said[-6000:]
        runner.verify(out)
        return rows(out)

    yield read


def texts(found: list[dict[str, Any]]) -> Said:
    return {(row["doc_id"], row["page"]): row["text"].strip() for row in found}


@pytest.mark.parametrize("engine", WORDS)
def test_every_answer_comes_back_to_its_page_on_ray(
    engine: str, said_by: Any, corpus: tuple[Path, Said]
) -> None:
    found = said_by(*WORDS[engine], sets=ENGINE_SETS[engine])
    assert texts(found) == corpus[1]
    assert {(row["status"], row["engine"], row["finish_reason"]) for row in found} == {("ok", engine, "stop")}
    assert all(row["prompt_tokens"] > 16 and row["completion_tokens"] >= 4 for row in found)


def test_every_answer_comes_back_to_its_page_from_a_server(
    said_by: Any, corpus: tuple[Path, Said], vllm_server: Any
) -> None:
    found = said_by("--server-url", vllm_server.url, sets=[])
    assert texts(found) == corpus[1]
    assert {(row["status"], row["engine"]) for row in found} == {("ok", "openai")}


@pytest.mark.timeout(2 * WITHIN_S)  # vLLM is loaded twice
def test_an_engine_core_that_is_killed_costs_no_page(
    runner: Runner, corpus: tuple[Path, Said], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    slow = ["engine.sampling.min_tokens=40", "engine.sampling.max_tokens=40", "engine.vllm.max_num_seqs=8"]
    slow += ["engine.sampling.stop_repetition=false", "retry.temperatures=[0.0]", "output.flush_s=0.2"]
    sets = [SETS[0], *SETS[2:], *VLLM, *slow]
    job = runner.start("ocr", corpus[0], "-o", out, *WORDS["vllm"], sets=sets, env=ENVIRONMENT)
    until(lambda: list(out.glob("p*/**/*.parquet")), within_s=WITHIN_S, alive=job)
    _engine_core(job).kill()
    assert job.wait(WITHIN_S) == 0, job.said[-6000:]
    assert "is gone (crash), it is replaced" in job.said
    found = rows(out)
    assert {(row["doc_id"], row["page"]) for row in found} == set(corpus[1])
    assert {row["status"] for row in found} <= {"ok", "fallback"}, "no page is condemned for it"
    assert len({row["replica"] for row in found}) == 2
    runner.verify(out)


def _engine_core(job: Job) -> psutil.Process:
    """vLLM's own process, below the replica's."""
    (core,) = [
        process
        for process in psutil.Process(job.process.pid).children(recursive=True)
        if "EngineCore" in _words(process)
    ]
    return core


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):  # others may end while this one is looked for
        return " ".join(process.cmdline())
    return ""
