"""Where a setting comes from, what is refused, and what a fingerprint covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.config import JobConfig, fingerprint, load_config
from manifests.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text("render: {dpi: 100, jpeg_quality: 80}\nengine: {mode: from-file}\n")
    return path


def load(file: Path | None = None, *sets: str, **flags: object) -> JobConfig:
    return load_config(file, sets, {name.replace("__", "."): value for name, value in flags.items()})


def complaint(*sets: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, *sets)
    return str(caught.value)


def test_flags_go_over_sets_over_environment_over_file_over_base_over_defaults(file, monkeypatch):
    base = {"render": {"dpi": 90, "max_pixels": 20_000}}
    found = []

    def dpi(path: Path | None = None, sets: tuple[str, ...] = (), **flags: object) -> None:
        found.append(load_config(path, sets, flags, base if len(found) else None).render.dpi)

    dpi()
    dpi()
    dpi(file)
    monkeypatch.setenv("PAGEFLEET_RENDER__DPI", "110")
    dpi(file)
    dpi(file, ("render.dpi=120",))
    dpi(file, ("render.dpi=120",), **{"render.dpi": 130})
    assert found == [150, 90, 100, 110, 120, 130]


def test_a_flag_that_was_not_given_changes_nothing(file):
    assert load(file, render__dpi=None).render.dpi == 100


def test_sources_are_merged_field_by_field(file, monkeypatch):
    monkeypatch.setenv("PAGEFLEET_ENGINE__PROMPT", "read")
    config = load(file, "render.skip_blank=false")
    assert (config.render.dpi, config.render.jpeg_quality, config.render.skip_blank) == (100, 80, False)
    assert (config.engine.mode, config.engine.prompt) == ("from-file", "read")


def test_loading_leaves_the_base_as_it_was(file):
    base = {"render": {"dpi": 90}}
    load_config(file, ["render.longest_side=900"], {}, base)
    assert base == {"render": {"dpi": 90}}


def test_engine_arguments_are_replaced_as_a_whole_and_may_hold_anything(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("engine: {kind: scripted, engine_args: {seconds: 1.0, window: 3}}\n")
    assert load(path, "engine.engine_args={seconds: 2}").engine.engine_args == {"seconds": 2}


def test_values_are_read_as_yaml_reads_them(monkeypatch):
    monkeypatch.setenv("PAGEFLEET_CLUSTER__REPLICAS", "3")
    config = load(None, "retry.temperatures=[0, 0.7]", "run.deadline_s=null", "engine.prompt=")
    assert config.cluster.replicas == 3
    assert config.retry.temperatures == (0.0, 0.7)
    assert (config.run.deadline_s, config.engine.prompt) == (None, "")


def test_an_unknown_setting_is_refused_with_the_nearest_known_one():
    assert complaint("engine.knid=rapidocr") == "engine.knid: no such setting; did you mean engine.kind?"
    assert complaint("rendr.dpi=100") == "rendr: no such setting; did you mean render?"
    assert complaint("render.flavour=sweet") == "render.flavour: no such setting"


@pytest.mark.parametrize("name", ["PAGEFLEET_RENDER__DIP", "PAGEFLEET_RENDERER__DPI"])
def test_an_unknown_environment_variable_of_ours_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "100")
    assert "no such setting" in complaint()


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("PAGEFLEET_ENGINE", "engine is a section: give one of its settings, like PAGEFLEET_ENGINE__KIND"),
        ("PAGEFLEET_RENDER", "render is a section: give one of its settings, like PAGEFLEET_RENDER__DPI"),
        ("PAGEFLEET_ENGINE__OPENAI", "like PAGEFLEET_ENGINE__OPENAI__SERVER_URLS"),
        ("PAGEFLEET_ENGINE__", "like PAGEFLEET_ENGINE__KIND"),
        ("PAGEFLEET_ENGINE_KIND", "no such setting; did you mean PAGEFLEET_ENGINE__KIND?"),
        ("PAGEFLEET_KIND", "no such setting; did you mean PAGEFLEET_ENGINE__KIND?"),
        ("PAGEFLEET_DPI", "no such setting; did you mean PAGEFLEET_RENDER__DPI?"),
        ("PAGEFLEET_RENDER__DIP", "no such setting; did you mean PAGEFLEET_RENDER__DPI?"),
        ("PAGEFLEET_MAX_TOKENS", "no such setting; did you mean PAGEFLEET_ENGINE__SAMPLING__MAX_TOKENS?"),
        ("PAGEFLEET_RENDER__DPI__X", "no such setting; did you mean PAGEFLEET_RENDER__DPI?"),
        ("PAGEFLEET_RUN__MAX_FAILED", "no such setting; did you mean PAGEFLEET_RUN__MAX_FAILED_SHARE?"),
        ("PAGEFLEET_XYZZY", "no such setting"),
        ("PAGEFLEET_", "no such setting"),
    ],
)
def test_a_variable_of_ours_that_sets_nothing_is_told_with_the_nearest_that_does(monkeypatch, variable, told):
    monkeypatch.setenv(variable, "vllm")
    assert complaint().startswith(f"{variable}: ")
    assert complaint().endswith(told)


def test_variables_that_are_ours_and_no_settings_are_let_pass(monkeypatch):
    for variable in ("PAGEFLEET_TEST_TOKEN", "PAGEFLEET_SOAK_SEEDS", "PAGEFLEET_DEEPSEEK_OCR"):
        monkeypatch.setenv(variable, "x")
    assert load() == JobConfig()


def test_a_variable_may_set_what_stands_below_a_mapping(monkeypatch):
    monkeypatch.setenv("PAGEFLEET_ENGINE__KIND", "scripted")
    monkeypatch.setenv("PAGEFLEET_ENGINE__ENGINE_ARGS__WINDOW", "3")
    assert load().engine.engine_args == {"window": 3}


def test_a_value_is_complained_of_where_it_was_given(file, monkeypatch):
    monkeypatch.setenv("PAGEFLEET_RENDER__JPEG_QUALITY", "7")
    assert complaint(file=file).startswith("PAGEFLEET_RENDER__JPEG_QUALITY: render.jpeg_quality: must be")
    monkeypatch.delenv("PAGEFLEET_RENDER__JPEG_QUALITY")
    file.write_text("render: {dpi: 3}")
    assert complaint(file=file).startswith(f"{file}: render.dpi: must be")
    assert complaint("render.dpi=4", file=file).startswith("render.dpi: must be"), "given by --set after all"


def test_a_setting_that_has_another_name_now_is_told_by_it():
    assert complaint("run.max_failed=0.1").endswith("did you mean run.max_failed_share?")


def test_none_can_be_given_also_where_an_option_could_be(file):
    file.write_text("run: {deadline_s: 5}")
    assert load(file, "run.deadline_s=null", run__deadline_s=None).run.deadline_s is None


def test_a_value_that_is_not_allowed_is_shown_with_its_place_and_what_is():
    assert complaint("render.dpi=7") == "render.dpi: must be greater than or equal to 36, got 7"
    assert complaint("run.max_failed_share=2").endswith("less than or equal to 1, got 2")


def test_every_mistake_is_named_at_once():
    assert len(complaint("render.dpi=7", "engine.knid=x", "run.stall_s=-1").splitlines()) == 3


@pytest.mark.parametrize(
    "setting",
    [
        "render.password=[hunter2]",
        "engine.openai.extra_body={api_key: hunter2",
        "s3.max_attempts={secret: hunter2}",
        "s3.endpoint_url=ftp://me:hunter2@host",
        "engine={hf_token: hunter2}=",
    ],
)
def test_a_secret_is_never_shown(setting):
    assert "hunter2" not in complaint(setting)


def test_an_unknown_engine_is_refused_with_those_there_are():
    assert complaint("engine.kind=vlm").startswith("engine.kind must be one of rapidocr, ")
    assert complaint("engine.kind=vlm").endswith("; got 'vlm'")


def test_arguments_of_the_scripted_engine_are_checked_before_anything_starts():
    assert complaint("engine.kind=scripted", "engine.engine_args={windo: 3}").startswith(
        "engine.engine_args.windo: "
    )


@pytest.mark.parametrize(("index", "count"), [(1, 1), (3, 3), (7, 2)])
def test_a_shard_index_past_the_last_shard_is_refused(index, count):
    message = complaint(f"input.shard_index={index}", f"input.num_shards={count}")
    assert f"below num_shards ({count}), got {index}" in message
    assert "count from 0" in message


def test_an_assignment_without_a_value_is_refused_with_an_example():
    assert complaint("render.dpi") == "--set render.dpi: must be like engine.kind=rapidocr"


def test_an_assignment_into_something_that_is_no_section_is_refused():
    assert "is not a section" in complaint("task=ocr", "task.name=x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- a\n- b\n", "must hold a mapping"), ("a: [", "not YAML"), ("just words", "must hold a mapping")],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path, text, expected):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    message = complaint(file=path)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    assert complaint(file=tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: No such file or directory"


def test_an_empty_file_means_the_defaults(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("# nothing\n")
    assert load(path) == JobConfig()


# Fingerprint

RESULT = [
    "render.dpi=200",
    "render.longest_side=2000",
    "render.max_pixels=1000000",
    "render.skip_blank=false",
    "render.text_layer=prefer",
    "engine.kind=scripted",
    "engine.model=org/other",
    "engine.mode=plain",
    "engine.prompt=Read it.",
    "engine.engine_args={Global.text_score: 0.1}",
    "retry.temperatures=[0.0, 0.9]",
    "retry.engine_error_attempts=1",
]
NOT_RESULT = [
    "engine.tensor_parallel_size=2",
    "engine.page_timeout_s=5",
    "render.open_timeout_s=5",
    "render.page_timeout_s=5",
    "render.memory_bytes=1000000000",
    "render.max_source_bytes=5",
    "render.cache_dir=/tmp/elsewhere",
    "render.cache_bytes=2000000",
    "render.jpeg_quality=60",
    "render.password=secret",
    "input.max_pages=3",
    "input.limit=3",
    "input.num_shards=4",
    "input.unit_documents=2",
    "input.unit_bytes=100",
    "cluster.address=auto",
    "cluster.replicas=7",
    "cluster.renderers=2",
    "cluster.window_bytes=2000000",
    "output.flush_s=1",
    "output.lease_s=1",
    "output.page_images=true",
    "run.stall_s=5",
    "run.deadline_s=5",
    "run.max_failed_share=0.5",
    "s3.endpoint_url=http://localhost:9000",
]


def print_of(*sets: str) -> str:
    return fingerprint(load(None, *sets).result_fields())


@pytest.mark.parametrize("setting", RESULT)
def test_what_changes_a_result_changes_the_fingerprint(setting):
    assert print_of(setting) != print_of()


@pytest.mark.parametrize("setting", NOT_RESULT)
def test_placement_limits_timeouts_paths_and_inputs_do_not_change_the_fingerprint(setting):
    assert load(None, setting) != load(None)
    assert print_of(setting) == print_of()


def test_a_fingerprint_does_not_depend_on_the_order_in_which_engine_arguments_are_written():
    one = print_of("engine.engine_args={Global.text_score: 0.4, Global.min_height: 20}")
    assert one == print_of("engine.engine_args={Global.min_height: 20, Global.text_score: 0.4}")


def test_a_fingerprint_is_the_same_in_every_process():
    assert print_of() == fingerprint(dict(reversed(list(JobConfig().result_fields().items()))))
    assert len(print_of()) == 16
