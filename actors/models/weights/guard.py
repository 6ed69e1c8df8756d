"""The check before an engine loads a model: a folder that cannot work is refused in words of ours."""

from __future__ import annotations

from pathlib import Path

from actors.engines.settings import EngineConfig
from actors.models.weights.check import check_folder
from actors.models.weights.report import ModelFinding, ModelReport, Topic
from manifests.errors import ConfigError

CHECKED_KINDS = ("vllm", "transformers")
SAFETENSORS_FORMATS = (None, "auto", "hf", "safetensors")
"""vLLM's load formats that read the files we look at; ``dummy`` and the rest do without."""
MAX_REASONS = 5


def check_model(config: EngineConfig, *, must_exist: bool = True) -> None:
    """Raise ConfigError with the first problems of the model an engine is about to load.

    A hub id is left to the engine's library, unless the hub may not be asked (``HF_HUB_OFFLINE``).
    Where not ``must_exist``, the model's folder may be on other machines only.
    """
    if config.kind not in CHECKED_KINDS or not config.model:
        return
    from actors.models.weights import locate  # half a second of huggingface_hub, only for who loads models

    if locate.names_folder(config.model):
        folder = Path(config.model).expanduser()
        if not folder.is_dir() and not must_exist:
            return
    elif locate.is_offline():
        folder = locate.locate_model(config.model, config.revision)
    else:
        return
    if problems := serious(check_folder(folder), config):
        reasons = [problem.message for problem in problems[:MAX_REASONS]]
        raise ConfigError(
            "\n".join([*reasons, f"'pagefleet models check {config.model}' tells all there is"])
        )


def serious(report: ModelReport, config: EngineConfig) -> list[ModelFinding]:
    """The problems that concern this configuration: what it replaces by other means may be missing."""
    replaced = set()
    if config.engine_args.get("tokenizer"):
        replaced.add(Topic.TOKENIZER)
    if config.engine_args.get("load_format") not in SAFETENSORS_FORMATS:
        replaced.add(Topic.WEIGHTS)
    return [problem for problem in report.problems if problem.topic not in replaced]
