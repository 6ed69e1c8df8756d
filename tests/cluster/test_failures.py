"""What is made of Ray's errors, without a cluster."""

from __future__ import annotations

import pytest
from ray import exceptions
from ray.core.generated import common_pb2
from ray.exceptions import RayTaskError

from cluster import failures
from cluster.failures import ActorDeath, cause_of, death_of, own_error, read_death
from cluster.fleet import Cause
from manifests.errors import ConfigError

REPORT = "1 worker(s) were killed due to the node running low on memory.\nOOM kill reason: …\nadvice\nadvice"
MISLEADING = "the node died, preempted, running low on memory: words of a page that crashed its renderer"


@pytest.fixture(autouse=True)
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "live_nodes", lambda: {"n0": {}})


def test_an_error_of_ours_is_told_in_its_own_words_not_as_a_traceback():
    raised = ConfigError("engine.lang: tesseract has no language 'xyz' installed")
    wrapped = RayTaskError("start", "Traceback ...", raised).as_instanceof_cause()
    assert isinstance(wrapped, ConfigError) and "xyz" not in str(wrapped)
    assert own_error(wrapped) is raised
    assert own_error(raised) is raised
    assert own_error(ValueError("another")) is None


@pytest.mark.parametrize(
    ("error", "death", "node", "cause"),
    [
        (exceptions.OutOfMemoryError(REPORT), ActorDeath(), "n0", Cause.MEMORY),
        (exceptions.ActorDiedError(), ActorDeath(memory_report=REPORT), "n0", Cause.MEMORY),
        (exceptions.NodeDiedError("x"), ActorDeath(), "n0", Cause.NODE),
        (exceptions.ActorUnavailableError("x", None), ActorDeath(), "n0", Cause.NODE),
        (exceptions.ActorDiedError(), ActorDeath(node_lost=True), "n0", Cause.NODE),
        (exceptions.ActorDiedError(), ActorDeath(), "n1", Cause.NODE),
        (exceptions.RayActorError(None, "x", preempted=True), ActorDeath(), "n0", Cause.NODE),
        (exceptions.ActorDiedError(), ActorDeath(), "n0", Cause.CRASH),
        (exceptions.RayActorError(None, MISLEADING), ActorDeath(), "n0", Cause.CRASH),
    ],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_the_cause_of_a_death_comes_from_types_and_fields(error, death, node, cause):
    assert cause_of(error, death, node, started=True) is cause
    expected = cause if cause is Cause.NODE else Cause.START
    assert cause_of(error, death, node, started=False) is expected


def test_what_ray_says_of_a_kill_for_memory_is_told_without_its_pages_of_advice():
    assert death_of(exceptions.OutOfMemoryError(REPORT)).memory_report == REPORT.rsplit("\n", 2)[0]
    killed = common_pb2.ActorDeathCause()
    killed.oom_context.error_message = REPORT
    assert read_death(killed) == ActorDeath(memory_report=REPORT.rsplit("\n", 2)[0])


def test_a_death_record_tells_a_lost_node_from_a_crash():
    died = common_pb2.ActorDeathCause()
    died.actor_died_error_context.reason = common_pb2.ActorDiedErrorContext.NODE_DIED
    assert read_death(died) == ActorDeath(node_lost=True)
    died.actor_died_error_context.reason = common_pb2.ActorDiedErrorContext.WORKER_DIED
    died.actor_died_error_context.error_message = MISLEADING
    assert read_death(died) == ActorDeath()


def test_without_a_record_there_is_nothing_to_tell():
    assert death_of(exceptions.ActorDiedError()) == ActorDeath()
    assert death_of(exceptions.RayActorError("00" * 16, "x")) == ActorDeath()
