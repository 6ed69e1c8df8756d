"""Loaded by vLLM in each of its processes (entry point ``vllm.general_plugins`` of pyproject.toml)."""

from __future__ import annotations

import os


def register() -> None:
    """Set DeepSeek-OCR's image size where our engine asks for it; nothing in any other vLLM process."""
    from actors.engines.vllm.deepseek import ENVIRONMENT, Sizes

    if text := os.environ.get(ENVIRONMENT):
        Sizes.from_text(text).apply()
