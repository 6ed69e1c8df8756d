"""Where a job is started: odd folders for temporary files and odd working directories."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cluster import temp_folder
from cluster.ray_fleet import RayFleet
from cluster.settings import ClusterConfig
from cluster.temp_folder import MAX_LENGTH, choose, problem_of
from manifests.errors import ConfigError, JobError
from tests.cluster.fleet_fakes import FakeWorkers
from tests.cluster.harness import QUICK, Runner, make_corpus, rows, script

PAGEFLEET = str(Path(sys.executable).with_name("pagefleet"))
SETS = [
    *QUICK,
    *script(),
    "cluster.replicas=1",
    "cluster.renderers=1",
    "cluster.num_cpus=2",
    f"cluster.object_store_bytes={100 * 2**20}",
]
HIJACKERS = (
    *("actors", "cluster", "jobs", "manifests", "results", "ray", "numpy", "yaml", "pymupdf", "pyarrow"),
    *("logging", "socket", "typing", "queue", "pickle", "signal", "multiprocessing", "sitecustomize"),
)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for more."""
    folder = Path("/tmp") / f"pf-{uuid4().hex[:8]}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_ray_keeps_the_users_folder_where_its_sockets_fit(short: Path) -> None:
    assert choose({"TMPDIR": str(short)}) == ""
    assert choose({"RAY_TMPDIR": str(short)}) == ""
    assert choose({}) == ""


@pytest.mark.parametrize(
    "name", ["x" * MAX_LENGTH, "ά" * (MAX_LENGTH // 2), "missing", "file"], ids=lambda name: name[:8]
)
def test_a_tmpdir_that_ray_cannot_use_is_replaced_by_one_it_can(short: Path, name: str) -> None:
    folder = short / name
    if name == "file":
        folder.write_text("")
    elif name != "missing":
        folder.mkdir()
    chosen = choose({"TMPDIR": str(folder)})
    assert chosen in temp_folder.ALTERNATIVES
    assert problem_of(chosen) == ""
    with pytest.raises(ConfigError, match=f"RAY_TMPDIR=.*at most {MAX_LENGTH} bytes"):
        choose({"RAY_TMPDIR": str(folder)})


def test_an_empty_tmpdir_is_none() -> None:
    assert choose({"TMPDIR": ""}) in temp_folder.ALTERNATIVES


def test_without_any_folder_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temp_folder, "ALTERNATIVES", ("/nowhere",))
    with pytest.raises(JobError, match="set RAY_TMPDIR to a writable folder"):
        choose({"TMPDIR": "/proc"})


@pytest.mark.parametrize(
    ("address", "told"), [("", "a local Ray cluster does not start"), ("auto", "cannot join")]
)
def test_whatever_ray_raises_when_it_starts_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, told: str
) -> None:
    def too_slow(**options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", too_slow)
    for name in ("PYTHONPATH", "RAY_TMPDIR", "RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "/tmp")  # what is set for Ray is taken back after the test
    fleet = RayFleet(FakeWorkers(str(tmp_path)).spec(), ClusterConfig(address=address))
    with pytest.raises(JobError, match=f"{told}.*timed out during startup"):
        fleet.start()
    fleet.drain()
    fleet.stop()


@pytest.mark.parametrize("mode", [["--single-process"], []], ids=["single process", "ray"])
def test_a_job_is_at_home_in_an_odd_working_directory_and_with_a_long_tmpdir(
    runner: Runner, tmp_path: Path, mode: list[str]
) -> None:
    """Files named like modules lie there; a relative output is meant as the driver means it."""
    make_corpus(tmp_path / "in", 2, 3)
    cwd, temp = tmp_path / "cwd", tmp_path / ("long" * 20)
    cwd.mkdir()
    temp.mkdir()
    for name in HIJACKERS:
        (cwd / f"{name}.py").write_text(f"open({str(cwd / 'hijacked')!r}, 'a').write('{name} ')\n1 / 0\n")
    words = [PAGEFLEET, "ocr", str(tmp_path / "in"), "-o", "out", *mode]
    job = runner.start(*words, sets=SETS, raw=True, cwd=cwd, env={"TMPDIR": str(temp)})
    assert job.wait() == 0, job.said
    assert not (cwd / "hijacked").exists(), (cwd / "hijacked").read_text()
    assert {row["status"] for row in rows(cwd / "out")} == {"ok"}
    runner.verify(cwd / "out")


@pytest.mark.parametrize(
    "mode", [["--single-process"], pytest.param([], marks=pytest.mark.soak)], ids=["single process", "ray"]
)
def test_a_working_directory_that_is_gone_does_not_matter_to_workers(
    runner: Runner, tmp_path: Path, mode: list[str]
) -> None:
    folder, out, gone = make_corpus(tmp_path / "in", 2, 3), tmp_path / "out", tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", PAGEFLEET, "ocr", str(folder), "-o", str(out)]
    job = runner.start(*command, *mode, sets=SETS, raw=True, cwd=gone)
    assert job.wait() == 0, job.said
    assert {row["status"] for row in rows(out)} == {"ok"}
