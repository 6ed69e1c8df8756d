"""The page reader and text layers: when a page's own text becomes its row."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors import page_reader
from actors.chunks import RenderedPage, TextLayer
from actors.engines.base import Completion
from actors.retry import RetryPolicy
from manifests.errors import EngineError
from results.assembly import IMAGE_FLAG
from results.local_store import LocalStore
from results.read_report import ReadReport
from results.rows import Region, ResultRow, Status
from tests.actors.test_page_reader import Bench, FakeEngine, by_page, chunk, pixels

REGIONS = (Region("paragraph", (1, 2, 3, 4), "own"),)
OWN = TextLayer("own text", REGIONS, trusted=True)
HIDDEN = TextLayer("somebody's reading", (), trusted=False)


def to_read(layer: TextLayer | None) -> RenderedPage:
    return RenderedPage(0, 1, (pixels(),), 30, 20, flags=("repaired",), layer=layer)


def decided(image: object = None) -> RenderedPage:
    return RenderedPage(
        0, 1, () if image is None else (image,), 30, 20, flags=("text_layer",), status=Status.OK, layer=OWN
    )


def read(engine: FakeEngine, page: RenderedPage, **config: object) -> tuple[ResultRow, ReadReport]:
    bench = Bench(engine, mode="plain", **config)
    report = bench.read(chunk(page))
    (row,) = (*bench.rows, *bench.failures)
    return row, report


@pytest.fixture(autouse=True)
def no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_reader, "LINGER_S", 0.0)


def assert_of_layer(row: ResultRow, layer: TextLayer) -> None:
    assert (row.text, row.regions) == (layer.text, layer.regions)
    assert (row.engine, row.model, row.mode, row.finish_reason) == ("text_layer", "", "", "")
    assert (row.width, row.height, row.completion_tokens) == (30, 20, 0)


def test_a_page_decided_by_its_layer_never_meets_the_engine():
    engine = FakeEngine()
    row, report = read(engine, decided())
    assert not engine.asked
    assert_of_layer(row, OWN)
    assert (row.status, row.reason, row.attempts) == (Status.OK, "", 0)
    assert row.flags == ("text_layer",)
    assert (report.statuses, report.layers) == ({"ok": 1}, 1)


def test_its_image_is_kept_if_it_came_along(tmp_path):
    engine = FakeEngine()
    row, _ = read(engine, decided(pixels()), image_store=LocalStore(str(tmp_path)))
    assert not engine.asked and row.flags == ("text_layer", IMAGE_FLAG)
    assert_of_layer(row, OWN)
    assert list(Path(tmp_path).rglob("page-00001.jpg"))


@pytest.mark.parametrize("layer", [OWN, HIDDEN])
def test_a_refused_page_falls_back_to_its_layer(layer):
    engine = FakeEngine(by_page(p1=EngineError("will not")))
    row, report = read(engine, to_read(layer))
    assert len(engine.asked) == 2
    assert_of_layer(row, layer)
    assert (row.status, row.attempts) == (Status.FALLBACK, 2)
    assert row.reason == "will not; the page's text layer was taken"
    assert row.flags == ("repaired", "text_layer")
    assert report.layers == 1


def answers(*reasons: str) -> FakeEngine:
    return FakeEngine(by_page(p1=[Completion("broken", reason) for reason in reasons]))


def test_a_trusted_layer_is_better_than_a_broken_answer_a_hidden_one_is_not():
    policy = RetryPolicy(temperatures=(0.0, 0.5))
    row, _ = read(answers("length", "repetition"), to_read(OWN), retry=policy)
    assert_of_layer(row, OWN)
    assert row.reason == "repetition after 2 attempts; the page's text layer was taken"
    row, _ = read(answers("length", "repetition"), to_read(HIDDEN), retry=policy)
    assert (row.status, row.text, row.engine) == (Status.FALLBACK, "broken", "fake")
    assert row.flags == ("repaired",)


@pytest.mark.parametrize("layer", [None, OWN, HIDDEN])
def test_a_good_answer_needs_no_layer(layer):
    row, report = read(FakeEngine(), to_read(layer))
    assert (row.status, row.text, row.engine) == (Status.OK, "text 1", "fake")
    assert row.flags == ("repaired",) and report.layers == 0


def test_without_a_layer_a_refused_page_fails():
    row, _ = read(FakeEngine(by_page(p1=EngineError("will not"))), to_read(None))
    assert (row.status, row.reason, row.text) == (Status.FAILED, "will not", "")
