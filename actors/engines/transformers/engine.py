"""The Transformers engine: pages in batches, on whatever the library runs on.

A batch is generated in a thread of its own while the next are prepared in others; the event loop only
hands requests in. Each row ends by itself and is answered at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from actors.engines.base import Completion, Engine, EngineInfo, Request
from actors.engines.finish import STOP
from actors.engines.settings import EngineConfig
from actors.engines.transformers.batching import Batcher, Pending
from actors.engines.transformers.devices import (
    GpuMemory,
    MainMemory,
    Memory,
    has_killed_the_gpu,
    ran_out_of_memory,
    release,
)
from actors.engines.transformers.inputs import InputMaker
from actors.engines.transformers.loading import load
from actors.engines.transformers.memory import (
    MAX_CPU_PAGES,
    MAX_PAGES,
    BatchSize,
    PageTokens,
    page_bytes,
)
from actors.engines.transformers.rows import Endings, RowEnds, TokenChoice, endings, known_tokens
from actors.models.weights.shape import model_shape
from manifests.errors import EngineDead, EngineError

BATCHES_IN_FLIGHT = 3
"""One that is generated, one prepared, one to choose from; the window beyond keeps the third full."""
TYPICAL_PAGE = (1755, 1240)
"""Height and width of A4 at 150 dpi, by which batches are sized before any page is seen."""
PROMPT_TOKENS = 256
"""Of a prompt without its images."""
PAGES_OF_A_STRANGER = 4
"""In a batch of a model whose config does not tell its shape."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one kind with the model's inputs for them, in order. ``lengths`` are their prompts' tokens."""

    jobs: Sequence[Pending]
    inputs: Mapping[str, Any]
    lengths: Sequence[int]


