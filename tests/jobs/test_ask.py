"""``pagefleet ask``: one answer on standard output, whatever else is said goes elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from actors.engines.scripted.engine import ScriptedEngine
from jobs.cli.main import app

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples" / "documents"
LETTER, KETCHES = SAMPLES / "letter.pdf", SAMPLES / "cards" / "ketches.tif"
SCRIPTED = ("--engine", "scripted")


def ask(*words: str | Path) -> Result:
    result = CliRunner().invoke(app, ["ask", *map(str, words)], prog_name="pagefleet")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_answer_is_all_there_is_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read = ScriptedEngine.read

    async def noisy(self: ScriptedEngine, request: Any) -> Any:
        print("a library's banner")
        os.write(1, b"a child's banner\n")
        return await read(self, request)

    monkeypatch.setattr(ScriptedEngine, "read", noisy)
    result = ask(LETTER, *SCRIPTED)
    assert result.exit_code == 0
    assert result.stdout.startswith("ask page 1: 875x1240")
    assert result.stdout.count("\n") == 1
    assert "a library's banner" in result.stderr
    assert capfd.readouterr() == ("", "a child's banner\n")


def test_several_images_and_pages_are_asked_about_in_order() -> None:
    first, second = ask(f"{KETCHES}#1", *SCRIPTED), ask(f"{KETCHES}#2", *SCRIPTED)
    both = ask(f"{KETCHES}#2", KETCHES, *SCRIPTED, "--json")
    answer = json.loads(both.stdout)
    prints = [one.stdout.strip().removeprefix("ask page 1: ") for one in (second, first)]
    assert answer["text"] == f"ask page 1: {' '.join(prints)}"
    assert (answer["finish_reason"], answer["prompt_tokens"]) == ("stop", 2)


def test_a_file_may_have_a_number_sign_in_its_name(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), "white").save(tmp_path / "scan#2", "PNG")
    result = ask(tmp_path / "scan#2", *SCRIPTED)
    assert "80x60" in result.stdout, "a blank page is asked about too"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.png",), "nowhere.png: no such file"),
        ((f"{LETTER}#9",), "page 9 does not exist: the document has 1 page(s)"),
        ((f"{LETTER}#0",), "pages count from 1"),
        ((Path(__file__),), "not a PDF or supported image"),
        ((LETTER, KETCHES), "rapidocr reads one image at a time, got 2"),
        (
            (LETTER, KETCHES, "--server-url", "http://127.0.0.1:9", "--prompt", "<image>" * 3),
            "the prompt has 3 <image> placeholders for 2 images: write <image> at most once for each image",
        ),
        ((LETTER, "--model", "./nowhere"), "./nowhere: no such folder"),
    ],
)
def test_what_the_user_can_mend_is_told_with_exit_status_2(words: tuple[str | Path, ...], told: str) -> None:
    result = ask(*words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""


def test_an_engine_that_refuses_is_exit_status_1() -> None:
    result = ask(LETTER, *SCRIPTED, "--set", 'engine.engine_args={fail_on: ["ask#1"]}')
    assert result.exit_code == 1
    assert "error: scripted to refuse ask#1" in result.stderr


def test_an_engine_that_breaks_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ScriptedEngine, script: Any) -> None:
        raise RuntimeError("Engine core initialization failed.")

    monkeypatch.setattr(ScriptedEngine, "__init__", broken)
    result = ask(LETTER, *SCRIPTED)
    assert result.exit_code == 1
    assert (
        "the scripted engine cannot start: RuntimeError: Engine core initialization failed." in result.stderr
    )
    assert "docs/troubleshooting.md" in result.stderr


def test_an_engine_that_takes_too_long_is_given_up() -> None:
    settings = 'engine.engine_args={hang_on: ["ask#1"]}'
    result = ask(LETTER, *SCRIPTED, "--set", settings, "--set", "engine.page_timeout_s=0.2")
    assert result.exit_code == 1
    assert "no answer within 0.2 s (engine.page_timeout_s)" in result.stderr


class _Server(BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server whose model stops at its limit."""

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "reader"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kinds = [part["type"] for part in body["messages"][0]["content"]]
        message = {"role": "assistant", "content": f"{len(kinds)} parts: {' '.join(kinds)}"}
        usage = {"prompt_tokens": 9, "completion_tokens": 5}
        self._answer({"choices": [{"message": message, "finish_reason": "length"}], "usage": usage})

    def _answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_gets_the_images_where_the_prompt_has_them_and_a_cut_answer_is_told() -> None:
    with serving() as url:
        result = ask(LETTER, KETCHES, "--server-url", url, "--prompt", "Old: <image> New: <image> Changes?")
    assert result.stdout == "5 parts: text image_url text image_url text\n"
    assert "the answer was cut after 5 tokens" in result.stderr
    assert result.exit_code == 0
