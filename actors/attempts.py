"""One page and an engine: attempt by attempt, as the retry policy says, until there is an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from actors.engines.base import Completion, Engine, Image, Request
from actors.engines.prompts import Asking
from actors.liveness import Liveness
from actors.postprocess.dialects import parse, problem_of
from actors.postprocess.grounded import LARGEST
from actors.postprocess.parsed import Parsed
from actors.render.image import decode_image, encode_jpeg
from actors.retry import AS_IT_WAS, Attempt, Box, Problem, RetryPolicy
from manifests.documents import Document
from manifests.errors import EngineError
from results.rows import Region


class OutOfTime(EngineError):
    """An attempt took all its time: whether the page or its engine hangs, others must tell."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a page: the completion and what it says, of the ``attempt`` that answered.

    ``error`` is why no attempt gave any answer; ``problem`` what is wrong with the one there is.
    ``attempts`` is how many there were.
    """

    attempt: Attempt = field(default_factory=Attempt)
    completion: Completion = field(default_factory=lambda: Completion(""))
    parsed: Parsed = field(default_factory=lambda: Parsed(""))
    problem: Problem | None = None
    error: EngineError | None = None
    attempts: int = 1

    @property
    def reason(self) -> str:
        """Why the page is not simply ok; empty when it is."""
        if self.error:
            return str(self.error)
        if self.problem:
            return self._about_problem()
        script = self.completion.uncovered_script
        if script is None:
            return self.completion.unread
        engine = self.completion.engine or "the engine"
        return f"script not covered: {script or 'the page'} cannot be read by {engine}"

    def _about_problem(self) -> str:
        known = f" {self.completion.finish_reason!r}" if self.problem is Problem.UNKNOWN_ENDING else ""
        times = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        detail = f": {self.completion.detail}" if self.completion.detail else ""
        return f"{self.problem}{known} after {times}{detail}"


Images = Sequence[Image | bytes]
"""Those of one page in order, arrays or JPEG."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked about a page: one question for each of its variants, and what the retry policy may ask in
    place of any, by mode."""

    variants: Mapping[str, Asking]
    other_modes: Mapping[str, Asking]

    def about(self, document: Document, variant: str, mode: str) -> Asking:
        """A document's own prompt stands in the place of all that are asked for the variant ``""``."""
        asking = self.other_modes[mode] if mode else self.variants[variant]
        return replace(asking, prompt=document.prompt) if document.prompt and not variant else asking


