"""``job.json``: an output belongs to one job, whoever comes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.config import JobConfig, fingerprint, load_config
from jobs.job_file import PATH, check_still_ours, enter_output, read_job
from manifests.errors import OutputRefused, StoreError
from results.claims import Claim, Owner
from results.local_store import LocalStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    return LocalStore(tmp_path / "out")


def config(*sets: str) -> JobConfig:
    return load_config(None, sets, {})


def enter(store: LocalStore, *sets: str, new_generation: bool = False, inputs: tuple[str, ...] = ("in",)):
    return enter_output(store, config(*sets), inputs, new_generation=new_generation)


def owner(pid: int) -> Owner:
    return replace(Owner.this_process("run", "inputs"), pid=pid)


def test_a_fresh_output_becomes_ours_and_tells_what_it_was_made_with(store):
    assert read_job(store) is None
    job = enter(store, "render.dpi=200")
    assert job == read_job(store)
    fields = json.loads(store.read(PATH)[0])
    assert fields["config"]["render"]["dpi"] == 200
    assert fields["inputs"] == ["in"]
    assert fields["fingerprint"] == fingerprint(config("render.dpi=200").result_fields())
    assert set(fields["versions"]) >= {"pagefleet", "pyarrow", "pymupdf"}


def test_the_same_settings_go_on_with_new_limits_and_inputs(store):
    enter(store)
    job = enter(store, "run.stall_s=5", inputs=("in", "more"))
    assert (job.replaced, job.inputs, job.config.run.stall_s) == (False, ("in", "more"), 5.0)
    assert read_job(store) == job


def test_other_settings_are_refused_with_the_difference_and_both_ways_on(store):
    enter(store)
    store.create("partial/u/g0001/r-1.parquet", b"rows")
    with pytest.raises(OutputRefused) as caught:
        enter(store, "render.dpi=200", "engine.mode=plain")
    message = str(caught.value)
    assert "render.dpi: 150 there, 200 now" in message
    assert "engine.mode: '' there, 'plain' now" in message
    assert "another output" in message
    assert "--new-generation" in message
    assert "skip_blank" not in message
    assert read_job(store).config.render.dpi == 150


def test_settings_under_which_nothing_was_read_give_way_to_others(store):
    enter(store)
    store.create("partial/u/g0001/unit.json", b"{}")
    store.create("claims/u.json", Claim(owner(pid=2**22 + 1)).encode())  # its process is dead
    assert not enter(store, "render.dpi=200").replaced
    assert read_job(store).config.render.dpi == 200


def test_settings_of_a_job_that_is_at_work_hold_before_it_has_read_a_page(store):
    enter(store)
    store.create("claims/u.json", Claim(Owner.this_process("run", "inputs")).encode())
    with pytest.raises(OutputRefused, match=r"render\.dpi: 150 there, 200 now"):
        enter(store, "render.dpi=200")
    assert read_job(store).config.render.dpi == 150


def test_of_two_jobs_that_enter_at_once_with_other_settings_the_later_steps_back(store, monkeypatch):
    enter(store)
    written = store.replace

    def claimed_meanwhile(path, data):
        store.create("claims/u.json", Claim(Owner.this_process("run", "inputs")).encode())
        return written(path, data)

    monkeypatch.setattr(store, "replace", claimed_meanwhile)
    with pytest.raises(OutputRefused, match=r"render\.dpi: 150 there, 200 now"):
        enter(store, "render.dpi=200")
    assert read_job(store).config.render.dpi == 150


def test_a_job_whose_output_was_taken_while_its_engine_loaded_is_told_so(store):
    job = enter(store)
    check_still_ours(store, job)
    enter(store, "render.dpi=200")
    with pytest.raises(OutputRefused, match="another job with other settings has taken over"):
        check_still_ours(store, job)


def test_a_new_generation_is_entered_on_demand_and_remembered(store):
    enter(store)
    assert enter(store, "render.dpi=200", new_generation=True).replaced
    assert enter(store, "render.dpi=200").replaced, "a run that goes on must still read the old units again"


def test_a_new_generation_with_the_same_settings_replaces_nothing(store):
    enter(store)
    assert not enter(store, new_generation=True).replaced


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(store):
    store.create("thesis/chapter1.txt", b"years of work")
    with pytest.raises(OutputRefused, match=r"holds no pagefleet job \(thesis/chapter1\.txt"):
        enter(store)
    assert store.read(PATH) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"config": {"colour": 1}}', b"\xff", b"null"])
def test_a_job_file_that_is_not_ours_is_refused(store, content):
    store.create(PATH, content)
    with pytest.raises(OutputRefused, match=r"job\.json is not a job this version wrote"):
        enter(store)


def test_of_two_jobs_that_enter_at_once_with_other_settings_one_is_refused(store, monkeypatch):
    real = LocalStore.create

    def other_is_quicker(self, path, data):
        monkeypatch.setattr(LocalStore, "create", real)
        enter(LocalStore(store.root), "render.dpi=200")
        return real(self, path, data)

    monkeypatch.setattr(LocalStore, "create", other_is_quicker)
    with pytest.raises(OutputRefused, match=r"render\.dpi: 200 there, 150 now"):
        enter(store)
    assert read_job(store).config.render.dpi == 200


def test_a_password_is_not_written_down(store):
    enter(store, "render.password=hunter2")
    assert b"hunter2" not in store.read(PATH)[0]
    assert read_job(store).config.render.password.get_secret_value() == ""


def test_settings_that_differ_only_in_how_they_are_written_are_the_same_job(store):
    enter(store, "engine.engine_args={Global.text_score: 0.4, Global.min_height: 20}")
    enter(store, "engine.engine_args={Global.min_height: 20, Global.text_score: 0.4}")


def test_an_output_that_is_gone_stops_the_job(store):
    job = enter(store)
    check_still_ours(store, job)
    store.delete(PATH)
    with pytest.raises(StoreError, match=r"job\.json is gone: the output was deleted"):
        check_still_ours(store, job)


def test_what_a_run_left_of_a_deleted_output_does_not_bar_the_same_command(store):
    enter(store)
    store.create("partial/0123456789abcdef/g0001/unit.json", b"of documents nobody asks for any more")
    store.create("logs/20260101T000000-abcdef/pages-1.log", b"")
    store.delete(PATH)
    assert enter(store) == read_job(store)
    assert [entry.path for entry in store.list("partial/")] == []
    store.delete(PATH)
    store.create("letters.txt", b"mine")
    with pytest.raises(OutputRefused, match=r"letters\.txt"):
        enter(store)
