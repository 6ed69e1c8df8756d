"""Prompts as a model in vLLM wants them: its placeholder for each image, its chat template around."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from vllm.config import ModelConfig
from vllm.exceptions import VLLMError
from vllm.model_executor.model_loader import get_model_cls
from vllm.renderers.hf import (
    resolve_chat_template,
    resolve_chat_template_content_format,
    safe_apply_chat_template,
)

from actors.engines.prompts import IMAGE, chat_content, split_prompt
from manifests.errors import ConfigError, EngineError

CACHED = 1024
"""Different prompts remembered: a job asks one or a few, a manifest of questions may ask many."""


class PromptWriter:
    """Writes prompts for one model. Templates see content in parts where they can, else one text.

    Raises ConfigError where a chat is asked for and the model has no template.
    """

    def __init__(self, model: ModelConfig, tokenizer: Any, prompt_format: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._chat = prompt_format == "chat"
        self._class: Any = get_model_cls(model)
        self._own_tokens = {self._placeholder(1), self._image_token()} - {""}
        self._parts = self._chat and self._takes_parts()
        self.text = lru_cache(CACHED)(self._text)
        """The text for a prompt about some images. Raises EngineError where they do not match."""

    def _placeholder(self, number: int) -> str:
        return self._class.get_placeholder_str("image", number) or ""

    def _image_token(self) -> str:
        """The one token that stands for an image's first, where the model's configuration names it."""
        settings = self._model.hf_config
        number = getattr(settings, "image_token_id", getattr(settings, "image_token_index", None))
        return str(self._tokenizer.convert_ids_to_tokens(number)) if isinstance(number, int) else ""

    def _takes_parts(self) -> bool:
        if resolve_chat_template(self._tokenizer, None, None, model_config=self._model) is None:
            raise ConfigError("the model has no chat template: --set engine.prompt_format=raw")
        found: str = resolve_chat_template_content_format(
            None, None, "auto", self._tokenizer, model_config=self._model
        )
        return found == "openai"

    def _text(self, prompt: str, images: int) -> str:
        parts = split_prompt(prompt, images)
        self._refuse_own_tokens(parts)
        if not self._chat:
            return self._joined(prompt, parts)
        content = chat_content(parts) if self._parts else self._joined(prompt, parts)
        try:
            text: str = safe_apply_chat_template(
                self._model,
                self._tokenizer,
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
            )
        except (VLLMError, ValueError) as error:
            raise EngineError(f"the model's chat template refused the prompt: {error}") from error
        return text

    def _refuse_own_tokens(self, parts: list[str]) -> None:
        """One more of the model's own image tokens than images would be read as noise, without a word."""
        for token in self._own_tokens:
            if any(token in part for part in parts if part != IMAGE):
                raise EngineError(
                    f"the prompt holds the model's own image token {token}: write {IMAGE} instead"
                )

    def _joined(self, prompt: str, parts: list[str]) -> str:
        """One text, the model's placeholder for each image; on a line of its own where none was named."""
        number, texts = 0, []
        for part in parts:
            if part == IMAGE:
                number += 1
                part = self._placeholder(number)
            texts.append(part)
        return "".join(texts) if IMAGE in prompt else "\n".join(texts)
