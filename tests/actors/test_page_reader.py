"""The page reader with a fake engine: one row per page, faults stay with their page."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors import page_reader
from actors.chunks import Chunk, RenderedPage
from actors.engines.base import Completion, EngineInfo, Request
from actors.engines.prompts import Asking
from actors.page_reader import PageReader, ReaderConfig
from actors.render.image import decode_image, encode_jpeg
from actors.retry import Attempt, Problem, RetryPolicy
from manifests.documents import Document
from manifests.errors import EngineDead, EngineError, EngineUnavailable, StoreError
from manifests.work import OpenedDocument
from results.assembly import IMAGE_FLAG
from results.local_store import LocalStore
from results.read_report import ReadReport
from results.rows import BLANK_TEXT, Region, ResultRow, Status

Answer = Callable[[Request], Awaitable[Completion]]


class FakeEngine:
    """Answers as told, and remembers what it was asked and how much at once."""

    def __init__(self, answer: Answer | None = None, **info: object) -> None:
        self.info = EngineInfo("fake", "model", **{"concurrency": 4, "abortable": True, **info})
        self.waiting = ""
        self.asked: list[Request] = []
        self.at_once = self.most_at_once = 0
        self._answer = answer or say_page

    async def read(self, request: Request) -> Completion:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request)
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        return None


async def say_page(request: Request) -> Completion:
    await asyncio.sleep(0)
    return Completion(f"text {request.page}", prompt_tokens=2, completion_tokens=3)


def by_page(**answers: object) -> Answer:
    """``p2=EngineError(...)`` or ``p2=[Completion, ...]``: what page 2 gets, attempt by attempt."""
    left = {name: list(a) if isinstance(a, list) else a for name, a in answers.items()}

    async def answer(request: Request) -> Completion:
        given = left.get(f"p{request.page}")
        if isinstance(given, list):
            given = given.pop(0)
        if isinstance(given, BaseException):
            raise given
        return given if given is not None else await say_page(request)

    return answer


def pixels(value: int = 100) -> np.ndarray:
    return np.full((20, 30, 3), value, dtype=np.uint8)


def chunk(*pages: RenderedPage, **document: object) -> Chunk:
    known = Document("a", "/in/a", markdown="a", **{"version": "planned", "metadata": '{"x":1}', **document})
    return Chunk(
        "u", 2, {0: known}, {0: OpenedDocument(0, 9, "opened")}, pages or tuple(map(page, (1, 2, 3)))
    )


def page(number: int, **fields: object) -> RenderedPage:
    if "image" in fields:
        image = fields.pop("image")
        fields["images"] = () if image is None else (image,)
    defaults = {"images": (pixels(),), "width": 30, "height": 20, "rotation": 90, "flags": ("small",)}
    return RenderedPage(0, number, **{**defaults, **fields})


class Bench:
    def __init__(self, engine: FakeEngine | None = None, **config: object) -> None:
        self.engine = engine or FakeEngine()
        self.rows: list[ResultRow] = []
        self.failures: list[ResultRow] = []
        self.handed: list[list[int]] = []
        settings = ReaderConfig("run", "fp", **config)
        self.reader = PageReader(self.engine, settings, self.sink, "replica-1")

    async def sink(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
        assert (unit_id, generation) == ("u", 2)
        self.rows += rows
        self.handed.append(sorted(row.page for row in rows))

    def read(self, chunk: Chunk, only: Sequence[int] | None = None):
        report = asyncio.run(self.reader.read(chunk, only))
        self.failures += report.failures
        return report

    def row(self, number: int) -> ResultRow:
        (found,) = [row for row in (*self.rows, *self.failures) if row.page == number]
        return found


@pytest.fixture(autouse=True)
def no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_reader, "LINGER_S", 0.0)


def test_every_page_becomes_one_row_that_tells_all_there_is_to_tell():
    bench = Bench(mode="plain")
    report = bench.read(chunk())
    assert sorted(row.page for row in bench.rows) == [1, 2, 3]
    assert (report.statuses, report.prompt_tokens, report.completion_tokens) == ({"ok": 3}, 6, 9)
    row = bench.row(2)
    assert (row.doc_id, row.uri, row.text, row.status) == ("a", "/in/a", "text 2", Status.OK)
    assert (row.page_count, row.source_version, row.generation) == (9, "opened", 2)
    assert (row.width, row.height, row.rotation, row.flags) == (30, 20, 90, ("small",))
    assert (row.engine, row.model, row.mode, row.replica) == ("fake", "model", "plain", "replica-1")
    assert (row.run_id, row.fingerprint, row.attempts) == ("run", "fp", 1)
    assert (row.metadata, row.finish_reason) == ('{"x":1}', "stop")
    assert row.finished_at.utcoffset().total_seconds() == 0
    assert row.infer_s >= 0
    assert row.queue_s >= 0


def test_only_the_pages_asked_for_are_read():
    bench = Bench()
    bench.read(chunk(), [2, 0])
    assert sorted(request.page for request in bench.engine.asked) == [1, 3]


def test_pages_without_an_image_become_rows_without_the_engine():
    bench = Bench()
    blank = page(1, image=None, status=Status.BLANK, reason="near-uniform colour")
    broken = page(2, image=None, status=Status.FAILED, reason="damaged")
    report = bench.read(chunk(blank, broken, page(3)))
    assert report.statuses == {"blank": 1, "failed": 1, "ok": 1}
    assert (bench.row(1).text, bench.row(1).reason) == (BLANK_TEXT, "near-uniform colour")
    assert (bench.row(2).text, bench.row(2).reason) == ("", "damaged")
    assert len(bench.engine.asked) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [(EngineError("too large for me"), "too large for me"), (KeyError("boxes"), "KeyError: 'boxes'")],
)
def test_a_page_the_engine_cannot_answer_fails_alone(error, reason):
    bench = Bench(FakeEngine(by_page(p2=[error, error])))
    assert bench.read(chunk()).statuses == {"ok": 2}
    (row,) = bench.failures
    assert (row.page, row.status, row.reason) == (2, Status.FAILED, reason)
    assert sorted(row.page for row in bench.rows) == [1, 3], "whose fault it is, the driver judges"


def test_an_image_that_cannot_be_decoded_fails_alone():
    bench = Bench()
    assert bench.read(chunk(page(1, image=b"not a JPEG"), page(2))).statuses == {"ok": 1}
    assert [row.page for row in bench.failures] == [1]


def test_the_engine_sees_as_many_pages_at_once_as_it_can_take_and_no_more():
    bench = Bench(FakeEngine(concurrency=2))

    async def both() -> None:
        await asyncio.gather(*(bench.reader.read(chunk(*map(page, pages))) for pages in ((1, 2, 3), (4, 5))))

    asyncio.run(both())
    assert bench.engine.most_at_once == 2
    assert len(bench.rows) == 5


def test_draining_begins_no_more_pages_and_waits_for_the_rows_of_those_that_are_finished():
    never, handing, may_hand = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Completion:
        if request.page == 2:
            await never.wait()
        return await say_page(request)

    class SlowSink(Bench):
        async def sink(self, unit_id: str, generation: int, rows: Sequence[ResultRow]) -> None:
            handing.set()
            await may_hand.wait()
            await super().sink(unit_id, generation, rows)

    bench = SlowSink(FakeEngine(answer, concurrency=2))

    async def stop_half_way() -> None:
        reading = [asyncio.ensure_future(bench.reader.read(chunk(page(n)))) for n in (1, 2)]
        await handing.wait()
        draining = asyncio.ensure_future(bench.reader.drain())
        late = asyncio.ensure_future(bench.reader.read(chunk(page(3))))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        may_hand.set()
        await asyncio.wait_for(draining, 10)
        assert bench.handed == [[1]]
        for task in (*reading, late):
            task.cancel()
        await asyncio.wait([*reading, late])

    asyncio.run(stop_half_way())
    assert [request.page for request in bench.engine.asked] == [1, 2]


def test_draining_an_idle_reader_returns_at_once():
    asyncio.run(asyncio.wait_for(Bench().reader.drain(), 10))


def test_rows_are_handed_over_as_pages_finish_and_one_slow_page_holds_up_none():
    slow = asyncio.Event()

    async def answer(request: Request) -> Completion:
        if request.page == 1:
            await slow.wait()
        return Completion("x")

    bench = Bench(FakeEngine(answer))

    async def go() -> None:
        reading = asyncio.ensure_future(bench.reader.read(chunk()))
        while len(bench.rows) < 2:
            await asyncio.sleep(0)
        assert sorted(row.page for row in bench.rows) == [2, 3]
        slow.set()
        await reading

    asyncio.run(go())
    assert sorted(row.page for row in bench.rows) == [1, 2, 3]


def test_a_read_is_done_only_when_the_sink_has_every_row():
    bench = Bench()
    gate = asyncio.Event()
    real = bench.sink

    async def slow_sink(*given: object) -> None:
        await gate.wait()
        await real(*given)

    bench.reader._sink = slow_sink

    async def go() -> None:
        reading = asyncio.ensure_future(bench.reader.read(chunk()))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not reading.done()
        gate.set()
        await reading

    asyncio.run(go())
    assert len(bench.rows) == 3


def test_a_dead_engine_ends_the_read_and_condemns_no_page():
    bench = Bench(FakeEngine(by_page(p2=EngineDead("gone"))))
    with pytest.raises(EngineDead):
        bench.read(chunk())
    assert all(row.status is Status.OK for row in bench.rows)


def test_pages_still_being_read_are_cancelled_when_the_engine_dies():
    cancelled = []

    async def answer(request: Request) -> Completion:
        if request.page == 2:
            raise EngineDead("gone")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(request.page)
            raise
        raise AssertionError

    bench = Bench(FakeEngine(answer))

    async def go() -> None:
        with pytest.raises(EngineDead):
            await bench.reader.read(chunk())
        await asyncio.sleep(0)

    asyncio.run(go())
    assert sorted(cancelled) == [1, 3]
    assert bench.rows == []


# The ladder


def cut(text: str) -> Completion:
    return Completion(text, finish_reason="length")


def test_a_truncated_answer_is_asked_for_again_hotter_with_the_same_image():
    bench = Bench(FakeEngine(by_page(p1=[cut("x"), Completion("whole")])))
    bench.read(chunk(page(1)))
    assert (bench.row(1).text, bench.row(1).attempts, bench.row(1).status) == ("whole", 2, Status.OK)
    first, second = bench.engine.asked
    assert (first.temperature, second.temperature) == (0.0, 0.2)
    assert first.images[0] is second.images[0]


def test_an_answer_that_stays_bad_is_kept_as_a_fallback_with_its_reason():
    bench = Bench(FakeEngine(by_page(p1=[cut("a"), cut("b"), cut("c")])))
    assert bench.read(chunk(page(1))).statuses == {"fallback": 1}
    row = bench.row(1)
    assert (row.text, row.attempts, row.reason) == ("c", 3, "truncated after 3 attempts")
    assert row.finish_reason == "length"


def test_a_bad_answer_is_better_than_an_error_after_it():
    bench = Bench(FakeEngine(by_page(p1=[cut("some"), EngineError("no"), EngineError("no")])))
    assert bench.read(chunk(page(1))).statuses == {"fallback": 1}
    assert bench.row(1).text == "some"


def test_a_page_refused_once_is_tried_again():
    bench = Bench(FakeEngine(by_page(p1=[EngineError("busy"), Completion("now")])))
    assert bench.read(chunk(page(1))).statuses == {"ok": 1}
    assert bench.row(1).attempts == 2


def test_a_page_that_takes_too_long_for_an_engine_that_can_abort_fails_alone():
    async def answer(request: Request) -> Completion:
        if request.page == 2:
            await asyncio.Event().wait()
        return Completion("x")

    bench = Bench(FakeEngine(answer), page_timeout_s=0.01, retry=RetryPolicy(engine_error_attempts=1))
    assert bench.read(chunk()).statuses == {"ok": 2}
    assert bench.row(2).status is Status.FAILED
    assert bench.row(2).reason == "reading took longer than 0.01 s"


def test_the_documents_own_prompt_goes_before_the_jobs():
    bench = Bench(variants={"": Asking("job")})
    bench.read(chunk(page(1)))
    bench.read(chunk(page(2), prompt="own"))
    assert [request.prompt for request in bench.engine.asked] == ["job", "own"]


# What an answer is worth


GROUNDED = "<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n# Ships"


@pytest.mark.parametrize(
    ("completion", "status", "reason"),
    [
        (
            Completion("text", "max_tokens_of_some_server"),
            "fallback",
            "unknown finish reason 'max_tokens_of_some",
        ),
        (Completion("text", "tool_calls"), "fallback", "unknown finish reason 'tool_calls' after 1 attempt"),
        (Completion(""), "fallback", "empty answer after 3 attempts"),
        (Completion(" \n"), "fallback", "empty answer after 3 attempts"),
        (Completion("", "length"), "fallback", "truncated after 3 attempts"),
        (Completion("so far", "refusal", detail="SAFETY"), "fallback", "refused after 2 attempts: SAFETY"),
        (
            Completion("", "refusal", detail="I cannot"),
            "failed",
            "the model gave no answer (refusal): I cannot",
        ),
        (Completion("", "abort"), "failed", "the model gave no answer (abort)"),
        (Completion("", regions=(Region("seal", (1, 2, 3, 4)),)), "ok", ""),
    ],
)
def test_only_a_whole_answer_is_ok(completion: Completion, status: str, reason: str):
    bench = Bench(FakeEngine(by_page(p1=[completion] * 3)))
    bench.read(chunk(page(1)))
    assert bench.row(1).status == status
    assert bench.row(1).reason.startswith(reason)
    assert bool(bench.failures) == (status == "failed")


def test_of_several_bad_answers_one_with_text_is_kept():
    bench = Bench(FakeEngine(by_page(p1=[cut("some"), Completion(""), Completion("")])))
    bench.read(chunk(page(1)))
    assert (bench.row(1).text, bench.row(1).attempts) == ("some", 3)


def test_an_engine_that_would_say_the_same_again_is_not_asked_again():
    bench = Bench(FakeEngine(by_page(p1=Completion("")), deterministic=True))
    bench.read(chunk(page(1)))
    assert len(bench.engine.asked) == 1
    assert bench.row(1).reason == "empty answer after 1 attempt"


def test_an_answer_is_read_by_its_dialect_and_kept_raw_where_that_changed_it():
    bench = Bench(
        FakeEngine(by_page(p1=Completion(GROUNDED), p2=Completion("no boxes"))),
        variants={"": Asking(dialect="grounded")},
    )
    bench.read(chunk(page(1), page(2)))
    row = bench.row(1)
    assert (row.text, row.raw_text, row.status) == ("# Ships", GROUNDED, Status.OK)
    assert row.regions == (Region("title", (1, 2, 3, 4), "# Ships"),)
    assert (bench.row(2).text, bench.row(2).raw_text) == ("no boxes", "")
    assert bench.row(2).reason == "missing label after 3 attempts"


def test_the_ladder_asks_in_other_modes_and_the_row_says_which_one_answered():
    answers = by_page(p1=[Completion("no boxes"), Completion("plain text")])
    policy = RetryPolicy(temperatures=(0.0, 0.3), modes=("", "clean"))
    other = {"clean": Asking("Free OCR.", "plain", max_tokens=99)}
    bench = Bench(
        FakeEngine(answers),
        mode="grounded",
        variants={"": Asking("With boxes.", "grounded")},
        retry=policy,
        other_modes=other,
    )
    bench.read(chunk(page(1)))
    row = bench.row(1)
    assert (row.text, row.mode, row.status, row.attempts) == ("plain text", "clean", Status.OK, 2)
    first, second = bench.engine.asked
    assert (first.prompt, first.mode, first.max_tokens) == ("With boxes.", "", 0)
    assert (second.prompt, second.mode, second.max_tokens, second.temperature) == (
        "Free OCR.",
        "clean",
        99,
        0.3,
    )


class Scripted(RetryPolicy):
    """A policy that returns what it is told."""

    given: tuple[Attempt, ...]

    @property
    def first(self) -> Attempt:
        return self.given[0]

    def next(self, attempt: Attempt, problem: Problem) -> Attempt | None:
        return dict(zip(self.given, self.given[1:], strict=False)).get(attempt)


def test_an_attempt_may_look_at_a_part_of_the_page_and_its_boxes_are_those_of_the_page():
    policy = Scripted(given=(Attempt(1, crop=(500, 0, 1000, 500)),))
    bench = Bench(
        FakeEngine(by_page(p1=Completion(GROUNDED.replace("[[1, 2, 3, 4]]", "[[0, 0, 999, 999]]"))))
    )
    bench = Bench(bench.engine, variants={"": Asking(dialect="grounded")}, retry=policy)
    image = pixels(0)
    image[:10, 15:] = 200
    bench.read(chunk(page(1, image=image)))
    (request,) = bench.engine.asked
    assert request.images[0].shape == (10, 15, 3) and request.images[0].min() == 200
    assert bench.row(1).regions[0].box == (500, 0, 999, 500)


def test_a_size_that_the_engine_cannot_be_told_for_one_page_is_refused_not_ignored():
    policy = Scripted(given=(Attempt(1, size="large"),))
    bench = Bench(retry=policy)
    bench.read(chunk(page(1)))
    assert bench.row(1).reason == "the fake engine takes no other size for one page, got 'large'"
    sized = Bench(FakeEngine(sizes=frozenset({"large"})), retry=policy)
    sized.read(chunk(page(1)))
    assert sized.engine.asked[0].size == "large" and sized.row(1).status is Status.OK


def test_what_an_engine_waits_for_is_told_while_nothing_finishes(monkeypatch):
    monkeypatch.setattr(page_reader, "WAITING_TOLD_EVERY_S", 0.01)

    async def go() -> None:
        back = asyncio.Event()

        async def answer(request: Request) -> Completion:
            await back.wait()
            return Completion("text")

        bench, told = Bench(FakeEngine(answer)), []
        bench.engine.waiting = "no server answers"
        reading = asyncio.ensure_future(bench.reader.read(chunk(), tell=told.append))
        while len(told) < 3:
            await asyncio.sleep(0.005)
        assert {report.waiting for report in told} == {"no server answers"}
        assert sum(report.pages for report in told) == 0
        bench.engine.waiting = ""
        back.set()
        total = await reading
        assert told[-1].waiting == total.waiting == ""
        assert total.statuses == {"ok": 3}

    asyncio.run(go())


def test_servers_that_do_not_answer_end_the_read_and_condemn_no_page():
    bench = Bench(FakeEngine(by_page(p2=EngineUnavailable("no server"))))
    with pytest.raises(EngineUnavailable):
        bench.read(chunk())
    assert not bench.failures


# Watchdog, warm-up, images


class Watch:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed: list[float] = []
        self.off = 0
        monkeypatch.setattr("actors.watchdog.faulthandler.dump_traceback_later", self.arm)
        monkeypatch.setattr("actors.watchdog.faulthandler.cancel_dump_traceback_later", self.cancel)

    def arm(self, limit_s: float, exit: bool, file: object) -> None:
        assert exit
        self.armed.append(limit_s)

    def cancel(self) -> None:
        self.off += 1


def test_an_engine_that_cannot_abort_is_watched_page_by_page_and_only_while_it_reads(monkeypatch):
    watch = Watch(monkeypatch)
    bench = Bench(FakeEngine(concurrency=1, abortable=False), page_timeout_s=7.0)
    bench.read(chunk())
    assert watch.armed == [7.0] * 3
    assert watch.off == 3


@pytest.mark.parametrize(("abortable", "limit_s"), [(True, 7.0), (False, 0.0)])
def test_no_process_is_ended_for_an_engine_that_can_abort_or_without_a_limit(monkeypatch, abortable, limit_s):
    watch = Watch(monkeypatch)
    Bench(FakeEngine(abortable=abortable), page_timeout_s=limit_s).read(chunk())
    assert watch.armed == []


def test_a_warm_up_page_that_cannot_be_read_is_an_error_of_the_engine():
    bench = Bench(FakeEngine(by_page(p0=RuntimeError("no kernel image"))))
    with pytest.raises(RuntimeError, match="no kernel image"):
        asyncio.run(bench.reader.warm_up())
    assert bench.rows == []


def test_a_warm_up_page_is_cut_after_a_few_tokens_and_asked_for_whole_where_that_is_refused():
    async def refusing(request: Request) -> Completion:
        if request.max_tokens:
            raise EngineError("too few tokens")
        return Completion("a b")

    bench = Bench(FakeEngine(refusing))
    asyncio.run(bench.reader.warm_up())
    assert [request.max_tokens for request in bench.engine.asked] == [16, 0]
    bench = Bench(FakeEngine())
    asyncio.run(bench.reader.warm_up())
    assert [request.max_tokens for request in bench.engine.asked] == [16]


def test_rendered_pages_are_kept_beside_the_markdown_when_asked_for(tmp_path):
    bench = Bench(image_store=LocalStore(tmp_path))
    bench.read(chunk(page(2)))
    kept = Image.open(io.BytesIO((tmp_path / "markdown/a_assets/page-00002.jpg").read_bytes()))
    assert kept.size == (30, 20)
    assert bench.row(2).flags == ("small", IMAGE_FLAG)


def test_a_store_that_cannot_keep_an_image_stops_the_job_and_fails_no_page(tmp_path: Path):
    class Full(LocalStore):
        def replace(self, path: str, data: bytes, if_match: str | None = None) -> str | None:
            raise StoreError("no space left")

    bench = Bench(image_store=Full(tmp_path))
    with pytest.raises(StoreError, match="no space left"):
        bench.read(chunk())
    assert [row.page for row in bench.rows if row.status is Status.FAILED] == []


def test_a_jpeg_is_decoded_before_the_engine_sees_it():
    buffer = io.BytesIO()
    Image.fromarray(pixels(200)).save(buffer, "JPEG")
    bench = Bench()
    bench.read(chunk(page(1, image=buffer.getvalue())))
    (seen,) = bench.engine.asked[0].images
    assert seen.shape == (20, 30, 3)
    assert abs(int(seen.mean()) - 200) < 4


def test_an_engine_that_takes_jpeg_gets_the_renderers_bytes_and_they_are_kept_as_they_are(tmp_path):
    encoded = encode_jpeg(pixels(90))
    bench = Bench(FakeEngine(takes_jpeg=True), image_store=LocalStore(str(tmp_path)))
    bench.read(chunk(page(1, image=encoded), page(2)))
    first, second = sorted(bench.engine.asked, key=lambda request: request.page)
    assert (first.images, list(first.jpegs)) == ((), [encoded])
    assert np.allclose(decode_image(second.jpegs[0]), pixels(), atol=2)
    (kept,) = tmp_path.rglob("*0001.jpg")
    assert kept.read_bytes() == encoded


def test_an_engine_that_takes_arrays_gets_them_of_a_page_that_travelled_as_jpeg():
    bench = Bench()
    bench.read(chunk(page(1, image=encode_jpeg(pixels(90)))))
    (request,) = bench.engine.asked
    assert np.allclose(request.images[0], pixels(90), atol=2) and not request.jpegs


def test_an_engine_that_limits_time_itself_is_left_to_it():
    async def slow(request: Request) -> Completion:
        await asyncio.sleep(0.05)
        return Completion("late")

    for limits_time, status in ((True, Status.OK), (False, Status.FAILED)):
        bench = Bench(FakeEngine(slow, limits_time=limits_time), page_timeout_s=0.01)
        bench.read(chunk(page(1)))
        assert bench.row(1).status is status


def test_the_warm_up_page_comes_in_the_form_the_engine_takes():
    for takes_jpeg in (False, True):
        bench = Bench(FakeEngine(takes_jpeg=takes_jpeg))
        asyncio.run(bench.reader.warm_up())
        (request,) = bench.engine.asked
        assert (len(request.images), len(request.jpegs)) == ((0, 1) if takes_jpeg else (1, 0))


def test_pages_are_told_of_as_their_rows_reach_the_sink_while_a_slow_one_goes_on():
    async def go() -> None:
        slow = asyncio.Event()

        async def answer(request: Request) -> Completion:
            if request.page == 2:
                await slow.wait()
            return Completion("text", completion_tokens=3)

        bench, told, first = Bench(FakeEngine(answer)), [], asyncio.Event()
        tell = lambda report: (told.append(report), first.set())  # noqa: E731
        reading = asyncio.ensure_future(bench.reader.read(chunk(), tell=tell))
        await first.wait()
        while sum(report.pages for report in told) < 2:
            await asyncio.sleep(0)
        assert sorted(row.page for row in bench.rows) == [1, 3]
        slow.set()
        total = await reading
        assert total == sum(told, ReadReport()) == ReadReport({"ok": 3}, 0, 9, total.infer_s)

    asyncio.run(go())


def test_rows_say_which_revision_of_the_model_answered():
    for revision, model in (("", "model"), ("a1b2", "model@a1b2")):
        engine = FakeEngine()
        engine.info = replace(engine.info, revision=revision)
        bench = Bench(engine)
        bench.read(chunk(page(1)))
        assert bench.row(1).model == model


# Several images, several variants


STYLES = {"short": Asking("In a word?"), "long": Asking("Tell all.")}


def by_prompt(**answers: object) -> Answer:
    async def answer(request: Request) -> Completion:
        given = answers.get(request.prompt.split()[0].lower(), Completion(request.prompt))
        if isinstance(given, BaseException):
            raise given
        return given  # type: ignore[return-value]

    return answer


def test_all_images_of_a_page_are_shown_at_once():
    bench = Bench(FakeEngine(images_per_prompt=3))
    bench.read(chunk(page(1, images=(pixels(1), encode_jpeg(pixels(2)), pixels(3)))))
    (request,) = bench.engine.asked
    assert [round(float(image.mean())) for image in request.images] == [1, 2, 3] and not request.jpegs
    bench = Bench(FakeEngine(images_per_prompt=3, takes_jpeg=True))
    bench.read(chunk(page(1, images=(pixels(1), encode_jpeg(pixels(2)), pixels(3)))))
    (request,) = bench.engine.asked
    assert [round(float(decode_image(image).mean())) for image in request.jpegs] == [1, 2, 3]
    assert not request.images


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (0, "the page shows 3 images, and the fake engine reads one image at a time"),
        (2, "the page shows 3 images, and the fake engine takes 2 in one prompt (engine.images_per_prompt)"),
    ],
)
def test_more_images_than_an_engine_takes_fail_the_page_alone(limit: int, reason: str):
    bench = Bench(FakeEngine(images_per_prompt=limit))
    report = bench.read(chunk(page(1, images=(pixels(),) * 3), page(2)))
    assert (report.statuses, bench.row(1).status, bench.row(1).reason) == ({"ok": 1}, "failed", reason)
    assert [request.page for request in bench.engine.asked] == [2]


def test_a_page_is_asked_once_for_each_variant_and_counts_once():
    bench = Bench(FakeEngine(by_prompt(), takes_jpeg=True), variants=STYLES)
    report = bench.read(chunk(page(1), page(2)))
    assert sorted((row.page, row.variant, row.text) for row in bench.rows) == [
        (number, variant, asking.prompt) for number in (1, 2) for variant, asking in sorted(STYLES.items())
    ]
    assert (report.statuses, report.pages, report.failures) == ({"ok": 2}, 2, ())
    first, second = (request for request in bench.engine.asked if request.page == 1)
    assert first.jpegs[0] is second.jpegs[0], "encoded once"
    assert all(len(set(pages)) * 2 == len(pages) for pages in bench.handed), "a page's rows come together"


def test_a_page_that_fails_in_one_variant_is_finished_and_failed():
    failing = by_prompt(tell=EngineError("too long"))
    bench = Bench(FakeEngine(failing), variants=STYLES, retry=RetryPolicy(engine_error_attempts=1))
    report = bench.read(chunk(page(1)))
    assert [(row.variant, row.status) for row in bench.rows] == [("short", "ok")]
    assert [(row.variant, row.reason) for row in bench.failures] == [("long", "too long")]
    assert (report.statuses, report.pages, report.failed_pages) == ({}, 0, 1)


def test_a_page_that_is_fallback_in_one_variant_counts_as_that():
    bench = Bench(FakeEngine(by_prompt(tell=Completion("so far", "length"))), variants=STYLES)
    assert bench.read(chunk(page(1))).statuses == {"fallback": 1}


def test_a_page_that_needs_no_reading_has_one_row_for_all_variants():
    blank = page(1, image=None, status=Status.BLANK, reason="near-uniform colour")
    bench = Bench(variants=STYLES)
    assert bench.read(chunk(blank)).statuses == {"blank": 1}
    assert [row.variant for row in bench.rows] == [""] and not bench.engine.asked


def test_a_documents_own_prompt_is_not_asked_in_place_of_a_variants():
    bench = Bench(variants=STYLES)
    bench.read(chunk(page(1), prompt="own"))
    assert {request.prompt for request in bench.engine.asked} == {"In a word?", "Tell all."}
