"""``--dry-run``: what a run would stumble over, told without leaving a trace."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from manifests.units import UnitPlan
from results.unit_files import encode_plan
from tests.actors.model_folders import POINTER, QWEN3_8B, large_model_folder, model_folder
from tests.jobs.command import Commands, Said
from tests.jobs.test_ask import serving
from tests.s3_server import S3Server

DryRun = Callable[..., Said]
Gpus = Callable[[Sequence[str]], None]


@pytest.fixture(autouse=True)
def _no_model_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub cache"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (60, 80), (number, 0, 0)).save(folder / f"page {number}.png")
    (folder / "notes.txt").write_text("no document")
    return folder


@pytest.fixture
def dry_run(pagefleet: Commands, scans: Path, tmp_path: Path) -> DryRun:
    """Runs ``ocr --dry-run`` and holds it to leaving everything as it was."""

    def run(*words: str | Path, inputs: Sequence[str | Path] = (), output: str | Path = "") -> Said:
        before = _everything(tmp_path)
        said = pagefleet.run(
            "ocr", *(inputs or [scans]), "-o", output or tmp_path / "out" / "of" / "it", "--dry-run", *words
        )
        assert _everything(tmp_path) == before
        return said

    return run


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Puts an nvidia-smi in the path that reports these GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(rows: Sequence[str]) -> None:
        lines = "\n".join(rows)
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'ROWS'\n{lines}\nROWS\n")
        (folder / "nvidia-smi").chmod(0o755)

    return install


@pytest.fixture
def eight_billion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder of 15 GiB that takes no room on the disk, and vLLM as if it were installed."""
    folder = large_model_folder(tmp_path / "model", 16 * 10**9, QWEN3_8B)
    packages = tmp_path / "packages" / "vllm"
    packages.mkdir(parents=True)
    (packages / "__init__.py").write_text("raise AssertionError('a dry run loads nothing')")
    monkeypatch.syspath_prepend(packages.parent)
    return folder


def _everything(folder: Path) -> dict[Path, float]:
    """All there is; files with when they were written."""
    return {
        path: path.lstat().st_mtime if path.is_file() else 0.0
        for path in folder.rglob("*")
        if "cache" not in path.parts
    }


def test_a_run_that_would_do_is_told_with_what_it_would_read(dry_run: DryRun) -> None:
    said = dry_run("--limit", "3")
    assert said.exit_status == 0, said.words
    assert "5 documents" in said.words
    assert "(5 .png): page 0.png, page 1.png, page 2.png, …" in said.words
    assert "pages     5, one in each image" in said.words
    assert "files of other kinds skipped" in said.words
    assert "limit 3" in said.words
    assert "rapidocr, 150 dpi" in said.words
    assert "can be written" in said.words
    assert "ready; to run it:" in said.words