class TransformersEngine(Engine):
    """A model and its processor, fed in batches. Raises ConfigError for what cannot be loaded."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._loaded = loaded = load(config)
        self._inputs = InputMaker(loaded.processor, config)
        self._endings: Endings = endings(loaded.model, loaded.processor.tokenizer, config.sampling)
        self._allowed = known_tokens(loaded.processor.tokenizer, config.sampling.ngram_whitelist)
        self._shape = model_shape(loaded.model.config.to_dict())
        self._longest = (self._shape.max_len if self._shape else 0) or 2**31
        self._memory: Memory = GpuMemory(loaded.gpus) if loaded.gpus else MainMemory()
        self._size = self._first_size()
        self._first_pages = self._size.pages
        threads = config.transformers.preprocess_threads
        self._batcher = Batcher(lambda: self._size.pages, self._prepare, self._generate, threads)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            name="transformers",
            model=self._config.model_name,
            revision=self._loaded.revision,
            concurrency=BATCHES_IN_FLIGHT * self._first_pages,
            window=(BATCHES_IN_FLIGHT + 1) * self._first_pages,
            abortable=True,
            images_per_prompt=self._config.images_per_prompt,
        )

    @property
    def batch_size(self) -> int:
        """Pages a batch may hold at present."""
        return self._size.pages

    async def read(self, request: Request) -> Completion:
        row = await asyncio.to_thread(self._inputs.row, request)
        job = Pending(request, row, kind=(len(row.images), request.temperature > 0))
        self._batcher.submit(job)
        return await asyncio.wrap_future(job.answer)

    async def close(self) -> None:
        await asyncio.to_thread(self._batcher.close)

    def _prepare(self, jobs: Sequence[Pending]) -> list[Batch]:
        """One batch of these jobs, less those that cannot be in any: they are told why.

        Of jobs that the processor takes alone but not together, a batch each.
        """
        try:
            inputs = self._inputs.batch([job.row for job in jobs])
        except Exception as error:  # noqa: BLE001 - a processor raises anything for a page it cannot take
            if len(jobs) == 1:
                jobs[0].settle(EngineError(f"the model's processor refuses the page: {error}"))
                return []
            alone = [batch for job in jobs for batch in self._prepare([job])]
            if len(alone) in (0, len(jobs)):
                return alone
            return self._prepare([job for batch in alone for job in batch.jobs])
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        fitting = [job for job, length in zip(jobs, lengths, strict=True) if self._fits(job, length)]
        if len(fitting) < len(jobs):
            return self._prepare(fitting) if fitting else []
        return [Batch(jobs, inputs, lengths)]

    def _fits(self, job: Pending, length: int) -> bool:
        if length < self._longest:
            return True
        job.settle(
            EngineError(
                f"prompt and images take {length} tokens, and the model holds {self._longest}: render the "
                "page smaller (render.longest_side), or set engine.max_tiles or engine.processor_args"
            )
        )
        return False

    def _generate(self, batches: Sequence[Batch]) -> None:
        """Answer batches; of one that fails, its halves, down to one page. Raises EngineDead."""
        for batch in batches:
            failure = self._failure(batch)
            left = [job for job in batch.jobs if not job.answer.done()]
            if failure is None or not left:
                continue
            release()
            if len(left) == 1:
                left[0].settle(failure)
            else:
                middle = len(left) // 2
                self._generate([*self._prepare(left[:middle]), *self._prepare(left[middle:])])

    def _failure(self, batch: Batch) -> EngineError | None:
        """Generate a batch, and say why that failed. Raises EngineDead.

        The library's own exception stays in here: its traceback would keep the batch's tensors alive.
        """
        try:
            self._answer(batch)
        except Exception as error:  # noqa: BLE001 - the boundary of a batch: its pages learn of it
            problem = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            if has_killed_the_gpu(error):
                raise EngineDead(f"the GPU answers no more: {problem}") from None
            if not ran_out_of_memory(error):
                return EngineError(f"the model failed on this page: {problem}")
            self._size = self._size.ran_out(len(batch.jobs))
            return EngineError(
                f"the page does not fit in memory, even alone ({problem}): render it smaller, or lower "
                "engine.sampling.max_tokens"
            )
        return None

    def _answer(self, batch: Batch) -> None:
        """Generate a batch. Rows are answered as they end."""
        loaded, sampling = self._loaded, self._config.sampling
        if all(job.answer.done() for job in batch.jobs):
            return
        inputs = {name: self._placed(value) for name, value in batch.inputs.items()}
        requests = [job.request for job in batch.jobs]
        limits = [
            min(sampling.at_most(request.max_tokens).max_tokens, self._longest - length)
            for request, length in zip(requests, batch.lengths, strict=True)
        ]
        choice = TokenChoice(requests, sampling, inputs["attention_mask"], self._allowed)

        def ended(index: int, tokens: list[int], reason: str) -> None:
            batch.jobs[index].settle(self._completion(tokens, reason, batch.lengths[index]))

        ends = RowEnds(batch.jobs, limits, self._endings, sampling, ended)
        self._memory.watch()
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs,
                generation_config=self._generation_config(max(limits)),
                logits_processor=LogitsProcessorList([choice]),
                stopping_criteria=StoppingCriteriaList([ends]),
            )
        self._learn(batch, output.shape[1])

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self._loaded.device, self._loaded.dtype if value.is_floating_point() else None)

    def _completion(self, tokens: list[int], reason: str, prompt_tokens: int) -> Completion:
        answer = tokens[:-1] if tokens[-1] in self._endings.tokens else tokens
        text = self._endings.decode(answer)
        if reason == STOP:
            cuts = (text.find(stop) for stop in self._config.sampling.stop)
            text = text[: min((cut for cut in cuts if cut >= 0), default=None)]
        return Completion(text, reason, prompt_tokens, len(tokens))

    def _generation_config(self, max_new_tokens: int) -> GenerationConfig:
        """Everything given, so that nothing of the model's own comes in: tokens are chosen by us."""
        tokenizer, sampling = self._loaded.processor.tokenizer, self._config.sampling
        ends = sorted(self._endings.tokens)
        pad = tokenizer.pad_token_id
        return GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            min_new_tokens=sampling.min_tokens or None,
            use_cache=True,
            eos_token_id=ends or None,
            pad_token_id=pad if pad is not None else ends[0] if ends else 0,
        )

    def _first_size(self) -> BatchSize:
        wanted = self._config.transformers.batch_size
        ceiling = MAX_PAGES if self._loaded.gpus else MAX_CPU_PAGES
        if wanted != "auto":
            return BatchSize.fixed(wanted)
        if self._shape is None:
            return BatchSize.fixed(PAGES_OF_A_STRANGER)
        image = self._inputs.image_tokens([TYPICAL_PAGE] * self._config.images_per_prompt)
        new = min(self._config.sampling.max_tokens, max(1, self._longest - image))
        page = PageTokens(image + PROMPT_TOKENS, image, new)
        worst = page_bytes(self._shape, page, self._loaded.dtype.itemsize)
        return BatchSize(worst, self._memory.free(), ceiling)

    def _learn(self, batch: Batch, width: int) -> None:
        """Correct the estimate by what a batch took; ``width`` is that of prompts and answers."""
        peak = self._memory.peak()
        if peak is None or self._shape is None:
            return
        prompt = batch.inputs["attention_mask"].shape[1]
        image = max(job.row.tokens for job in batch.jobs)
        page = PageTokens(prompt, min(image, prompt), width - prompt)
        estimate = len(batch.jobs) * page_bytes(self._shape, page, self._loaded.dtype.itemsize)
        self._size = self._size.observed(estimate, peak)
