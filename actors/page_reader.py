"""The page reader: rendered pages in, result rows out, each page finishing on its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from actors.attempts import Answer, Asker, Images, OutOfTime, Questions, with_images
from actors.chunks import Chunk, RenderedPage
from actors.engines.base import Engine, EngineInfo, Image, Request
from actors.engines.prompts import Asking
from actors.liveness import Liveness
from actors.page_rows import RowMaker
from actors.render.image import decode_image, encode_jpeg
from actors.render.raster import turn
from actors.retry import RetryPolicy
from actors.watchdog import PageWatchdog
from manifests.documents import Document
from manifests.errors import EngineDead, EngineError, JobError, StoreError
from results.assembly import IMAGE_FLAG, page_image_file
from results.read_report import ReadReport, report_on
from results.rows import ResultRow, Status
from results.store import Store

LINGER_S = 0.2
WAITING_TOLD_EVERY_S = 1.0
"""While an engine waits (for servers), the driver hears of it at least this often."""
WARM_UP_SIZE = (64, 256)
WARM_UP_TOKENS = 16
"""Enough to see that the model writes: about an empty page it may write on and on."""

RowSink = Callable[[str, int, Sequence[ResultRow]], Awaitable[None]]
"""Takes rows of a unit's generation; returns when they are the writer's."""
Tell = Callable[[ReadReport], None]


@dataclass(frozen=True, slots=True)
class ReaderConfig:
    """What every row of this reader carries, and how it tries."""

    run_id: str
    fingerprint: str
    mode: str = ""
    variants: Mapping[str, Asking] = field(default_factory=lambda: {"": Asking()})
    """What each page is asked: it has a row for each of these."""
    other_modes: Mapping[str, Asking] = field(default_factory=dict)
    """What the ladder may ask in place of that, by the modes of ``retry``."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    page_timeout_s: float = 0.0
    """Seconds one page may take, 0 for no limit."""
    may_exit: bool = True
    """Whether a page over its time may end the process, where the engine cannot abort it."""
    image_store: Store | None = None
    """Where rendered pages are kept beside the Markdown; None: not kept."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The rows of a page that is finished, one for each variant or one for all. ``failures`` are those that
    the engine could not answer: the driver judges why."""

    rows: tuple[ResultRow, ...]
    failures: tuple[ResultRow, ...] = ()


@dataclass(slots=True)
class _Shown:
    """A page's images as the engine takes them, once they are, and the flags of those kept in the store."""

    images: Images | None = None
    kept: tuple[str, ...] = ()


