"""``pagefleet ask``: one prompt about a few images, answered by an engine in this process, without Ray."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from actors.attempts import with_images
from actors.engines.base import Completion, Engine, Request
from actors.engines.load import MODEL_KINDS, check_taken, load_engine
from actors.engines.prompts import split_prompt
from actors.engines.settings import EngineConfig
from actors.models.weights.guard import check_model
from actors.render.image import encode_jpeg
from actors.render.raster import RgbArray
from actors.render.renderer import Renderer
from actors.render.settings import RenderConfig, TextLayerUse
from actors.sources.cache import SourceCache
from aws.s3_source import S3Source
from aws.settings import S3Config
from jobs.config import JobConfig
from manifests.documents import Document
from manifests.errors import ConfigError, EngineError, InputError, JobError, PagefleetError
from manifests.identity import normal_uri
from manifests.pages import PageSpan
from manifests.work import RenderCall, RenderItem

PAGE = re.compile(r"(?P<file>.+)#(?P<page>\d+)", re.DOTALL)
MAX_IMAGE_BYTES = 2**32
HELP = "docs/troubleshooting.md has what engines say, by message"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: images as ``FILE`` or ``FILE#PAGE`` (first page by default), and the prompt."""

    images: tuple[str, ...]
    prompt: str


def ask(question: Question, config: JobConfig) -> Completion:
    """The engine's answer. While it is found, nothing of anybody else's reaches standard output.

    Raises UserError for what the user can mend, before anything is loaded where it can be told; other
    errors of ours when the engine cannot start or answer.
    """
    engine_config = _engine_config(config.engine, question)
    check_taken(engine_config)
    images = tuple(_render(image, config.render, config.s3) for image in question.images)
    check_model(engine_config)
    with _standard_output_kept_clean():
        engine = _load(engine_config)
        request = Request("ask", 1, images, engine_config.prompt)
        return asyncio.run(_answer(engine, request, engine_config.page_timeout_s))


def as_fields(completion: Completion) -> dict[str, str | int]:
    """An answer as JSON has it."""
    names = ("text", "finish_reason", "prompt_tokens", "completion_tokens")
    return {name: getattr(completion, name) for name in names}


def remarks(completion: Completion) -> list[str]:
    """What to know of an answer besides its text."""
    notes = []
    if completion.finish_reason == "length":
        notes.append(
            f"the answer was cut after {completion.completion_tokens} tokens: "
            "--set engine.sampling.max_tokens=… allows more"
        )
    elif completion.finish_reason != "stop":
        notes.append(f"the answer is not whole: {completion.finish_reason}")
    if completion.uncovered_script is not None:
        notes.append(
            f"script not covered: {completion.uncovered_script or 'some of the page'} cannot be read"
        )
    if completion.unread:
        notes.append(completion.unread)
    return notes


def _engine_config(config: EngineConfig, question: Question) -> EngineConfig:
    """The engine for this question: its prompt, and as many images as it has."""
    count = len(question.images)
    asked = config.model_copy(
        update={
            "prompt": question.prompt or config.prompt,
            "images_per_prompt": max(config.images_per_prompt, count),
        }
    )
    if asked.kind in MODEL_KINDS:
        try:
            split_prompt(asked.prompt, count)
        except EngineError as error:
            raise ConfigError(f"--prompt: {error}") from error
    elif count > 1 and asked.kind != "scripted":
        raise InputError(f"{asked.kind} reads one image at a time, got {count}: choose a --model for several")
    return asked


def _load(config: EngineConfig) -> Engine:
    try:
        return load_engine(config)
    except PagefleetError:
        raise
    except Exception as error:
        raise JobError(f"the {config.kind} engine cannot start: {_message(error)}\n{HELP}") from error


async def _answer(engine: Engine, request: Request, timeout_s: float) -> Completion:
    try:
        return await _read(engine, request, timeout_s)
    finally:
        await engine.close()


async def _read(engine: Engine, request: Request, timeout_s: float) -> Completion:
    if engine.info.takes_jpeg:
        request = with_images(request, [encode_jpeg(image) for image in request.images])
    try:
        return await asyncio.wait_for(engine.read(request), timeout_s)
    except PagefleetError:
        raise
    except TimeoutError:
        raise EngineError(f"no answer within {timeout_s:g} s (engine.page_timeout_s)") from None
    except Exception as error:
        raise EngineError(f"the {engine.info.name} engine failed: {_message(error)}\n{HELP}") from error


def _render(image: str, config: RenderConfig, s3: S3Config) -> RgbArray:
    """One page as the engines see it. Raises InputError when there is none."""
    file, page = _file_and_page(image)
    plain = config.model_copy(update={"skip_blank": False, "text_layer": TextLayerUse.NEVER})
    sources = SourceCache(config.cache_dir, config.cache_bytes, {"s3": S3Source(s3)}, "ask")
    renderer = Renderer(plain, sources, hard_limits=False)
    uri = normal_uri(file)
    uri = uri if uri.startswith("s3://") else str(Path(file).absolute())
    item = RenderItem(0, Document(file, uri), (PageSpan(page, page),))
    call = RenderCall("", 1, (item,), max_pages=1, max_bytes=MAX_IMAGE_BYTES, max_s=config.open_timeout_s)
    try:
        report, chunk = renderer.render(call)
    finally:
        renderer.close()
    if error := report.opened[0].error:
        raise InputError(error if error.startswith(uri) else f"{file}: {error}")
    rendered = chunk.pages[0]
    if rendered.image is None:
        raise InputError(f"{file}: {rendered.reason}")
    pixels: RgbArray = rendered.image
    return pixels


def _file_and_page(image: str) -> tuple[str, int]:
    """``doc.pdf#3`` is its third page, unless a file has that very name."""
    match = PAGE.fullmatch(image)
    if match is None or Path(image).exists():
        return image, 1
    if int(match["page"]) < 1:
        raise InputError(f"{image}: pages count from 1")
    return match["file"], int(match["page"])


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@contextmanager
def _standard_output_kept_clean() -> Iterator[None]:
    """What libraries and the processes they start write to standard output goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
