"""The image size DeepSeek-OCR reads at, which vLLM keeps in constants and not in its configuration.

A size is ``base_size`` (the view of the whole page), ``image_size`` (a tile) and ``crop_mode`` (whether
there are tiles). Tokens of a page without tiles: (base_size/64)² + base_size/64 + 1.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import astuple, dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from actors.engines.settings import EngineConfig
from manifests.errors import ConfigError

ENVIRONMENT = "PAGEFLEET_DEEPSEEK_OCR"
"""Carries the sizes into vLLM's own processes, where ``vllm_plugin`` reads them."""
PLUGINS = "vllm.general_plugins"
MODULES = {
    "DeepseekOCRForCausalLM": "vllm.model_executor.models.deepseek_ocr",
    "DeepseekOCR2ForCausalLM": "vllm.model_executor.models.deepseek_ocr2",
}
FIELDS = ("base_size", "image_size", "crop_mode")
STEP = 64
"""Pixels of the side of one visual token: patches of 16, four to a token's side."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """One architecture's sizes, in pixels."""

    architecture: str
    base_size: int = 1024
    image_size: int = 640
    crop_mode: bool = True

    def to_text(self) -> str:
        """``ARCHITECTURE,1024,640,1``."""
        return ",".join(str(int(part) if isinstance(part, bool) else part) for part in astuple(self))

    @classmethod
    def from_text(cls, text: str) -> Sizes:
        architecture, base, image, crop = text.split(",")
        return cls(architecture, int(base), int(image), crop == "1")

    def apply(self) -> None:
        """Set vLLM's constants in this process. Imports the model's module."""
        module: Any = importlib.import_module(MODULES[self.architecture])
        module.BASE_SIZE, module.IMAGE_SIZE, module.CROP_MODE = (
            self.base_size,
            self.image_size,
            self.crop_mode,
        )


PUBLISHED = {
    "DeepseekOCRForCausalLM": Sizes("DeepseekOCRForCausalLM", 1024, 640, True),
    "DeepseekOCR2ForCausalLM": Sizes("DeepseekOCR2ForCausalLM", 1024, 768, True),
}
"""What vLLM's constants say, for what a configuration leaves open."""
SIDES_OF_2 = (768, 1024)
"""DeepSeek-OCR-2 has learned queries for these sizes alone (``deepencoder2.query_768``, ``query_1024``)."""


def sizes(config: EngineConfig, architectures: tuple[str, ...]) -> Sizes | None:
    """The sizes ``engine.processor_args`` ask for; None for a model of another kind.

    Raises ConfigError for what the model cannot read at: vLLM would start, and die at the first page.
    """
    published = next((PUBLISHED[name] for name in architectures if name in PUBLISHED), None)
    if published is None:
        return None
    for name, value in config.processor_args.items():
        where = f"engine.processor_args.{name}"
        if name not in FIELDS:
            raise ConfigError(f"{where}: DeepSeek-OCR takes {', '.join(FIELDS)} alone")
        if name == "crop_mode":
            if not isinstance(value, bool):
                raise ConfigError(f"{where}: must be true or false, got {value!r}")
        elif not _is_side(value, published):
            allowed = " or ".join(map(str, SIDES_OF_2)) if _is_second(published) else f"a multiple of {STEP}"
            raise ConfigError(f"{where}: must be {allowed}, got {value!r}")
    return replace(published, **config.processor_args)  # type: ignore[arg-type]  # checked above


def processor_args(config: EngineConfig, architectures: tuple[str, ...]) -> dict[str, Any]:
    """The sizes as vLLM's processor takes them: it must be told what its constants say."""
    found = sizes(config, architectures)
    return {} if found is None else {name: getattr(found, name) for name in FIELDS}


def announce(found: Sizes | None) -> None:
    """Set the sizes for this process and those that it starts from now on.

    Raises ConfigError for sizes of one's own where vLLM's processes would not find our plugin.
    """
    if found is None:
        os.environ.pop(ENVIRONMENT, None)
        return
    if found not in PUBLISHED.values() and not entry_points(group=PLUGINS, name="pagefleet"):
        raise ConfigError(
            "DeepSeek-OCR reads at another size than its default only where pagefleet is installed, and not "
            "merely on the path, for vLLM's processes to find its plugin: pip install it"
        )
    os.environ[ENVIRONMENT] = found.to_text()
    found.apply()


def _is_side(value: Any, published: Sizes) -> bool:
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return value in SIDES_OF_2 if _is_second(published) else value > 0 and value % STEP == 0


def _is_second(published: Sizes) -> bool:
    return published.architecture == "DeepseekOCR2ForCausalLM"
