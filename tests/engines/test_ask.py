"""``pagefleet ask`` with real models: the page's number, alone on standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli.main import app
from tests.engines.tiny_reader.model import MODEL
from tests.engines.tiny_reader.pages import SIDE, write_pdf
from tests.engines.vllm_serve import VllmServe


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The second page of a PDF, which says 0815."""
    write_pdf(tmp_path / "numbers.pdf", ["4711", "0815"])
    return f"{tmp_path / 'numbers.pdf'}#2"


def ask(page: str, *words: str) -> dict[str, object]:
    settings = ("--longest-side", str(SIDE), "--set", "engine.sampling.max_tokens=16", "--json")
    said = CliRunner().invoke(app, ["ask", page, "--prompt", "<image>", *settings, *words])
    assert said.exit_code == 0, said.output
    answer: dict[str, object] = json.loads(said.stdout)
    return answer


def test_transformers_answers_here(page: str) -> None:
    answer = ask(page, "--engine", "transformers", "--model", str(MODEL), "--device", "cpu")
    assert (answer["text"], answer["finish_reason"]) == ("0815", "stop")


def test_a_server_answers(page: str, vllm_server: VllmServe) -> None:
    answer = ask(page, "--server-url", vllm_server.url)
    assert (answer["text"], answer["finish_reason"]) == ("0815", "stop")