def test_every_problem_is_told_at_once(dry_run: DryRun, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    said = dry_run(
        "--engine", "vllm", "--model", "owner/name", inputs=[tmp_path / "gone"], output=file / "out"
    )
    assert said.exit_status == 1
    assert "problem   inputs" in said.words
    assert "pip install -e '.[vllm]'" in said.words
    assert "pagefleet models pull owner/name" in said.words
    assert "no NVIDIA GPU answers" in said.words
    assert "problem   output" in said.words
    assert "--set engine.device=cpu" in said.words


def test_documents_that_cannot_be_read_are_named(dry_run: DryRun, tmp_path: Path) -> None:
    manifest = tmp_path / "corpus.jsonl"
    manifest.write_text('{"uri": "scans/page 0.png"}\n{"uri": "scans/lost.png"}\n')
    said = dry_run(inputs=[manifest])
    assert said.exit_status == 1
    assert "1 cannot be read: " in said.words
    assert "lost.png" in said.words


def test_an_output_that_is_another_jobs_is_told_and_our_own_goes_on(
    pagefleet: Commands, dry_run: DryRun, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(scans, "-o", out)

    def look_ahead(*words: str) -> Said:
        return pagefleet.ocr(scans, "-o", out, "--dry-run", *words)

    said = look_ahead()
    assert (said.exit_status, "goes on: 5 pages stored, 0 of 5 documents left" in said.words) == (0, True)
    Image.new("RGB", (60, 80), "red").save(scans / "page 9.png")
    assert "1 of 6 documents left" in look_ahead().words
    other = look_ahead("--dpi", "99")
    assert other.exit_status == 1
    assert "a job with other settings" in other.words
    assert "render.dpi: 36 there, 99 now" in other.words
    again = look_ahead("--dpi", "99", "--new-generation")
    assert (again.exit_status, "6 of 6 documents left" in again.words) == (0, True)
    assert "holds no pagefleet job" in dry_run(output=scans).words


def test_a_look_ahead_changes_nothing_in_an_output_with_work_and_leftovers_in_it(
    pagefleet: Commands, dry_run: DryRun, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pagefleet.succeed(scans, "-o", out, sets=["input.unit_documents=2"])
    (sealed, *_) = sorted(out.glob("pages/*.parquet"))
    for unit in (sealed.stem, "0123456789abcdef"):
        folder = out / "partial" / unit / "g0001"
        folder.mkdir(parents=True)
        (folder / "unit.json").write_bytes(encode_plan(UnitPlan(unit, 1, ())))
        (folder / "rows-1.parquet").touch()
    (out / "claims" / "job").mkdir(parents=True)
    (out / "claims" / "job" / "left.1.json").write_text("{}")
    for words in ((), ("--set", "input.unit_documents=2"), ("--dpi", "99", "--new-generation")):
        said = dry_run(*words, output=out)
        assert "can be written" in said.words, said.words


def test_an_output_on_s3_is_tried_with_an_object_that_is_gone_again(
    pagefleet: Commands, scans: Path, s3: S3Server
) -> None:
    words = ("ocr", scans, "--dry-run", "--s3-endpoint-url", s3.url, "--s3-region", "us-east-1")
    said = pagefleet.run(*words, "-o", f"s3://{s3.bucket}/out")
    assert said.exit_status == 0, said.words
    assert f"s3://{s3.bucket}/out can be written" in said.words
    assert "Contents" not in s3.client().list_objects_v2(Bucket=s3.bucket)
    said = pagefleet.run(*words, "-o", "s3://no-such-bucket/out")
    assert (said.exit_status, "no such bucket" in said.words) == (1, True)


def test_a_broken_model_stops_a_run_and_its_dry_run(
    pagefleet: Commands, dry_run: DryRun, scans: Path, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(POINTER)
    told = f"model.safetensors is a {len(POINTER)}-byte git-lfs pointer"
    assert told in dry_run("--engine", "vllm", "--model", folder).words
    said = pagefleet.run("ocr", scans, "-o", tmp_path / "out", "--engine", "vllm", "--model", folder)
    assert (said.exit_status, told in said.words) == (2, True)
    assert not (tmp_path / "out").exists()


def test_what_fits_a_gpu_is_told_and_what_would_make_it_fit(
    dry_run: DryRun, gpus: Gpus, eight_billion: Path
) -> None:
    model = ("--engine", "vllm", "--model", eight_billion)
    gpus(["0, NVIDIA H100 80GB HBM3, 81559, 81000, 9.0"])
    said = dry_run(*model)
    assert said.exit_status == 0, said.words
    assert "pages of 4,096 tokens at once" in said.words
    gpus(["0, NVIDIA L4, 23034, 22500, 8.9"])
    said = dry_run(*model, "--set", "engine.vllm.max_model_len=100000")
    assert said.exit_status == 1
    assert "--set engine.vllm.max_model_len=16384" in said.words.splitlines()[-1]
    assert "--dry-run" not in said.words.splitlines()[-1]
    gpus(["0, Tesla T4, 15360, 15000, 7.5"])
    assert "take a smaller model, or --engine transformers" in dry_run(*model).words


def test_a_gpu_that_is_in_use_or_missing_is_told(
    dry_run: DryRun, gpus: Gpus, eight_billion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ("--engine", "vllm", "--model", eight_billion)
    gpus(["0, NVIDIA H100 80GB HBM3, 81559, 20000, 9.0", "1, NVIDIA H100 80GB HBM3, 81559, 81000, 9.0"])
    said = dry_run(*model)
    assert "GPU 0 has 19.5 GiB free" in said.words
    assert "engine.vllm.gpu_memory_utilization=0.24" in said.words
    assert dry_run(*model, "--gpus", "1").exit_status == 0
    assert "engine.gpus: no GPU 2, 7 here; there are 0, 1" in dry_run(*model, "--gpus", "1,7,2").words
    assert "2 here, 4 in a group" in dry_run(*model, "--tp", "4").words
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert dry_run(*model).exit_status == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "no NVIDIA GPU answers" in dry_run(*model).words, "as CUDA reads it, that is none"
    gpus([])
    assert "no NVIDIA GPU answers" in dry_run(*model).words


def test_what_the_machines_of_a_cluster_may_have_is_only_warned_of(dry_run: DryRun, gpus: Gpus) -> None:
    gpus([])
    model = ("--engine", "vllm", "--model", "owner/name")
    said = dry_run(*model, "--address", "head:6379")
    assert said.exit_status == 0, said.words
    assert "warning   package" in said.words
    assert "warning   GPUs" in said.words
    assert dry_run(*model, "--address", "head:6379", "--single-process").exit_status == 1


def test_weights_that_are_not_here_yet_are_weighed_by_their_preset(
    dry_run: DryRun, gpus: Gpus, eight_billion: Path
) -> None:
    gpus(["0, NVIDIA L4, 23034, 22500, 8.9"])
    small, large = (dry_run("--engine", "vllm", "--model", f"qwen3-vl:{size}") for size in ("4b", "32b"))
    assert small.exit_status == 0, small.words
    assert "pagefleet models pull Qwen/Qwen3-VL-4B-Instruct" in small.words
    assert large.exit_status == 1
    assert "take more GPUs (--tensor-parallel-size) or a smaller model" in large.words


def test_servers_are_asked_one_by_one(dry_run: DryRun) -> None:
    with serving() as url:
        said = dry_run("--server-url", url)
        assert said.exit_status == 0, said.words
        assert f"{url} serves reader" in said.words
        both = dry_run("--server-url", url, "--server-url", "http://127.0.0.1:9")
        assert (both.exit_status, "no server answers" in both.words) == (1, True)
        assert "does not serve 'other'" in dry_run("--server-url", url, "--model", "other").words
