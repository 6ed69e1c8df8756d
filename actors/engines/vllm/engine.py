"""The vLLM engine: one request per page, fed continuously, in processes of vLLM's own."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from PIL import Image as PilImage
from transformers import PretrainedConfig
from vllm.exceptions import VLLMClientError
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.v1.engine.exceptions import EngineDeadError

from actors.engines.base import Completion, Engine, EngineInfo, Request
from actors.engines.finish import ABORT, ERROR, finish_reason
from actors.engines.settings import EngineConfig
from actors.engines.vllm.arguments import check_model_arguments, engine_arguments
from actors.engines.vllm.deepseek import announce, sizes
from actors.engines.vllm.failures import explain, root_cause
from actors.engines.vllm.prompts import PromptWriter
from actors.engines.vllm.sampling import ngram_guard, sampling_params
from actors.engines.vllm.start import create_config, start
from actors.models.weights.cards import choose_gpus
from manifests.errors import ConfigError, EngineDead, EngineError

WAITING = 1.5
"""Requests given to vLLM for each that it works on: its scheduler always finds the next one prepared."""
WINDOW = 2
"""Pages in flight per page worked on."""
SHUTDOWN_S = 1.0
"""vLLM's processes hold nothing that must be saved: those that take longer to end are killed."""
MAX_CAUSE = 300
RUNNERS = {"v1": "0", "v2": "1"}


class VllmEngine(Engine):
    """A model in vLLM. Owns the process it is loaded in: it sets environment variables of vLLM's there.

    May be loaded in any thread and read from any one event loop afterwards. Raises ConfigError with what
    would work where vLLM cannot load the model, EngineDead where it fails for reasons of its own.
    """

    def __init__(self, config: EngineConfig) -> None:
        if config.gpus:
            choose_gpus(config.gpus)
        _check_device(config)
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout belongs to answers
        architectures = _architectures(config)
        _choose_runner(config)
        announce(sizes(config, architectures))
        arguments = engine_arguments(config, architectures)
        settings = create_config(arguments)
        check_model_arguments(config, settings)
        self._llm, self._log_tail = start(settings, arguments)
        self._config = config
        self._sampling = config.sampling
        self._numbers = count(1)
        self._commit = getattr(self._llm.model_config.hf_config, "_commit_hash", None) or ""
        tokenizer = self._llm.get_tokenizer()
        self._guard = ngram_guard(config.sampling, tokenizer)
        self._prompts = PromptWriter(self._llm.model_config, tokenizer, config.prompt_format)
        self._token_params = self._llm.renderer.default_cmpl_tok_params
        if config.prompt_format == "chat":  # the template writes the special tokens itself
            self._token_params = self._token_params.with_kwargs(add_special_tokens=False)

    @property
    def info(self) -> EngineInfo:
        config, slots = self._config, self._config.vllm.max_num_seqs
        return EngineInfo(
            name="vllm",
            model=config.model_name,
            revision=config.revision or self._commit,
            concurrency=max(slots + 1, int(slots * WAITING)),
            window=slots * WINDOW,
            abortable=True,
            images_per_prompt=config.images_per_prompt,
        )

    async def read(self, request: Request) -> Completion:
        text = self._prompts.text(request.prompt, len(request.images))
        images = [PilImage.fromarray(image) for image in request.images]
        try:
            output = await self._generate({"prompt": text, "multi_modal_data": {"image": images}}, request)
        except EngineDeadError as error:
            raise self._dead() from error
        except VLLMClientError as error:
            raise EngineError(f"vLLM refused the page: {error}") from error
        except Exception as error:
            if self._llm.errored:
                raise self._dead() from error
            raise EngineError(f"vLLM could not read the page: {_innermost(error)}") from error
        return _completion(output)

    async def close(self) -> None:
        self._llm.shutdown(timeout=SHUTDOWN_S)
        del self._llm  # it would shut down once more with the interpreter, and complain

    async def _generate(self, prompt: dict[str, Any], request: Request) -> RequestOutput | None:
        """The one output of a request. Cancelled, it is aborted in vLLM too."""
        (rendered,) = await self._llm.renderer.render_cmpl_async([prompt], self._token_params)
        sampling = self._sampling.at_most(request.max_tokens)
        params = sampling_params(sampling, request.temperature, self._guard)
        last: RequestOutput | None = None
        async for output in self._llm.generate(rendered, params, f"page-{next(self._numbers)}"):
            last = output
        return last

    def _dead(self) -> EngineDead:
        return EngineDead(f"vLLM's process ended: {explain(self._log_tail) or root_cause(self._log_tail)}")


def _completion(output: RequestOutput | None) -> Completion:
    if output is None:
        raise EngineError("vLLM ended the page without an answer")
    answer = output.outputs[0]
    reason = finish_reason(answer.finish_reason or ABORT)
    if reason == ERROR:
        raise EngineError(f"vLLM gave the page up: {answer.stop_reason or 'it gave no reason'}")
    return Completion(
        text=answer.text,
        finish_reason=reason,
        prompt_tokens=len(output.prompt_token_ids or ()),
        completion_tokens=len(answer.token_ids),
    )


def _check_device(config: EngineConfig) -> None:
    on_cpu = current_platform.is_cpu()
    if config.device == "cpu" and not on_cpu:
        raise ConfigError("engine.device=cpu: the vLLM installed here is built for GPUs: leave it out")
    if config.device != "cpu" and (on_cpu or current_platform.is_unspecified()):
        raise ConfigError(
            "vLLM finds no GPU here: --set engine.device=cpu with a vLLM built for CPUs (slow), "
            "or another --engine"
        )


def _choose_runner(config: EngineConfig) -> None:
    """Set which of its model runners vLLM takes: the second refuses what changes logits, like the guard."""
    runner, guard = config.vllm.model_runner, config.sampling.ngram_size > 0
    if runner == "v2" and guard:
        raise ConfigError(
            "engine.vllm.model_runner: v2 takes no n-gram guard: choose v1 or auto, or set "
            "engine.sampling.ngram_size=0 (engine.sampling.stop_repetition remains)"
        )
    if runner == "auto" and guard:
        runner = "v1"
    if runner in RUNNERS:
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = RUNNERS[runner]


def _architectures(config: EngineConfig) -> tuple[str, ...]:
    """What ``config.json`` says the model is; empty where there is none to read, which vLLM complains of."""
    try:
        values, _ = PretrainedConfig.get_config_dict(config.model, revision=config.revision or None)
    except (OSError, ValueError):
        return ()
    return tuple(values.get("architectures") or ())


def _innermost(error: BaseException) -> str:
    """What went wrong first: vLLM wraps errors in others that quote whole pages."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"[:MAX_CAUSE]
