"""The page reader: rendered pages in, result rows out, each page finishing on its own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from actors.engines.base import Completion, Engine, EngineInfo, Image, Request
from actors.render.image import decode_image, encode_jpeg
from actors.retry import Attempt, Problem, RetryPolicy
from actors.watchdog import PageWatchdog
from manifests.assembly import IMAGE_FLAG, page_image_file
from manifests.documents import Document
from manifests.errors import EngineDead, EngineError, StoreError
from manifests.rows import BLANK_TEXT, ResultRow, Status
from manifests.store import Store
from manifests.work import Chunk, ReadReport, RenderedPage

LINGER_S = 0.2
WARM_UP_SIZE = (64, 256)

RowSink = Callable[[str, int, Sequence[ResultRow]], Awaitable[None]]
"""Takes rows of a unit's generation; returns when they are the writer's."""


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
    completion: Completion
    attempts: int
    problem: Problem | None = None


class _Totals:
    """Adds up what a chunk came to."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._infer_s = 0.0

    def add(self, rows: Sequence[ResultRow]) -> None:
        for row in rows:
            self._statuses[row.status] += 1
            self._prompt_tokens += row.prompt_tokens
            self._completion_tokens += row.completion_tokens
            self._infer_s += row.infer_s

    def report(self) -> ReadReport:
        return ReadReport(dict(self._statuses), self._prompt_tokens, self._completion_tokens, self._infer_s)


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
        abortable = engine.info.abortable
        self._timeout_s = config.page_timeout_s if abortable and config.page_timeout_s else None
        self._watchdog = PageWatchdog(config.page_timeout_s if config.may_exit and not abortable else 0.0)

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def warm_up(self) -> None:
        """Read one synthetic page, so that an engine that cannot read at all never holds real ones."""
        blank = np.full((*WARM_UP_SIZE, 3), 255, dtype=np.uint8)
        await self._engine.read(Request("", 0, [blank], self._config.prompt))

    async def read(self, chunk: Chunk, only: Sequence[int] | None = None) -> ReadReport:
        """Read a chunk's pages (or those at the indexes ``only``) and hand their rows to the sink.

        Returns when the sink has every row. Raises EngineDead when the engine will not answer again.
        """
        received = time.monotonic()
        pages = chunk.pages if only is None else [chunk.pages[i] for i in only]
        decided = [self._row(chunk, page) for page in pages if page.status is not None]
        tasks = {
            asyncio.ensure_future(self._read_page(chunk, page, received))
            for page in pages
            if page.status is None
        }
        try:
            return await self._collect(chunk, tasks, decided)
        finally:
            for task in tasks:
                task.cancel()

    async def _collect(
        self, chunk: Chunk, pending: set[asyncio.Task[ResultRow]], rows: list[ResultRow]
    ) -> ReadReport:
        totals = _Totals()
        while pending or rows:
            if pending and not rows:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if pending:  # linger: others may be about to finish, and one hand-over serves all
                    more, pending = await asyncio.wait(pending, timeout=LINGER_S)
                    done |= more
                rows = [task.result() for task in done]
            totals.add(rows)
            await self._sink(chunk.unit_id, chunk.generation, rows)
            rows = []
        return totals.report()

    async def _read_page(self, chunk: Chunk, page: RenderedPage, received: float) -> ResultRow:
        async with self._slots:
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
            return replace(row, queue_s=started - received, infer_s=time.monotonic() - started)

    async def _answered_row(self, chunk: Chunk, page: RenderedPage) -> ResultRow:
        document = chunk.documents[page.doc_index]
        image = decode_image(page.image)
        flags = page.flags + await self._keep_image(document, page, image)
        answer = await self._answer(document, page, image)
        completion = answer.completion
        return self._row(
            chunk,
            page,
            status=Status.FALLBACK if answer.problem else Status.OK,
            reason=f"{answer.problem} after {answer.attempts} attempts" if answer.problem else "",
            completion=completion,
            attempts=answer.attempts,
            flags=flags + completion.flags,
        )

    async def _answer(self, document: Document, page: RenderedPage, image: Image) -> _Answer:
        attempt: Attempt | None = Attempt()
        candidate: _Answer | None = None
        error: EngineError | None = None
        number = 0
        while attempt is not None:
            number = attempt.number
            request = Request(
                document.doc_id,
                page.page,
                [image],
                document.prompt or self._config.prompt,
                attempt.temperature,
            )
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
        raise error or EngineError("the engine gave no answer")

    async def _keep_image(self, document: Document, page: RenderedPage, image: Image) -> tuple[str, ...]:
        store = self._config.image_store
        if store is None:
            return ()
        path = page_image_file(document.markdown, page.page)
        await asyncio.to_thread(lambda: store.replace(path, encode_jpeg(image)))
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
            regions=completion.regions if completion else (),
            finish_reason=completion.finish_reason if completion else "",
            attempts=attempts,
            mode=self._config.mode,
            model=self._engine.info.model,
            engine=self._engine.info.name,
            prompt_tokens=completion.prompt_tokens if completion else 0,
            completion_tokens=completion.completion_tokens if completion else 0,
            width=page.width,
            height=page.height,
            rotation=page.rotation,
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


def _problem(completion: Completion) -> Problem | None:
    """What is wrong with an answer by the engine's own word."""
    return {
        "length": Problem.TRUNCATED,
        "repetition": Problem.REPETITION,
        "abort": Problem.TIMEOUT,
    }.get(completion.finish_reason)
