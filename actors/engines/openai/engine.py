"""Models behind OpenAI-compatible servers (vLLM's, SGLang's, llama.cpp's, a provider's)."""

from __future__ import annotations

from typing import Any

from actors.engines.base import Completion, Engine, EngineInfo, Request
from actors.engines.openai.address import server_addresses
from actors.engines.openai.chat import ChatFormat
from actors.engines.openai.client import Patience, ServerClient
from actors.engines.openai.key import ApiKey
from actors.engines.openai.pool import ServerPool
from actors.engines.openai.start import Served, StartCheck
from actors.engines.settings import EngineConfig

MOST_IN_FLIGHT = 512
LOOP = {"min_pattern_size": 50, "max_pattern_size": 100, "min_count": 12}
"""vLLM's servers end an answer by the same rule as the vllm engine (``actors.engines.vllm.sampling``)."""


class OpenAiEngine(Engine):
    """Passes pages on to servers, to each as many as it can take.

    The constructor asks the servers what they serve and blocks meanwhile. Raises ConfigError when none
    answers, one refuses the key, or the model is not theirs. The chat template is the server's;
    ``extra_body`` has the last word on a request's fields, and null leaves one out.
    """

    def __init__(self, config: EngineConfig) -> None:
        settings = config.openai
        self._config = config
        self._addresses = server_addresses(settings.server_urls)
        self._key = ApiKey.from_environment(settings.api_key_env)
        with StartCheck(self._key, settings.connect_timeout_s) as check:
            served = check.served(self._addresses, config.model)
            guarded = _is_guarded(config, served)
            whitelist = check.token_ids(served, config.sampling.ngram_whitelist) if guarded else []
        self._model = served.model
        self._format = ChatFormat(_fields(config, served, whitelist))
        self._pool = ServerPool(self._addresses, settings.max_concurrency, settings.outage_s)
        self._client: ServerClient | None = None

    @property
    def info(self) -> EngineInfo:
        most = self._config.openai.max_concurrency * len(self._addresses)
        concurrency = min(most, MOST_IN_FLIGHT)
        return EngineInfo(
            name="openai",
            model=self._model,
            concurrency=concurrency,
            window=concurrency + max(4, concurrency // 4),
            abortable=True,
            takes_jpeg=True,
            limits_time=True,
            images_per_prompt=self._config.images_per_prompt,
        )

    @property
    def waiting(self) -> str:
        return self._pool.waiting

    async def read(self, request: Request) -> Completion:
        if self._client is None:  # here, because it belongs to the loop that reads
            self._client = self._connect()
        return await self._client.ask(self._format.body(request))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _connect(self) -> ServerClient:
        settings = self._config.openai
        patience = Patience(
            connect_s=settings.connect_timeout_s,
            answer_s=self._config.page_timeout_s,
            attempts=settings.attempts,
        )
        return ServerClient(self._pool, self._key, patience, self._format.probe())


def _is_guarded(config: EngineConfig, served: Served) -> bool:
    return served.is_vllm and config.sampling.ngram_size > 0


def _fields(config: EngineConfig, served: Served, whitelist: list[int]) -> dict[str, Any]:
    """What every request says besides its messages and temperature. ``max_tokens`` is what all servers
    know; where only ``max_completion_tokens`` is taken, ``extra_body`` can say so. vLLM refuses more of
    them than prompt and answer may have together."""
    sampling = config.sampling
    fields: dict[str, Any] = {
        "model": served.model,
        "max_tokens": min(sampling.max_tokens, served.max_model_len or sampling.max_tokens),
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if sampling.stop:
        fields["stop"] = sampling.stop
    if served.is_vllm:
        fields["min_tokens"] = sampling.min_tokens
        fields["repetition_penalty"] = sampling.repetition_penalty
        fields["skip_special_tokens"] = sampling.skip_special_tokens
        if sampling.stop_repetition:
            fields["repetition_detection"] = LOOP
    if _is_guarded(config, served):
        guard = {"ngram_size": sampling.ngram_size, "window_size": sampling.ngram_window}
        fields["vllm_xargs"] = {**guard, **({"whitelist_token_ids": whitelist} if whitelist else {})}
    return {**fields, **config.openai.extra_body}
