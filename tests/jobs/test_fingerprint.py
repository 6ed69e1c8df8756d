"""What a result depends on: no setting is forgotten, and no output refused needlessly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from actors.engines.load import KINDS, footprint
from actors.models.presets import identity
from actors.models.presets.identity import identity_by_sizes, model_identity
from jobs.config import JobConfig, load_config
from jobs.job_file import PATH, read_job
from jobs.models.begun import as_begun, pinned
from manifests.errors import OutputRefused
from results.fingerprint import CHANGES_RESULT, fingerprint, mark_of, section_of
from results.local_store import LocalStore
from tests.jobs.entering import enter_output

LIMIT = "a limit: what goes beyond it fails, and a failed page may be read again"
PLACEMENT = "where and how wide it runs"
ROUNDING = "how the same answer is computed, up to rounding"
INPUT = "which pages are read, not how"
COMMIT = "how rows are committed"
PATIENCE = "how long something is waited for"
SAME_RESULT = {
    "input": INPUT,
    "cluster": PLACEMENT,
    "output": COMMIT,
    "s3": "where sources and results are",
    "run": PATIENCE,
    "render.max_source_pixels": LIMIT,
    "render.max_source_bytes": LIMIT,
    "render.open_timeout_s": LIMIT,
    "render.page_timeout_s": LIMIT,
    "render.memory_bytes": LIMIT,
    "render.password": "opens a document, and is never stored",
    "render.cache_dir": PLACEMENT,
    "render.cache_bytes": PLACEMENT,
    "engine.device": ROUNDING,
    "engine.gpus": PLACEMENT,
    "engine.tensor_parallel_size": ROUNDING,
    "engine.trust_remote_code": "whether a model may load at all",
    "engine.images_per_prompt": LIMIT,
    "engine.page_timeout_s": LIMIT,
    "engine.vllm.gpu_memory_utilization": PLACEMENT,
    "engine.vllm.max_model_len": LIMIT,
    "engine.vllm.max_num_seqs": PLACEMENT,
    "engine.vllm.max_num_batched_tokens": PLACEMENT,
    "engine.vllm.enforce_eager": ROUNDING,
    "engine.vllm.mm_encoder_tp_mode": ROUNDING,
    "engine.vllm.enable_prefix_caching": ROUNDING,
    "engine.vllm.mm_processor_cache_gb": PLACEMENT,
    "engine.vllm.model_runner": ROUNDING,
    "engine.transformers": ROUNDING,
    "engine.openai.server_urls": PLACEMENT,
    "engine.openai.api_key_env": "names a key",
    "engine.openai.max_concurrency": PLACEMENT,
    "engine.openai.connect_timeout_s": PATIENCE,
    "engine.openai.outage_s": PATIENCE,
    "engine.openai.attempts": PATIENCE,
}
"""Settings and whole sections that change no result, with the reason. All others say so themselves."""


def undecided(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Settings that are neither marked nor exempt."""
    for name, field in model.model_fields.items():
        path, section = f"{prefix}{name}", section_of(field)
        if mark_of(field) is not None or path in SAME_RESULT:
            continue
        if section is None:
            yield path
        else:
            yield from undecided(section, f"{path}.")


def load(*sets: str) -> JobConfig:
    return load_config(None, sets, {})


def print_of(*sets: str) -> str:
    return fingerprint(load(*sets).result_fields())


def test_every_setting_says_whether_it_changes_a_result():
    assert list(undecided(JobConfig)) == [], "mark it json_schema_extra=CHANGES_RESULT, or say here why not"


