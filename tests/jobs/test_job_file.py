"""``job.json``: an output belongs to one job, whoever comes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.config import JobConfig, fingerprint, load_config
from jobs.job_file import PATH, Entering, JobFile, Unchanged, read_job
from manifests.errors import InputError, OutputRefused
from results.job_claim import JobClaim
from results.local_store import LocalStore
from results.owner import Owner
from results.participants import Purpose


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    return LocalStore(tmp_path / "out")


def config(*sets: str) -> JobConfig:
    return load_config(None, sets, {})


def claim_of(store: LocalStore, *sets: str, pid: int = 0) -> JobClaim:
    owner = Owner.this_process("run")
    purpose = Purpose("ocr", "inputs", fingerprint(config(*sets).result_fields()))
    return JobClaim(store, replace(owner, pid=pid) if pid else owner, purpose)


def enter(
    store: LocalStore,
    *sets: str,
    new_generation: bool = False,
    inputs: tuple[str, ...] = ("in",),
    claim: JobClaim | None = None,
) -> JobFile:
    """Enter as a job does, and leave again unless the claim is given."""
    entering = Entering(store, config(*sets), inputs, new_generation)
    mine = claim or claim_of(store, *sets)
    try:
        assert mine.enter(entering, lambda seconds: False, print)
    finally:
        if claim is None:
            mine.leave()
    return entering.job


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
    dead = claim_of(store, pid=2**22 + 1)  # its process is dead
    enter(store, claim=dead)
    assert not enter(store, "render.dpi=200").replaced
    assert read_job(store).config.render.dpi == 200
    dead.leave()


@pytest.mark.parametrize("new_generation", [False, True])
def test_settings_of_a_job_that_is_at_work_hold_before_it_has_read_a_page(store, new_generation):
    claim = claim_of(store)
    enter(store, claim=claim)
    with pytest.raises(OutputRefused, match="at work on this output with other settings"):
        enter(store, "render.dpi=200", new_generation=new_generation)
    assert read_job(store).config.render.dpi == 150
    claim.leave()
    assert enter(store, "render.dpi=200", new_generation=new_generation).config.render.dpi == 200


def test_a_retry_keeps_the_job_as_it_is_and_is_refused_when_it_became_another(store):
    with pytest.raises(InputError, match="holds no pagefleet job"):
        Unchanged(store)(None)
    before = enter(store, "render.dpi=200")
    claim = claim_of(store)
    assert claim.enter(Unchanged(store, before.fingerprint), lambda seconds: False, print)
    claim.leave()
    assert read_job(store) == before
    enter(store)
    with pytest.raises(OutputRefused, match="another job with other settings has entered"):
        claim_of(store).enter(Unchanged(store, before.fingerprint), lambda seconds: False, print)


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
    real, quicker = LocalStore.create, claim_of(store, "render.dpi=200")

    def other_is_quicker(self, path, data):
        if path == PATH:
            monkeypatch.setattr(LocalStore, "create", real)
            enter(LocalStore(store.root), "render.dpi=200", claim=quicker)
        return real(self, path, data)

    monkeypatch.setattr(LocalStore, "create", other_is_quicker)
    with pytest.raises(OutputRefused, match="at work on this output with other settings"):
        enter(store)
    assert read_job(store).config.render.dpi == 200
    quicker.leave()


def test_a_process_that_is_about_to_enter_is_no_stranger_in_an_output(store):
    store.create("claims/job/other.1.json", b"{}")
    assert Entering(store, config(), ("in",), False)(None)["inputs"] == ["in"]


def test_a_job_that_enters_while_another_looks_around_is_no_stranger(store):
    looking = Entering(store, config(), ("in",), False)
    enter(store)
    store.create("notes.txt", b"")
    assert looking(None)["inputs"] == ["in"]  # for an output in which there was nothing yet


def test_a_password_is_not_written_down(store):
    enter(store, "render.password=hunter2")
    assert b"hunter2" not in store.read(PATH)[0]
    assert read_job(store).config.render.password.get_secret_value() == ""


def test_settings_that_differ_only_in_how_they_are_written_are_the_same_job(store):
    enter(store, "engine.engine_args={Global.text_score: 0.4, Global.min_height: 20}")
    enter(store, "engine.engine_args={Global.min_height: 20, Global.text_score: 0.4}")


def test_what_a_run_left_of_a_deleted_output_does_not_bar_the_same_command(store):
    enter(store)
    store.create("partial/0123456789abcdef/g0001/unit.json", b"of documents nobody asks for any more")
    store.create("logs/20260101T000000-abcdef/pages-1.log", b"")
    store.delete(PATH)
    assert enter(store) == read_job(store)
    store.delete(PATH)
    store.create("letters.txt", b"mine")
    with pytest.raises(OutputRefused, match=r"letters\.txt"):
        enter(store)
