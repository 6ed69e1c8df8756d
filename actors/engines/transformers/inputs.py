"""From requests to a model's inputs: prompts with its own image tokens, images, one padded batch."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from actors.engines.base import Request
from actors.engines.prompts import IMAGE, chat_content, split_prompt
from actors.engines.settings import EngineConfig
from manifests.errors import ConfigError, EngineError

TILE_ARGUMENT = "max_patches"
"""What image processors that cut images into tiles (InternVL, GOT-OCR) call their number."""
PIXELS_PER_TOKEN = 28 * 28
"""Where a processor does not tell: 2 × 2 patches of 14 pixels a side, as with Qwen's and InternVL's."""

CHARACTERS_PER_TOKEN = 4
PADDED: Mapping[str, Any] = {"padding": True, "padding_side": "left"}


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One request as text with the model's image tokens, and its images. ``tokens`` is its length,
    nearly."""

    text: str
    images: tuple[PIL.Image.Image, ...]
    tokens: int


class InputMaker:
    """Wraps a model's processor. Thread-safe as far as that is.

    Raises ConfigError where the configuration names what the processor does not take, or where a chat is
    to be made without a template.
    """

    def __init__(self, processor: Any, config: EngineConfig) -> None:
        self._processor = processor
        processor.tokenizer(["a"], **PADDED)  # sets it once; set in one thread while another reads, it fails
        self._raw = config.prompt_format == "raw"
        self._image_arguments = image_arguments(processor, config)
        self._image_token: str = getattr(processor, "image_token", "")
        if self._raw and not self._image_token:
            raise ConfigError(
                f"engine.prompt_format: raw: {type(processor).__name__} names no image token; use chat"
            )
        if not self._raw and not getattr(processor, "chat_template", None):
            raise ConfigError(
                "engine.prompt_format: chat: the model brings no chat template: set it to raw, or put a "
                "chat_template.jinja into the model's folder"
            )
        try:
            self._text([IMAGE])
        except EngineError as error:
            raise ConfigError(f"engine.prompt_format: chat: {error}: mend it, or set it to raw") from error

    def row(self, request: Request) -> PromptRow:
        """One request by itself. Raises EngineError for images, placeholders or prompts that cannot be."""
        images = tuple(_picture(image) for image in request.images)
        text = self._text(split_prompt(request.prompt, len(images)))
        if self._image_token and text.count(self._image_token) != len(images):
            raise EngineError(
                f"the prompt holds the model's own image token {self._image_token}: write {IMAGE} instead"
            )
        tokens = self.image_tokens([(image.height, image.width) for image in images])
        return PromptRow(text, images, tokens + len(text) // CHARACTERS_PER_TOKEN)

    def image_tokens(self, sizes: Sequence[tuple[int, int]]) -> int:
        """Tokens that images of these sizes (height, width) become; by their pixels if nobody tells."""
        count = getattr(self._processor, "_get_num_multimodal_tokens", None)
        try:
            counted = (
                count(image_sizes=[list(size) for size in sizes], **self._image_arguments) if count else {}
            )
            return int(sum(counted["num_image_tokens"]))
        except Exception:  # noqa: BLE001 - a hint of a processor we do not know; the batch itself will tell
            return sum(height * width // PIXELS_PER_TOKEN for height, width in sizes)

    def batch(self, rows: Sequence[PromptRow]) -> Mapping[str, Any]:
        """Tensors of all rows, padded on the left. Raises whatever the processor says of a bad image."""
        images = [list(row.images) for row in rows]
        start = getattr(self._processor.tokenizer, "bos_token", None)
        inputs: Mapping[str, Any] = self._processor(
            images=images if any(images) else None,
            text=[row.text for row in rows],
            images_kwargs=self._image_arguments,
            text_kwargs={
                **PADDED,
                "add_special_tokens": not (start and rows[0].text.startswith(start)),
            },
            return_tensors="pt",
        )
        return inputs

    def _text(self, parts: Sequence[str]) -> str:
        if self._raw:
            return "".join(self._image_token if part == IMAGE else part for part in parts)
        messages = [{"role": "user", "content": chat_content(parts)}]
        try:
            return str(self._processor.apply_chat_template(messages, add_generation_prompt=True))
        except Exception as error:  # the template is a program of somebody else's
            raise EngineError(f"the model's chat template refuses the prompt: {error}") from error


def image_arguments(processor: Any, config: EngineConfig) -> dict[str, Any]:
    """``processor_args`` and ``max_tiles`` for the image processor. Raises ConfigError."""
    images = getattr(processor, "image_processor", None)
    known = _known_arguments(images)
    for name in config.processor_args:
        if known and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(sorted(known))}"
            raise ConfigError(f"engine.processor_args.{name}: {type(images).__name__} does not take it{hint}")
    if config.max_tiles is None:
        return dict(config.processor_args)
    if TILE_ARGUMENT not in known:
        raise ConfigError(
            f"engine.max_tiles: {type(images).__name__} cuts no tiles; leave it out, and see "
            "engine.processor_args for what it takes"
        )
    return {**config.processor_args, TILE_ARGUMENT: config.max_tiles}


def _known_arguments(images: Any) -> frozenset[str]:
    """Names the image processor takes; none where it does not tell."""
    takes = getattr(images, "valid_kwargs", None)
    return frozenset(typing.get_type_hints(takes)) if takes else frozenset()


def _picture(image: np.ndarray[Any, np.dtype[np.uint8]]) -> PIL.Image.Image:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise EngineError(f"not an RGB image: an array of {image.dtype} with the shape {image.shape}")
    return PIL.Image.fromarray(image)