class PageReader:
    """Reads chunks with one engine and hands rows to the sink as pages finish.

    Any number of chunks may be in progress; the engine sees at most ``info.concurrency`` requests. A page's
    variants are asked one after the other, and their rows are handed over together. Rows of what the engine
    could not read are not handed to the sink: they are in the reports (``ReadReport.failures``).
    """

    def __init__(self, engine: Engine, config: ReaderConfig, sink: RowSink, replica: str) -> None:
        self._engine = engine
        self._config = config
        self._sink = sink
        self._slots = asyncio.Semaphore(engine.info.concurrency)
        self._draining = False
        self._unsent = 0
        self._sent = asyncio.Event()
        info, limit_s = engine.info, config.page_timeout_s
        self._rows = RowMaker(info, replica, config.run_id, config.fingerprint, config.mode)
        self._liveness = Liveness(limit_s)
        questions = Questions(config.variants, config.other_modes)
        timeout_s = limit_s if info.abortable and not info.limits_time and limit_s else None
        self._asker = Asker(engine, questions, config.retry, timeout_s, self._liveness)
        self._watchdog = PageWatchdog(limit_s if config.may_exit and not info.abortable else 0.0)

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    @property
    def waiting(self) -> str:
        """What the engine waits for at present, as a sentence for people; empty when it does not."""
        return self._engine.waiting

    async def warm_up(self) -> None:
        """Read one synthetic page, so that an engine that cannot read at all never holds real ones."""
        blank = np.full((*WARM_UP_SIZE, 3), 255, dtype=np.uint8)
        prompt = next(iter(self._config.variants.values())).prompt
        request = Request("", 0, [], prompt, max_tokens=WARM_UP_TOKENS)
        request = with_images(request, await self._asker.prepared([blank]))
        try:
            await self._engine.read(request)
        except EngineError:  # some servers refuse so short an answer of a model that thinks first
            await self._engine.read(replace(request, max_tokens=0))

    async def drain(self) -> None:
        """Begin no more pages; returns when the sink has the row of every page that is finished."""
        self._draining = True
        while self._unsent:
            self._sent.clear()
            await self._sent.wait()

    async def close(self) -> None:
        """Give back what the engine holds."""
        await self._engine.close()

    async def read(
        self, chunk: Chunk, only: Sequence[int] | None = None, tell: Tell | None = None
    ) -> ReadReport:
        """Read a chunk's pages (or those at the indexes ``only``) and hand their rows to the sink.

        ``tell`` hears of pages as the sink has their rows, of failures, and of what the engine waits for;
        returns when it has heard of every page. Raises EngineDead when the engine will not answer again,
        EngineUnavailable when what it depends on has not answered for too long.
        """
        received = time.monotonic()
        pages = chunk.pages if only is None else [chunk.pages[i] for i in only]
        decided = [self._rows.decided(chunk, page) for page in pages if _is_decided(page)]
        self._unsent += len(decided)
        tasks = {
            asyncio.ensure_future(self._read_page(chunk, page, received))
            for page in pages
            if not _is_decided(page)
        }
        try:
            return await self._collect(chunk, tasks, decided, tell or _tell_nobody)
        finally:
            for task in tasks:
                task.cancel()

    async def _collect(
        self, chunk: Chunk, pending: set[asyncio.Task[_Outcome]], rows: list[ResultRow], tell: Tell
    ) -> ReadReport:
        total = ReadReport()
        failures: tuple[ResultRow, ...] = ()
        while pending or rows:
            if not rows:
                done, pending = await _some_of(pending)
                outcomes = [task.result() for task in done]
                rows = [row for outcome in outcomes for row in outcome.rows]
                failures = tuple(row for outcome in outcomes for row in outcome.failures)
            await self._hand_over(chunk, rows)
            report = replace(report_on(rows, failures), waiting=self.waiting)
            if rows or failures or report.waiting != total.waiting or report.waiting:
                tell(report)
                total += report
            rows, failures = [], ()
        return total

    async def _hand_over(self, chunk: Chunk, rows: Sequence[ResultRow]) -> None:
        if not rows:
            return
        try:
            await self._sink(chunk.unit_id, chunk.generation, rows)
        finally:
            self._unsent -= len(rows)
            self._sent.set()

    async def _read_page(self, chunk: Chunk, page: RenderedPage, received: float) -> _Outcome:
        document, shown = chunk.documents[page.doc_index], _Shown()
        answers: list[Answer | None] = []
        rows: list[ResultRow] = []
        with self._liveness.page():
            async with self._slots:
                if self._draining:
                    await asyncio.Event().wait()  # the run ends: another will read this page
                for variant in self._config.variants if page.status is None else ("",):
                    started = time.monotonic()
                    answers.append(await self._answer(document, page, shown, variant))
                    row = self._rows.row(chunk, page, answers[-1], shown.kept)
                    queue_s, infer_s = started - received, time.monotonic() - started
                    rows.append(replace(row, variant=variant, queue_s=queue_s, infer_s=infer_s))
            if any(answer and isinstance(answer.error, OutOfTime) for answer in answers):
                await self._liveness.blame((document.doc_id, page.page))
        each = list(zip(rows, answers, strict=True))
        failures = tuple(row for row, answer in each if answer and row.status is Status.FAILED)
        finished = tuple(row for row in rows if row not in failures)
        self._unsent += len(finished)
        return _Outcome(finished, failures)

    async def _answer(
        self, document: Document, page: RenderedPage, shown: _Shown, variant: str
    ) -> Answer | None:
        """What the engine made of a page, None where it need not see it."""
        self._watchdog.started()
        try:
            if shown.images is None:
                shown.kept = await self._keep_image(document, page, page.image)
                if page.status is not None:
                    return None
                shown.images = await self._asker.prepared(page.images)
            answer = await self._asker.ask(document, page.page, shown.images, variant)
            if shown.kept and answer.completion.rotation:
                image = turn(decode_image(page.image), answer.completion.rotation)
                await self._keep_image(document, page, image)
            return answer
        except (EngineDead, StoreError, JobError):
            raise
        except EngineError as error:
            return Answer(error=error)
        except Exception as error:  # noqa: BLE001 - the boundary of a page: recorded, never lost
            return Answer(error=EngineError(f"{type(error).__name__}: {error}"))
        finally:
            self._watchdog.finished()

    async def _keep_image(
        self, document: Document, page: RenderedPage, image: Image | bytes
    ) -> tuple[str, ...]:
        store = self._config.image_store
        if store is None or not document.markdown:  # a control is no document of the job's
            return ()
        path = page_image_file(document.markdown, page.page)
        await asyncio.to_thread(
            lambda: store.replace(path, image if isinstance(image, bytes) else encode_jpeg(image))
        )
        return (IMAGE_FLAG,)


async def _some_of(
    pending: set[asyncio.Task[_Outcome]],
) -> tuple[set[asyncio.Task[_Outcome]], set[asyncio.Task[_Outcome]]]:
    """Pages that are finished, and those that are not. None may be finished: then it is time to tell."""
    first = asyncio.FIRST_COMPLETED
    done, pending = await asyncio.wait(pending, timeout=WAITING_TOLD_EVERY_S, return_when=first)
    if done and pending:  # linger: others may be about to finish, and one hand-over serves all
        more, pending = await asyncio.wait(pending, timeout=LINGER_S)
        done |= more
    return done, pending


def _tell_nobody(report: ReadReport) -> None:
    return None


def _is_decided(page: RenderedPage) -> bool:
    """Whether nothing is left to do for a page but its row."""
    return page.status is not None and not page.images
