"""From what became of a page to its result row. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from actors.attempts import Answer
from actors.chunks import Chunk, RenderedPage, TextLayer
from actors.engines.base import SCRIPT_FLAG, Completion, EngineInfo
from results.rows import BLANK_TEXT, LAYER_FLAG, ResultRow, Status


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes the rows of one reader, with what all of them carry. ``kept`` are flags of an image kept."""

    info: EngineInfo
    replica: str
    run_id: str
    fingerprint: str
    mode: str

    def row(
        self, chunk: Chunk, page: RenderedPage, answer: Answer | None, kept: tuple[str, ...] = ()
    ) -> ResultRow:
        """The row of a page by what the engine made of it; None: it did not see it."""
        if answer is None:
            return self.decided(chunk, page, kept)
        return self.answered(chunk, page, answer, kept)

    def decided(self, chunk: Chunk, page: RenderedPage, kept: tuple[str, ...] = ()) -> ResultRow:
        """The row of a page that no engine need see."""
        status = page.status or Status.OK
        row = replace(
            self._row(chunk, page),
            status=status,
            reason=page.reason,
            text=BLANK_TEXT if status is Status.BLANK else "",
            flags=page.flags + kept,
        )
        return _with_layer(row, page.layer) if page.layer else row

    def answered(
        self, chunk: Chunk, page: RenderedPage, answer: Answer, kept: tuple[str, ...] = ()
    ) -> ResultRow:
        """The row of a page that was read: its own text layer's where that is better than the answer."""
        row = replace(self._row(chunk, page), attempts=answer.attempts, flags=page.flags + kept)
        reason, layer = answer.reason, page.layer
        if reason and layer and (answer.error or layer.trusted):
            reason = f"{reason}; the page's text layer was taken"
            flags = (*row.flags, LAYER_FLAG)
            return _with_layer(replace(row, status=Status.FALLBACK, reason=reason, flags=flags), layer)
        if answer.error:
            return replace(row, status=Status.FAILED, reason=reason)
        return _with_answer(
            replace(row, status=Status.FALLBACK if reason else Status.OK, reason=reason), answer
        )

    def _row(self, chunk: Chunk, page: RenderedPage) -> ResultRow:
        document = chunk.documents[page.doc_index]
        opened = chunk.opened[page.doc_index]
        model = f"{self.info.model}@{self.info.revision}" if self.info.revision else self.info.model
        return ResultRow(
            doc_id=document.doc_id,
            uri=document.uri,
            page=page.page,
            status=Status.OK,
            page_count=opened.page_count,
            mode=self.mode,
            model=model,
            engine=self.info.name,
            width=page.width,
            height=page.height,
            rotation=page.rotation,
            render_s=page.render_s,
            replica=self.replica,
            generation=chunk.generation,
            fingerprint=self.fingerprint,
            source_version=opened.version or document.version,
            run_id=self.run_id,
            finished_at=datetime.now(UTC),
            metadata=document.metadata,
        )


def _with_answer(row: ResultRow, answer: Answer) -> ResultRow:
    completion, parsed = answer.completion, answer.parsed
    width, height = row.width, row.height
    if completion.rotation % 180:
        width, height = height, width
    return replace(
        row,
        text=parsed.text,
        raw_text=completion.text if completion.text != parsed.text else "",
        regions=completion.regions or parsed.regions,
        finish_reason=completion.finish_reason,
        mode=answer.attempt.mode or row.mode,
        model=completion.model or row.model,
        engine=completion.engine or row.engine,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        mean_confidence=completion.mean_confidence,
        worst_confidence=completion.worst_confidence,
        width=width,
        height=height,
        rotation=(row.rotation + completion.rotation) % 360,
        flags=row.flags + _flags(completion) + parsed.flags,
    )


def _with_layer(row: ResultRow, layer: TextLayer) -> ResultRow:
    """A row whose text is the page's own."""
    return replace(row, text=layer.text, regions=layer.regions, engine=LAYER_FLAG, model="", mode="")


def _flags(completion: Completion) -> tuple[str, ...]:
    if completion.uncovered_script is None:
        return completion.flags
    script = completion.uncovered_script
    return (*completion.flags, SCRIPT_FLAG, *([f"{SCRIPT_FLAG}:{script}"] if script else []))
