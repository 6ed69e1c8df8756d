"""The page reader: rendered pages in, result rows out, each page finishing on its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from actors.chunks import Chunk, RenderedPage, TextLayer
from actors.engines.base import SCRIPT_FLAG, Completion, Engine, EngineInfo, Image, Request
from actors.render.image import decode_image, encode_jpeg
from actors.render.raster import turn
from actors.retry import Attempt, Problem, RetryPolicy
from actors.watchdog import PageWatchdog
from manifests.documents import Document
from manifests.errors import EngineDead, EngineError, StoreError
from results.assembly import IMAGE_FLAG, page_image_file
from results.read_report import ReadReport, report_on
from results.rows import BLANK_TEXT, LAYER_FLAG, ResultRow, Status
from results.store import Store

LINGER_S = 0.2
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
    prompt: str = ""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    page_timeout_s: float = 0.0
    """Seconds one page may take, 0 for no limit."""
    may_exit: bool = True
    """Whether a page over its time may end the process, where the engine cannot abort it."""
    image_store: Store | None = None
    """Where rendered pages are kept beside the Markdown; None: not kept."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the ladder came to. ``error`` is why no attempt gave any answer."""

    completion: Completion
    attempts: int
    problem: Problem | None = None
    error: EngineError | None = None


class PageReader:
    """Reads chunks with one engine and hands rows to the sink as pages finish.

    Any number of chunks may be in progress; the engine sees at most ``info.concurrency`` requests.
    """

    def __init__(self, engine: Engine, config: ReaderConfig, sink: RowSink, replica: str) -> None:
        self._engine = engine
        self._config = config
        self._sink = sink
        self._replica = replica
        self._slots = asyncio.Semaphore(engine.info.concurrency)
        self._draining = False
        self._unsent = 0
        self._sent = asyncio.Event()
        info, limit_s = engine.info, config.page_timeout_s
        self._timeout_s = limit_s if info.abortable and not info.limits_time and limit_s else None
        self._model = f"{info.model}@{info.revision}" if info.revision else info.model
        self._watchdog = PageWatchdog(limit_s if config.may_exit and not info.abortable else 0.0)

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def warm_up(self) -> None:
        """Read one synthetic page, so that an engine that cannot read at all never holds real ones."""
        blank = np.full((*WARM_UP_SIZE, 3), 255, dtype=np.uint8)
        request = Request("", 0, [blank], self._config.prompt, max_tokens=WARM_UP_TOKENS)
        if self._engine.info.takes_jpeg:
            request = replace(request, images=(), jpegs=[encode_jpeg(blank)])
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

        ``tell`` hears of pages as the sink has their rows; returns when it has every row. Raises
        EngineDead when the engine will not answer again.
        """
        received = time.monotonic()
        pages = chunk.pages if only is None else [chunk.pages[i] for i in only]
        decided = [self._decided_row(chunk, page) for page in pages if _is_decided(page)]
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
        self, chunk: Chunk, pending: set[asyncio.Task[ResultRow]], rows: list[ResultRow], tell: Tell
    ) -> ReadReport:
        total = ReadReport()
        while pending or rows:
            if pending and not rows:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if pending:  # linger: others may be about to finish, and one hand-over serves all
                    more, pending = await asyncio.wait(pending, timeout=LINGER_S)
                    done |= more
                rows = [task.result() for task in done]
            try:
                await self._sink(chunk.unit_id, chunk.generation, rows)
            finally:
                self._unsent -= len(rows)
                self._sent.set()
            report = report_on(rows)
            tell(report)
            total += report
            rows = []
        return total

    async def _read_page(self, chunk: Chunk, page: RenderedPage, received: float) -> ResultRow:
        async with self._slots:
            if self._draining:
                await asyncio.Event().wait()  # the run ends: another will read this page
            started = time.monotonic()
            self._watchdog.started()
            try:
                row = await self._answered_row(chunk, page)
            except (EngineDead, StoreError):
                raise
            except Exception as error:  # noqa: BLE001 - the boundary of a page: recorded, never lost
                reason = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
                row = self._row(chunk, page, status=Status.FAILED, reason=reason)
            finally:
                self._watchdog.finished()
            self._unsent += 1
            return replace(row, queue_s=started - received, infer_s=time.monotonic() - started)

    async def _answered_row(self, chunk: Chunk, page: RenderedPage) -> ResultRow:
        document = chunk.documents[page.doc_index]
        kept = await self._keep_image(document, page, page.image)
        if page.status is not None:
            return self._decided_row(chunk, page, kept)
        answer = await self._answer(await self._request(document, page))
        if row := self._layer_row(chunk, page, answer, kept):
            return row
        if answer.error:
            raise answer.error
        completion = answer.completion
        if kept and completion.rotation:
            await self._keep_image(document, page, turn(decode_image(page.image), completion.rotation))
        reason = _reason(answer)
        return self._row(
            chunk,
            page,
            status=Status.FALLBACK if reason else Status.OK,
            reason=reason,
            completion=completion,
            attempts=answer.attempts,
            flags=page.flags + kept + _flags(completion),
        )

    async def _request(self, document: Document, page: RenderedPage) -> Request:
        """The page as the engine wants it; converted, where it must be, off the event loop."""
        image, prompt = page.image, document.prompt or self._config.prompt
        encoded = isinstance(image, bytes)
        if self._engine.info.takes_jpeg:
            jpeg = image if encoded else await asyncio.to_thread(encode_jpeg, image)
            return Request(document.doc_id, page.page, (), prompt, jpegs=(jpeg,))
        array = await asyncio.to_thread(decode_image, image) if encoded else decode_image(image)
        return Request(document.doc_id, page.page, (array,), prompt)

    async def _answer(self, request: Request) -> _Answer:
        attempt: Attempt | None = Attempt()
        candidate: _Answer | None = None
        error: EngineError | None = None
        number = 0
        while attempt is not None:
            number = attempt.number
            request = replace(request, temperature=attempt.temperature)
            try:
                completion = await asyncio.wait_for(self._engine.read(request), self._timeout_s)
            except EngineError as refused:
                error = refused
                attempt = self._config.retry.next(attempt, Problem.ENGINE_ERROR)
                continue
            except TimeoutError:
                error = EngineError(f"reading took longer than {self._timeout_s:g} s")
                attempt = self._config.retry.next(attempt, Problem.TIMEOUT)
                continue
            problem = _problem(completion)
            if problem is None:
                return _Answer(completion, number)
            candidate = _Answer(completion, number, problem)
            attempt = self._config.retry.next(attempt, problem)
        if candidate is not None:
            return _Answer(candidate.completion, number, candidate.problem)
        return _Answer(Completion(""), number, error=error or EngineError("the engine gave no answer"))

    def _decided_row(self, chunk: Chunk, page: RenderedPage, kept: tuple[str, ...] = ()) -> ResultRow:
        """The row of a page that no engine need see."""
        row = self._row(chunk, page, flags=page.flags + kept)
        return _with_layer(row, page.layer) if page.layer else row

    def _layer_row(
        self, chunk: Chunk, page: RenderedPage, answer: _Answer, kept: tuple[str, ...]
    ) -> ResultRow | None:
        """The page's own text where the engine has none, or none as good; None where it is not needed."""
        why = str(answer.error or _reason(answer))
        if not why or page.layer is None or not (answer.error or page.layer.trusted):
            return None
        row = self._row(
            chunk,
            page,
            status=Status.FALLBACK,
            reason=f"{why}; the page's text layer was taken",
            attempts=answer.attempts,
            flags=(*page.flags, *kept, LAYER_FLAG),
        )
        return _with_layer(row, page.layer)

    async def _keep_image(
        self, document: Document, page: RenderedPage, image: Image | bytes
    ) -> tuple[str, ...]:
        store = self._config.image_store
        if store is None:
            return ()
        path = page_image_file(document.markdown, page.page)
        await asyncio.to_thread(
            lambda: store.replace(path, image if isinstance(image, bytes) else encode_jpeg(image))
        )
        return (IMAGE_FLAG,)

    def _row(
        self,
        chunk: Chunk,
        page: RenderedPage,
        *,
        status: Status | None = None,
        reason: str = "",
        completion: Completion | None = None,
        attempts: int = 0,
        flags: tuple[str, ...] = (),
    ) -> ResultRow:
        document = chunk.documents[page.doc_index]
        opened = chunk.opened[page.doc_index]
        answered = completion or Completion("")
        width, height = page.width, page.height
        if answered.rotation % 180:
            width, height = height, width
        status = status or page.status or Status.OK
        reason = reason or page.reason
        return ResultRow(
            doc_id=document.doc_id,
            uri=document.uri,
            page=page.page,
            status=status,
            page_count=opened.page_count,
            reason=reason,
            text=completion.text if completion else BLANK_TEXT if status is Status.BLANK else "",
            regions=answered.regions,
            finish_reason=answered.finish_reason if completion else "",
            attempts=attempts,
            mode=self._config.mode,
            model=answered.model or self._model,
            engine=answered.engine or self._engine.info.name,
            prompt_tokens=answered.prompt_tokens,
            completion_tokens=answered.completion_tokens,
            mean_confidence=answered.mean_confidence,
            worst_confidence=answered.worst_confidence,
            width=width,
            height=height,
            rotation=(page.rotation + answered.rotation) % 360,
            render_s=page.render_s,
            flags=flags or page.flags,
            replica=self._replica,
            generation=chunk.generation,
            fingerprint=self._config.fingerprint,
            source_version=opened.version or document.version,
            run_id=self._config.run_id,
            finished_at=datetime.now(UTC),
            metadata=document.metadata,
        )


