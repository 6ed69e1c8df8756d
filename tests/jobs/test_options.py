"""Options come from the settings they are for: the same name, type and help in every command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from jobs import reference
from jobs.cli.main import app
from jobs.cli.options import FLAGS
from jobs.config import JobConfig
from jobs.flow import Outcome
from jobs.setting_names import settings_of

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
EVERY = {flag for flags in FLAGS.values() for names in flags.values() for flag in names}
S3 = {"--s3-endpoint-url", "--s3-profile", "--s3-region"}
GENERAL = {"--config", "-c", "--set", "--help"}
TAKEN = {
    "ocr": EVERY | GENERAL | {"--output", "-o", "--new-generation", "--single-process", "--dry-run"},
    "retry": S3
    | GENERAL
    | {"--single-process", "--password", "--replicas", "--address", "--max-failed", "--deadline"}
    | {"--shard-index", "--num-shards", "--server-url", "--batch-size", "--device", "--gpus"}
    | {"--tensor-parallel-size", "--tp"},
    "assemble": S3 | GENERAL,
    "verify": S3 | GENERAL | {"--manifest", "-m", "--hashes", "--repair"},
    "ask": S3
    | GENERAL
    | {"--prompt", "--json", "--engine", "--model", "--mode", "--size", "--server-url", "--lang", "--device"}
    | {"--max-tiles", "--gpus", "--tensor-parallel-size", "--tp", "--dpi", "--longest-side", "--password"},
    "build": S3 | GENERAL | {"--output", "-o", "--page-counts", "--hashes", "--password"},
}


def options_of(command: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    owner = group.commands["manifest"] if command == "build" else group
    context = typer.Context(owner.commands[command])
    return {name for param in owner.commands[command].get_params(context) for name in param.opts}


@pytest.mark.parametrize("command", TAKEN)
def test_each_command_takes_the_options_that_apply_to_it(command):
    assert {name for name in options_of(command) if name.startswith("-")} == TAKEN[command]


def test_every_option_is_for_a_setting_that_there_is():
    assert {name for flags in FLAGS.values() for name in flags} <= set(dict(settings_of(JobConfig)))


def test_the_help_of_an_option_is_what_its_setting_says():
    shown = CliRunner().invoke(app, ["ocr", "--help"], env={"COLUMNS": "400"}).output
    declared = dict(settings_of(JobConfig))
    for flags in FLAGS.values():
        for name in flags:
            assert declared[name].description
            assert declared[name].description in shown
    assert re.search(r"never\|fallback\|prefer .*\(default: never\)", shown)
    assert "pagefleet ocr scans/ -o out" in shown


def read(monkeypatch: pytest.MonkeyPatch, *words: str) -> JobConfig:
    given = list[JobConfig]()
    monkeypatch.setattr("jobs.flow.read_corpus", lambda *all: given.append(all[2]) or Outcome(0, {}))
    result = CliRunner().invoke(app, ["ocr", "in", "-o", "out", *words])
    assert result.exit_code == 0, result.output
    return given[0]


def test_an_option_goes_over_set_over_environment_over_file(monkeypatch, tmp_path):
    (tmp_path / "job.yaml").write_text("render: {dpi: 100}\nrun: {max_failed_share: 0.2}\n")
    words = ["-c", str(tmp_path / "job.yaml")]
    assert read(monkeypatch, *words).render.dpi == 100
    monkeypatch.setenv("PAGEFLEET_RENDER__DPI", "110")
    assert read(monkeypatch, *words).render.dpi == 110
    words += ["--set", "render.dpi=120"]
    assert read(monkeypatch, *words).render.dpi == 120
    config = read(monkeypatch, *words, "--dpi", "130", "--max-failed", "0.5", "--page-images")
    assert (config.render.dpi, config.run.max_failed_share, config.output.page_images) == (130, 0.5, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dpi", "7"], "render.dpi: must be greater than or equal to 36, got 7"),
        (["--replicas", "many"], "cluster.replicas"),
        (["--device", "gpu"], "engine.device: must be 'auto', 'cuda' or 'cpu', got 'gpu'"),
        (["--max-failed", "3"], "run.max_failed_share: must be less than or equal to 1, got 3"),
        (
            ["--text-layer", "maybe"],
            "render.text_layer: must be 'never', 'fallback' or 'prefer', got 'maybe'",
        ),
        (
            ["--set", "run.max_failed=1"],
            "run.max_failed: no such setting; did you mean run.max_failed_share?",
        ),
    ],
)
def test_a_value_that_will_not_do_is_told_by_its_setting(words, told):
    result = CliRunner().invoke(app, ["ocr", "in", "-o", "out", *words])
    assert result.exit_code == 2
    assert told in result.output


def test_the_page_of_all_settings_is_up_to_date():
    told = "run: python -m jobs.reference > docs/settings.md"
    assert DOCS.read_text(encoding="utf-8") == "\n".join(reference.lines()) + "\n", told