def test_nothing_is_both_marked_and_exempt():
    def marked(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
        for name, field in model.model_fields.items():
            if mark_of(field) is not None:
                yield f"{prefix}{name}"
            if section := section_of(field):
                yield from marked(section, f"{prefix}{name}.")

    every = set(marked(JobConfig))
    assert not every & SAME_RESULT.keys()
    assert not [name for name in every if any(name.startswith(f"{exempt}.") for exempt in SAME_RESULT)]


def test_the_marks_name_settings_that_there_are():
    def conditions(model: type[BaseModel]) -> Iterator[str]:
        for field in model.model_fields.values():
            mark = mark_of(field)
            assert mark in (None, True) or isinstance(mark, dict)
            yield from mark if isinstance(mark, dict) else ()
            if section := section_of(field):
                yield from conditions(section)

    values = JobConfig().model_dump(mode="json")
    for name in set(conditions(JobConfig)):
        node: Any = values
        for part in name.split("."):
            node = node[part]
    assert CHANGES_RESULT == {"changes_result": True}


@pytest.mark.parametrize("kind", KINDS)
def test_the_quality_of_jpegs_counts_where_pages_travel_as_such(kind):
    sets = [f"engine.kind={kind}"]
    if kind in ("vllm", "transformers", "openai"):
        sets.append("engine.model=qwen3-vl")
    if kind == "openai":
        sets.append("engine.openai.server_urls=[http://localhost:8000/v1]")
    differs = print_of(*sets) != print_of(*sets, "render.jpeg_quality=60")
    assert differs == footprint(load(*sets).engine).takes_jpeg


def test_further_fields_of_a_request_count_and_secrets_among_them_do_not():
    server = ("engine.kind=openai", "engine.model=x", "engine.openai.server_urls=[http://localhost:8000/v1]")
    plain = print_of(*server)
    assert print_of(*server, "engine.openai.extra_body={top_k: 3}") != plain
    assert print_of(*server, "engine.openai.extra_body={api_key: hunter22}") == plain


# Weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": ["Qwen3VLForConditionalGeneration"]}))
    (path / "model.safetensors").write_bytes(bytes(5000))
    return path


def test_weights_count_by_their_content(folder):
    known = print_of(f"engine.model={folder}")
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(4000)
        file.write(b"\x01")
    assert weights.stat().st_size == 5000
    assert print_of(f"engine.model={folder}") != known


def test_of_large_weights_a_sample_counts_from_the_head_to_the_end(folder, monkeypatch):
    weights = folder / "model.safetensors"
    for name, value in (("WHOLE_BYTES", 1000), ("HEAD_BYTES", 100), ("PIECE_BYTES", 10), ("PIECES", 50)):
        monkeypatch.setattr(identity, name, value)
    known = model_identity(folder)
    for changed in (range(100), range(2000, 2200), [4999]):
        data = bytearray(5000)
        for place in changed:
            data[place] = 1
        weights.write_bytes(data)
        assert model_identity(folder) != known, changed


HUB = "zai-org/GLM-OCR"
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a commit into the hub's cache, as the newest."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(cache), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(commit: str) -> None:
        home = cache / f"models--{HUB.replace('/', '--')}"
        (home / "snapshots" / commit).mkdir(parents=True)
        (home / "snapshots" / commit / "config.json").write_text("{}")
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(commit)

    return put


def test_a_hub_model_counts_by_the_commit_that_its_cache_has(cached):
    sets = ("engine.model=glm-ocr",)
    unknown = print_of(*sets)
    cached(OLD)
    old = print_of(*sets)
    assert load(*sets).engine.model_identity == OLD
    cached(NEW)
    assert len({unknown, old, print_of(*sets)}) == 3
    assert print_of(*sets, f"engine.revision={OLD}") == old, "the same commit, whatever it is called"


def test_an_output_stays_at_the_commit_it_was_begun_with(cached):
    cached(OLD)
    begun = load("engine.model=glm-ocr")
    cached(NEW)
    again = as_begun(load("engine.model=glm-ocr"), begun)
    assert fingerprint(again.result_fields()) == fingerprint(begun.result_fields())
    assert pinned(again.engine).revision == OLD, "and its workers load that"
    other = as_begun(load("engine.model=glm-ocr", f"engine.revision={NEW}"), begun)
    assert other.engine.model_identity == NEW, "unless another one is asked for"


def test_a_commit_that_becomes_known_later_is_no_other_model(cached):
    begun = load("engine.model=glm-ocr")
    cached(OLD)
    again = as_begun(load("engine.model=glm-ocr"), begun)
    assert fingerprint(again.result_fields()) == fingerprint(begun.result_fields())


# Outputs that earlier versions began


def as_earlier_versions_wrote_it(store: LocalStore, config: JobConfig) -> None:
    fields = config.model_dump(mode="json")
    fields["run"].pop("source_outage_s")
    fields["run"]["max_failed"] = fields["run"].pop("max_failed_share")
    job = {"fingerprint": "0123456789abcdef", "replaced": False, "inputs": ["in"], "config": fields}
    store.create(PATH, json.dumps({**job, "versions": {}, "written_at": ""}).encode())
    store.create("partial/u/g0001/r-1.parquet", b"rows")


def test_an_output_of_an_earlier_version_goes_on_under_its_own_fingerprint(tmp_path):
    store = LocalStore(tmp_path / "out")
    as_earlier_versions_wrote_it(store, load("run.max_failed_share=0.3"))
    for _ in range(2):
        job = enter_output(store, load("cluster.replicas=3"), ("in",))
        assert (job.fingerprint, job.replaced) == ("0123456789abcdef", False)
        assert read_job(store) == job
    with pytest.raises(OutputRefused, match=r"render\.dpi: 150 there, 200 now"):
        enter_output(store, load("render.dpi=200"), ("in",))


def test_a_folder_known_by_the_sizes_of_its_weights_is_known_still(folder, tmp_path):
    now = load(f"engine.model={folder}")
    then = now.engine.model_copy(update={"model_identity": identity_by_sizes(folder)})
    begun = now.model_copy(update={"engine": then})
    assert as_begun(now, begun) == begun
    (folder / "model.safetensors").write_bytes(bytes(5001))
    again = load(f"engine.model={folder}")
    assert as_begun(again, begun) == again


def test_a_setting_by_its_earlier_name_is_read_and_kept(tmp_path):
    store = LocalStore(tmp_path / "out")
    as_earlier_versions_wrote_it(store, load("run.max_failed_share=0.3"))
    stored = read_job(store)
    assert stored is not None
    assert stored.config.run.max_failed_share == 0.3


# Secrets


def test_a_secret_reaches_neither_the_job_file_nor_the_fingerprint(tmp_path):
    store = LocalStore(tmp_path / "out")
    address = "s3.endpoint_url=http://me:hunter22@localhost:9000"
    config = load("engine.kind=scripted", "engine.engine_args={window: 3}", address)
    masked = config.engine.model_copy(update={"engine_args": {"hf_token": "hunter22", "window": 3}})
    with_token = config.model_copy(update={"engine": masked})
    enter_output(store, with_token, ("s3://me:hunter22@bucket/in",))
    found = store.read(PATH)
    assert found is not None
    assert b"hunter22" not in found[0]
    assert b'"window": 3' in found[0]
    assert fingerprint(with_token.result_fields()) == fingerprint(config.result_fields())
    again = read_job(store)
    assert again is not None
    assert again.config.engine.engine_args == {"window": 3}, "a masked value is never used"
    assert again.config.s3.endpoint_url == "http://localhost:9000"
    enter_output(store, with_token, ("in",))
