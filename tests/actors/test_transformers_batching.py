"""The batcher without a model: what is chosen, that the model never waits, that no job is left alone."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from actors.engines.base import Completion, Request
from actors.engines.transformers import batching
from actors.engines.transformers.batching import PATIENCE, Batcher, Pending, choose_batch
from actors.engines.transformers.inputs import PromptRow
from manifests.errors import EngineDead, EngineError

LIMIT_S = 20


def job(tokens: int = 1, kind: str = "one image", page: int = 0) -> Pending:
    return Pending(Request("d", page, ()), PromptRow("", (), tokens), kind)


def lengths(jobs: list[Pending]) -> list[int]:
    return [job.row.tokens for job in jobs]


def test_a_batch_holds_like_lengths_around_the_oldest():
    waiting = [job(tokens) for tokens in (500, 10, 480, 900, 520, 20, 1_000)]
    assert lengths(choose_batch(waiting, 3)) == [480, 500, 520]


def test_the_oldest_is_in_it_even_where_others_are_closer_together():
    waiting = [job(tokens) for tokens in (900, 10, 11, 12, 13)]
    assert 900 in lengths(choose_batch(waiting, 3))


def test_fewer_than_a_batch_are_all_taken():
    assert lengths(choose_batch([job(3), job(1), job(2)], 8)) == [1, 2, 3]


def test_kinds_are_not_mixed_and_the_commonest_goes_first():
    rare, *common = [job(kind="two images"), job(), job(), job()]
    assert choose_batch([rare, *common], 8) == common


def test_a_rare_kind_is_passed_over_so_often_and_no_more():
    rare, common = job(kind="two images"), job()
    rare.passed_over = PATIENCE
    assert choose_batch([rare, common, job()], 8) == [rare]


class Model:
    """Stands in for one: echoes pages, counts what it saw, and waits where it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.generating = threading.Event()
        self.prepared_three = threading.Event()
        self.prepared: list[int] = []
        self.generated: list[int] = []

    def prepare(self, jobs: list[Pending]) -> list[Pending] | None:
        if any(job.request.page < 0 for job in jobs):
            raise ValueError("a page below zero")
        self.prepared.append(len(jobs))
        if len(self.prepared) == 3:
            self.prepared_three.set()
        return jobs

    def generate(self, jobs: list[Pending]) -> None:
        self.generating.set()
        assert self.go.wait(LIMIT_S)
        if any(job.request.page == 666 for job in jobs):
            raise EngineDead("gone")
        if any(job.request.page == 13 for job in jobs):
            raise ValueError("thirteen")
        self.generated.append(len(jobs))
        for job in jobs:
            job.settle(Completion(str(job.request.page)))


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    batcher = Batcher(lambda: 4, model.prepare, model.generate, 2)
    yield batcher
    model.go.set()
    batcher.close()


def submitted(batcher, pages) -> list[Pending]:
    jobs = [job(page=page) for page in pages]
    for one in jobs:
        batcher.submit(one)
    return jobs


def test_each_job_gets_its_own_answer(batcher):
    jobs = submitted(batcher, range(100, 130))
    assert [job.answer.result(LIMIT_S).text for job in jobs] == [str(page) for page in range(100, 130)]


def test_whole_batches_are_prepared_while_one_is_generated(model, batcher):
    model.go.clear()
    first = submitted(batcher, [1])
    assert model.generating.wait(LIMIT_S)
    others = submitted(batcher, range(100, 120))
    assert model.prepared_three.wait(LIMIT_S)
    assert model.prepared == [1, 4, 4]
    assert model.generated == []
    model.go.set()
    for one in [*first, *others]:
        one.answer.result(LIMIT_S)
    assert model.generated == [1, 4, 4, 4, 4, 4]


def test_what_a_batch_raises_is_told_to_its_jobs_and_to_no_other(batcher):
    bad = submitted(batcher, [13, -1])
    for one in bad:
        with pytest.raises(EngineError):
            one.answer.result(LIMIT_S)
    assert submitted(batcher, [5])[0].answer.result(LIMIT_S).text == "5"


def test_a_dead_engine_fails_what_it_has_and_takes_nothing_more(model, batcher):
    model.go.clear()
    first = submitted(batcher, [666])
    assert model.generating.wait(LIMIT_S)
    waiting = submitted(batcher, [1, 2])
    model.go.set()
    for one in [*first, *waiting]:
        with pytest.raises(EngineDead):
            one.answer.result(LIMIT_S)
    with pytest.raises(EngineDead, match="gone"):
        batcher.submit(job())


def test_a_cancelled_job_is_not_prepared(model, batcher):
    model.go.clear()
    first = submitted(batcher, [1])
    assert model.generating.wait(LIMIT_S)
    gone, stays = submitted(batcher, [2, 3])
    gone.answer.cancel()
    model.go.set()
    assert stays.answer.result(LIMIT_S).text == "3"
    assert first[0].answer.result(LIMIT_S).text == "1"
    assert sum(model.prepared) == 2


def test_closing_leaves_no_job_without_an_answer(model):
    batcher = Batcher(lambda: 4, model.prepare, model.generate, 1)
    model.go.clear()
    jobs = submitted(batcher, range(100, 120))
    assert model.generating.wait(LIMIT_S)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    model.go.set()
    closing.join(LIMIT_S)
    outcomes: list[Future[Completion]] = [job.answer for job in jobs]
    assert all(outcome.done() for outcome in outcomes)
    assert any(outcome.exception() for outcome in outcomes)


def test_a_batch_that_never_ends_does_not_keep_it_from_closing(model, monkeypatch):
    monkeypatch.setattr(batching, "CLOSE_S", 0.1)
    batcher = Batcher(lambda: 4, model.prepare, model.generate, 1)
    model.go.clear()
    waiting = submitted(batcher, range(20))[-1]
    assert model.generating.wait(LIMIT_S)
    batcher.close()
    with pytest.raises(EngineError, match="closed"):
        waiting.answer.result(LIMIT_S)
    model.go.set()


def test_a_page_that_a_batch_says_nothing_of_is_told_so_and_does_not_wait_for_ever():
    silent = Batcher(lambda: 2, lambda jobs: jobs, lambda jobs: None, threads=1)
    (only,) = submitted(silent, [1])
    with pytest.raises(EngineError, match="without an answer to this page"):
        only.answer.result(LIMIT_S)
    silent.close()