def _tell_nobody(report: ReadReport) -> None:
    return None


def _reason(answer: _Answer) -> str:
    """Why the answer is not simply ok; empty when it is."""
    if answer.problem:
        return f"{answer.problem} after {answer.attempts} attempts"
    script = answer.completion.uncovered_script
    if script is None:
        return answer.completion.unread
    engine = answer.completion.engine or "the engine"
    return f"script not covered: {script or 'the page'} cannot be read by {engine}"


def _flags(completion: Completion) -> tuple[str, ...]:
    if completion.uncovered_script is None:
        return completion.flags
    script = completion.uncovered_script
    return (*completion.flags, SCRIPT_FLAG, *([f"{SCRIPT_FLAG}:{script}"] if script else []))


def _is_decided(page: RenderedPage) -> bool:
    """Whether nothing is left to do for a page but its row."""
    return page.status is not None and page.image is None


def _with_layer(row: ResultRow, layer: TextLayer) -> ResultRow:
    """A row whose text is the page's own."""
    return replace(row, text=layer.text, regions=layer.regions, engine=LAYER_FLAG, model="", mode="")


def _problem(completion: Completion) -> Problem | None:
    """What is wrong with an answer by the engine's own word."""
    return {
        "length": Problem.TRUNCATED,
        "repetition": Problem.REPETITION,
        "abort": Problem.TIMEOUT,
    }.get(completion.finish_reason)