class Asker:
    """Asks one engine about pages. ``timeout_s`` ends an attempt; None leaves that to the engine."""

    def __init__(
        self,
        engine: Engine,
        questions: Questions,
        policy: RetryPolicy,
        timeout_s: float | None,
        liveness: Liveness,
    ) -> None:
        self._engine = engine
        self._questions = questions
        self._policy = policy
        self._timeout_s = timeout_s
        self._liveness = liveness

    async def ask(self, document: Document, page: int, images: Images, variant: str = "") -> Answer:
        """The first good answer, else the last one with any text, else the last error.

        ``images`` are the page's as ``prepared`` gives them. Raises EngineDead, EngineUnavailable, and
        whatever else is no fault of the page.
        """
        attempt: Attempt | None = self._policy.first
        best = failed = None
        number = 0
        while attempt is not None:
            number = attempt.number
            asking = self._questions.about(document, variant, attempt.mode)
            request = await self._request(attempt, asking, document.doc_id, page, images)
            answer = await self._try(attempt, asking.dialect, request)
            if answer.problem is None:
                return replace(answer, attempts=number)
            if answer.error:
                failed = answer
            elif best is None or answer.parsed.text.strip() or not best.parsed.text.strip():
                best = answer
            attempt = self._next(attempt, answer.problem)
        return replace(best or failed or Answer(), attempts=number)

    def _next(self, attempt: Attempt, problem: Problem) -> Attempt | None:
        if self._engine.info.deterministic and problem not in AS_IT_WAS:
            return None
        return self._policy.next(attempt, problem)

    async def _try(self, attempt: Attempt, dialect: str, request: Request) -> Answer:
        try:
            with self._liveness.request():
                completion = await asyncio.wait_for(self._engine.read(request), self._timeout_s)
        except TimeoutError:
            if self._timeout_s is None:
                raise
            self._liveness.timed_out((request.doc_id, request.page))
            error = OutOfTime(f"reading took longer than {self._timeout_s:g} s")
            return Answer(attempt, problem=Problem.TIMEOUT, error=error)
        except EngineError as refused:
            self._liveness.answered()
            return Answer(attempt, problem=Problem.ENGINE_ERROR, error=refused)
        except Exception:
            self._liveness.answered()
            raise
        self._liveness.answered()
        parsed = parse(dialect, completion.text)
        if attempt.crop:
            parsed = replace(
                parsed, regions=tuple(_on_page(region, attempt.crop) for region in parsed.regions)
            )
        return _judged(attempt, completion, parsed)

    async def _request(
        self, attempt: Attempt, asking: Asking, doc_id: str, page: int, images: Images
    ) -> Request:
        info = self._engine.info
        if attempt.size and attempt.size not in info.sizes:
            raise EngineError(
                f"the {info.name} engine takes no other size for one page, got {attempt.size!r}"
            )
        if attempt.crop:
            box = attempt.crop
            images = await self.prepared(
                [await asyncio.to_thread(_cropped, decode_image(image), box) for image in images]
            )
        return with_images(
            Request(
                doc_id,
                page,
                (),
                prompt=asking.prompt,
                temperature=attempt.temperature,
                max_tokens=asking.max_tokens,
                mode=attempt.mode,
                size=attempt.size,
            ),
            images,
        )

    async def prepared(self, images: Images) -> Images:
        """Images as the engine wants them; converted, where they must be, off the event loop.

        Raises EngineError for more than the engine takes in one prompt.
        """
        info = self._engine.info
        if len(images) > max(1, info.images_per_prompt):
            takes = f"takes {info.images_per_prompt} in one prompt (engine.images_per_prompt)"
            if not info.images_per_prompt:
                takes = "reads one image at a time"
            raise EngineError(f"the page shows {len(images)} images, and the {info.name} engine {takes}")
        return [await self._prepared(image) for image in images]

    async def _prepared(self, image: Image | bytes) -> Image | bytes:
        if self._engine.info.takes_jpeg:
            return image if isinstance(image, bytes) else await asyncio.to_thread(encode_jpeg, image)
        return await asyncio.to_thread(decode_image, image) if isinstance(image, bytes) else image


def with_images(request: Request, images: Images) -> Request:
    """The request about these images, which are as its engine wants them."""
    arrays = tuple(image for image in images if not isinstance(image, bytes))
    return replace(request, images=arrays, jpegs=tuple(image for image in images if isinstance(image, bytes)))


def _judged(attempt: Attempt, completion: Completion, parsed: Parsed) -> Answer:
    """An answer with what is wrong with it. One that was refused or given up, and holds nothing, is none."""
    problem = problem_of(completion, parsed)
    if problem in AS_IT_WAS and not parsed.text.strip():
        detail = f": {completion.detail}" if completion.detail else ""
        error = EngineError(f"the model gave no answer ({completion.finish_reason}){detail}")
        return Answer(attempt, completion, parsed, problem, error)
    return Answer(attempt, completion, parsed, problem)


def _on_page(region: Region, crop: Box) -> Region:
    """A region of a part of the page, as one of the page."""
    sides = (crop[2] - crop[0], crop[3] - crop[1])
    x1, y1, x2, y2 = (
        min(LARGEST, crop[place % 2] + value * sides[place % 2] // LARGEST)
        for place, value in enumerate(region.box)
    )
    return replace(region, box=(x1, y1, x2, y2))


def _cropped(pixels: Image, box: Box) -> Image:
    """The part of an image at a box of 0-999; at least a pixel of it."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    left, top = x1 * width // (LARGEST + 1), y1 * height // (LARGEST + 1)
    right = max(left + 1, -(-x2 * width // (LARGEST + 1)))
    bottom = max(top + 1, -(-y2 * height // (LARGEST + 1)))
    return np.ascontiguousarray(pixels[top:bottom, left:right])
