"""Whole jobs that read through servers: what fails there, and what the output then says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.actors.openai_engine import quick_rests, server, two
from tests.actors.openai_server import GOOD, Call, OpenAiServer, Reply
from tests.cluster.harness import make_corpus, rows, statuses
from tests.jobs.command import Commands, commands_of

__all__ = ["quick_rests", "server", "two"]  # fixtures


@pytest.fixture
def pagefleet(tmp_path: Path) -> Iterator[Commands]:
    with commands_of(tmp_path / "cache") as commands:
        yield commands


def job(docs: Path, out: Path, *servers: OpenAiServer) -> list[str | Path]:
    urls = [word for server in servers for word in ("--server-url", server.url)]
    return ["ocr", docs, "-o", out, "--single-process", "--max-failed", "1", *urls]


def test_a_job_goes_on_when_one_of_its_servers_dies(
    pagefleet: Commands, tmp_path: Path, two: list[OpenAiServer]
) -> None:
    docs, out = make_corpus(tmp_path / "docs", 2, 10), tmp_path / "out"
    dying = two[0]
    died = threading.Event()

    def die(call: Call) -> Reply:
        if not died.is_set():  # from another thread: this one answers
            died.set()
            threading.Thread(target=dying.stop).start()
        return Reply(hang=True)

    dying.script = die
    said = pagefleet.run(*job(docs, out, *two))
    assert said.exit_status == 0, said.words
    assert died.is_set()
    pagefleet.verify(out)
    assert statuses(out) == {"ok": 18, "blank": 2}
    read = [row for row in rows(out) if row["status"] == "ok"]
    assert {(row["engine"], row["model"]) for row in read} == {("openai", "reader")}
    assert len({row["text"] for row in read}) == 18, "each page's text tells of its own image"
    dying.start()


def test_a_page_the_server_refuses_is_a_failed_row(
    pagefleet: Commands, tmp_path: Path, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    docs, out = make_corpus(tmp_path / "docs", 1, 6), tmp_path / "out"
    refused: set[str] = set()

    def refuse_one(call: Call) -> Reply:
        image = call.parts[0]
        if len(server.calls) > 1 and not refused:  # the first is the warm-up
            refused.add(image)
        return Reply(400, "prompt too long, sk-secret") if image in refused else GOOD

    server.script = refuse_one
    said = pagefleet.run(*job(docs, out, server))
    assert said.exit_status == 0, said.words
    assert statuses(out) == {"ok": 5, "failed": 1}
    (reason,) = {row["reason"] for row in rows(out)} - {""}
    assert reason == f"{server.url}: HTTP 400: prompt too long, ***"
    assert not [file for file in out.rglob("*") if file.is_file() and b"sk-secret" in file.read_bytes()]


TURNS = {
    "400": lambda call: Reply(400, "the model is gone"),
    "500 to pages": lambda call: GOOD if call.is_probe else Reply(500, "the model is gone"),
    "403": lambda call: Reply(403, "the model is gone"),
}


@pytest.mark.parametrize("then", TURNS.values(), ids=list(TURNS))
def test_a_server_that_turns_wrong_stops_the_job_resumable_and_fails_no_page(
    pagefleet: Commands, tmp_path: Path, server: OpenAiServer, then: Callable[[Call], Reply]
) -> None:
    docs, out = make_corpus(tmp_path / "docs", 3, 8), tmp_path / "out"
    server.script = lambda call: GOOD if call.number <= 6 else then(call)
    said = pagefleet.run(*job(docs, out, server), "--set", "engine.openai.outage_s=1")
    assert said.exit_status == 1, said.words
    assert "no server has answered for 1 s" in said.words and "the model is gone" in said.words
    server.script = lambda call: GOOD
    said = pagefleet.run(*job(docs, out, server), "--set", "engine.openai.outage_s=1")
    assert said.exit_status == 0, said.words
    pagefleet.verify(out)
    assert statuses(out) == {"ok": 21, "blank": 3}


def test_a_server_that_is_not_there_stops_the_job_with_what_to_do(
    pagefleet: Commands, tmp_path: Path
) -> None:
    docs = make_corpus(tmp_path / "docs", 1, 1)
    with OpenAiServer() as gone:
        gone.stop()
        said = pagefleet.run(*job(docs, tmp_path / "out", gone))
        gone.start()
    assert said.exit_status == 2
    assert f"{gone.url}: " in said.words
    assert "vllm serve MODEL --port 8000" in said.words


@pytest.mark.parametrize(
    "words",
    [
        ["--server-url", "http://me:sk-secret@127.0.0.1:9/v1"],
        ["--server-url", "http://127.0.0.1:9/v1?api_key=sk-secret"],
        ["--server-url", "http://127.0.0.1:9/v1", "--set", "engine.openai.api_key_env=sk-secret"],
    ],
)
def test_a_key_where_none_belongs_is_neither_stored_nor_shown(
    pagefleet: Commands, tmp_path: Path, words: list[str]
) -> None:
    docs, out = make_corpus(tmp_path / "docs", 1, 1), tmp_path / "out"
    said = pagefleet.run("ocr", docs, "-o", out, "--single-process", *words)
    assert said.exit_status == 2
    assert "environment variable" in said.words
    assert "sk-secret" not in said.words
    assert not out.exists()
