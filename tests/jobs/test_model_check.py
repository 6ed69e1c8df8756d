"""``pagefleet models check``: a folder, a preset or a hub id, and which cards it fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.actors.model_folders import POINTER, model_folder, write_safetensors
from tests.jobs.command import Commands

REPO = "OpenGVLab/InternVL3_5-8B-HF"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network to fill it."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


def cached(cache: Path, repo: str) -> Path:
    """A snapshot in the hub's cache, as a download leaves it."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    return model_folder(repository / "snapshots" / REVISION)


def test_a_whole_model_is_usable_and_what_fits_is_shown(pagefleet: Commands, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", shards=3)
    said = pagefleet.run("models", "check", folder)
    assert said.exit_status == 0
    assert "InternVLForConditionalGeneration (internvl)" in said.words
    assert "tokenizer.json" in said.words
    assert "in BF16" in said.words
    cards = (
        "T4 16 GB",
        "L4 24 GB",
        "RTX 4090 24 GB",
        "A100 40 GB",
        "A100 80 GB",
        "H100 80 GB",
        "H200 141 GB",
    )
    assert all(card in said.words for card in cards)
    assert "usable" in said.words.splitlines()[-1]


def test_a_presets_name_means_the_preset_whatever_folders_there_are(
    pagefleet: Commands, tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``--model``: what is checked is what would be read with."""
    model_folder(tmp_path / "qwen3-vl")
    monkeypatch.chdir(tmp_path)
    said = pagefleet.run("models", "check", "qwen3-vl")
    assert said.exit_status == 2
    assert "Qwen/Qwen3-VL-8B-Instruct" in said.words
    assert "the folder of that name here is ./qwen3-vl" in said.words
    assert pagefleet.run("models", "check", "./qwen3-vl").exit_status == 0


def test_one_card_is_asked_about_by_its_memory(pagefleet: Commands, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    write_safetensors(folder / "model.safetensors", {"lm_head.weight": (300, 128)})
    small, large = (
        pagefleet.run("models", "check", folder, "--gpu-memory", size) for size in ("1GiB", "24GB")
    )
    assert "H100" not in small.words
    assert set(_row(small.words, "1GiB")) == {"-", "/"}
    assert int(_row(large.words, "24GB")[0].replace(",", "")) > 1000
    refused = pagefleet.run("models", "check", folder, "--gpu-memory", "much")
    assert (refused.exit_status, "must be like 24GiB; got 'much'" in refused.words) == (2, True)


def test_problems_come_first_and_the_status_is_1(pagefleet: Commands, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(POINTER)
    (folder / "tokenizer.json").unlink()
    (folder / "chat_template.jinja").unlink()
    said = pagefleet.run("models", "check", folder)
    assert said.exit_status == 1
    assert [line.split()[0] for line in said.words.splitlines()[:3]] == ["problem", "problem", "warning"]
    assert "Memory cannot be estimated" in said.words
    assert "not usable" in said.words.splitlines()[-1]


def test_presets_and_hub_ids_are_found_in_the_hubs_cache(pagefleet: Commands, hub_cache: Path) -> None:
    said = pagefleet.run("models", "check", "internvl3.5")
    assert said.exit_status == 2
    assert (
        f"its weights ({REPO}) are not on this machine: run 'pagefleet models pull internvl3.5'" in said.words
    )
    snapshot = cached(hub_cache, REPO)
    for name in ("internvl3.5", "internvl3.5:8b", REPO):
        said = pagefleet.run("models", "check", name)
        assert (said.exit_status, str(snapshot) in said.words) == (0, True)
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "1 shard missing" in pagefleet.run("models", "check", REPO).words


def test_what_is_no_model_is_told_with_the_nearest_name(pagefleet: Commands, hub_cache: Path) -> None:
    assert "did you mean internvl3.5" in pagefleet.run("models", "check", "internvl35").words
    assert "no such folder" in pagefleet.run("models", "check", "./nowhere").words


def _row(words: str, card: str) -> list[str]:
    """The cells of a card, by word."""
    (line,) = (line.split() for line in words.splitlines() if line.split()[:1] == [card])
    return line[1:]
