"""``pagefleet models``: the presets shown, and models fetched from a small hub on this machine."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import yaml
from typer.testing import CliRunner, Result

from actors.models.presets.library import GENERIC, presets
from actors.models.presets.schema import Preset
from jobs.cli.main import app
from jobs.models.pull import needed_files

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
SHA = "0123456789abcdef0123456789abcdef01234567"
GLM = "zai-org/GLM-OCR"
FILES = {
    "config.json": b'{"architectures": ["GlmOcrForConditionalGeneration"], "model_type": "glm_ocr"}',
    "tokenizer.json": b'{"version": "1.0"}',
    "model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
    "pytorch_model.bin": b"again",
    "README.md": b"words",
    "images/page.png": b"pixels",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks: about a model, its tree, and its files."""

    refusals: ClassVar[dict[str, tuple[int, str]]] = {}
    served: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        for start, (status, code) in self.refusals.items():
            if path.startswith(start):
                return self._send(status, b'{"error": "no"}', {"X-Error-Code": code}, with_body)
        if path.startswith(f"/{GLM}/resolve/{SHA}/"):
            name = path.removeprefix(f"/{GLM}/resolve/{SHA}/")
            self.served += [name] if with_body else []
            headers = {"X-Repo-Commit": SHA, "ETag": f'"{name}"'}
            return self._send(200, FILES[name], headers, with_body)
        if "/tree/" in path:
            tree = [{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in FILES.items()]
            return self._send(200, json.dumps(tree).encode(), {}, with_body)
        if path.startswith(f"/api/models/{GLM}"):
            siblings = [{"rfilename": name} for name in FILES]
            about = {"id": GLM, "sha": SHA, "siblings": siblings}
            return self._send(200, json.dumps(about).encode(), {}, with_body)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    monkeypatch.setattr(Hub, "refusals", {})
    monkeypatch.setattr(Hub, "served", [])
    with serving(Hub) as url:
        point_to(url, tmp_path, monkeypatch)
        yield Hub


def point_to(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = huggingface_hub.constants
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def models(*words: str | Path) -> Result:
    """Fails the test on any error that would reach people as a traceback."""
    result = CliRunner().invoke(app, ["models", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_the_list_names_every_preset_with_its_weights_engines_and_modes():
    lines = models("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : len(presets()) + 1]] == list(presets())
    (line,) = [line for line in lines if line.startswith("internvl3.5 ")]
    assert re.search(r"8b \(17\.0 GB\), 1b, 2b, 4b, 14b, 38b +vllm, transformers +clean, describe", line)


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_shown_with_all_that_it_holds(name):
    preset, shown = presets()[name], models("show", name).stdout
    parts = [preset.title, *preset.sources, *preset.sizes, *preset.modes]
    parts += [line for mode in preset.modes.values() for line in mode.prompt.splitlines()]
    parts += [hub_id for form in preset.forms for hub_id in form.checkpoints.values()]
    assert [part for part in parts if part not in shown] == []


def test_an_unknown_preset_is_told():
    result = models("show", "nothing")
    assert (result.exit_code, "'nothing' is no preset: there are deepseek-ocr," in result.stderr) == (2, True)


def test_the_documentation_has_every_preset():
    documented = re.findall(r"^\| `([^`]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in documented if name in presets()] == list(presets())


def test_the_preset_in_the_documentation_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    documented, stored = Preset.model_validate(yaml.safe_load(text)), presets()["glm-ocr"]
    assert documented == stored.model_copy(update={"sources": documented.sources})


def test_a_model_is_fetched_with_what_engines_load_and_no_more_then_checked(hub, tmp_path):
    result = models("pull", "glm-ocr", "--to", tmp_path / "model")
    wanted = {"config.json", "tokenizer.json", "model.safetensors"}
    assert {path.name for path in (tmp_path / "model").iterdir() if path.is_file()} == wanted
    assert sorted(hub.served) == sorted(wanted)
    assert f"{GLM} at revision {SHA}" in result.stderr
    assert f"--model {tmp_path / 'model'}" in result.stderr
    assert "GlmOcrForConditionalGeneration" in result.stdout  # the check's first line


def test_a_model_in_the_hubs_cache_is_not_fetched_again(hub, tmp_path):
    first = models("pull", GLM)
    assert f"--model {GLM} --set engine.revision={SHA}" in first.stderr
    hub.served.clear()
    assert "0.0 GB to fetch" in models("pull", GLM).stderr
    assert hub.served == []
    assert (tmp_path / "cache").is_dir()


@pytest.mark.parametrize(
    ("status", "code", "told", "exit_code"),
    [
        (401, "GatedRepo", f"{GLM} is gated: accept its terms at http", 2),
        (403, "GatedRepo", f"{GLM} is gated: accept its terms at http", 2),
        (401, "RepoNotFound", f"there is no model '{GLM}'", 2),
        (404, "RepoNotFound", f"there is no model '{GLM}'", 2),
        (404, "RevisionNotFound", f"{GLM} has no revision 'old'", 2),
        (400, "", f"{GLM}: the hub answers", 1),
    ],
)
def test_what_the_hub_refuses_is_told_with_what_to_do(hub, status, code, told, exit_code):
    hub.refusals["/api/models"] = (status, code)
    result = models("pull", "glm-ocr", "--revision", "old")
    assert told in result.stderr
    assert result.exit_code == exit_code


def test_a_hub_that_cannot_be_reached_is_told(tmp_path, monkeypatch):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # ours, and nobody listens
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        point_to(url, tmp_path, monkeypatch)
        result = models("pull", "glm-ocr")
    assert f"{url} cannot be reached" in result.stderr
    assert "copy the model's folder here" in result.stderr
    assert result.exit_code == 1


def test_offline_is_told(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    result = models("pull", "glm-ocr")
    assert (result.exit_code, "HF_HUB_OFFLINE forbids it" in result.stderr) == (1, True)


def test_a_full_disk_is_told_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 10))
    result = models("pull", "glm-ocr", "--to", tmp_path / "deep" / "model")
    assert "make room, or name another folder by --to" in result.stderr
    assert (result.exit_code, hub.served) == (1, [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("qwen3-vll",), "did you mean qwen3-vl?"),
        ((GENERIC,), "must be a preset"),
        (("deepseek-ocr", "--engine", "transformers"), "choose --engine vllm"),
        ((".",), "nothing to pull"),
        (("./nowhere",), "./nowhere is a folder's name"),
    ],
)
def test_what_is_no_hub_model_is_told(words, told, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    result = models("pull", *words)
    assert (result.exit_code, told in result.stderr) == (2, True)


def test_one_set_of_weights_is_enough():
    small = ["config.json", "tokenizer.json", "chat_template.jinja", "modeling.py"]
    shards = ["model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"]
    torch = ["pytorch_model-1-of-1.bin", "pytorch_model.bin.index.json"]
    others = ["README.md", "runs/events.json", "consolidated.safetensors", "model.onnx"]
    assert needed_files([*small, *shards, *torch, *others]) == sorted([*small, *shards])
    assert needed_files([*small, *torch, *others[:2]]) == sorted([*small, *torch])
    assert needed_files(["config.json", "consolidated.safetensors"]) != []
    assert needed_files(["params.json", *shards]) == needed_files(small) == []
