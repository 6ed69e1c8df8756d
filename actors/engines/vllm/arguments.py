"""From our configuration to vLLM's engine arguments. Loads no model."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from pydantic import TypeAdapter, ValidationError
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.platforms import current_platform

from actors.engines.settings import EngineConfig
from actors.engines.vllm.deepseek import processor_args
from manifests.errors import ConfigError

OUR_FIELDS = {
    "model": "model",
    "revision": "revision",
    "dtype": "dtype",
    "trust_remote_code": "trust_remote_code",
    "tensor_parallel_size": "tensor_parallel_size",
    "gpu_memory_utilization": "vllm.gpu_memory_utilization",
    "max_model_len": "vllm.max_model_len",
    "max_num_seqs": "vllm.max_num_seqs",
    "max_num_batched_tokens": "vllm.max_num_batched_tokens",
    "kv_cache_dtype": "vllm.kv_cache_dtype",
    "enforce_eager": "vllm.enforce_eager",
    "mm_encoder_tp_mode": "vllm.mm_encoder_tp_mode",
    "enable_prefix_caching": "vllm.enable_prefix_caching",
    "mm_processor_cache_gb": "vllm.mm_processor_cache_gb",
    "mm_processor_kwargs": "processor_args",
    "seed": "sampling.seed",
}
"""vLLM's argument to the field of ours that sets it."""
FP8_WEIGHTS = "fp8_per_channel"
"""A scale per output channel and token: what calibrated FP8 checkpoints use; ``fp8`` is deprecated."""
NGRAM_GUARD = "vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor"
TILE_ARGUMENTS = {
    "InternVLChatModel": "max_dynamic_patch",
    "InternVLForConditionalGeneration": "max_patches",
    "InternS1ForConditionalGeneration": "max_patches",
}
"""What the image processor of an architecture calls the most tiles an image is cut into."""
OTHER_MODALITIES = {"video": 0, "audio": 0}
"""vLLM reserves memory for what a model could be given, and pages are images."""
CPU_SHARE = 0.5
"""On the CPU vLLM takes a share of the machine's memory, which others live in too."""
LEFT_TO_VLLM = {"enum"}
"""Kinds of errors that are none: vLLM takes the names of enumerations too."""


def engine_arguments(config: EngineConfig, architectures: tuple[str, ...]) -> AsyncEngineArgs:
    """All arguments vLLM is started with. Raises ConfigError for those it would not take, or ignore."""
    check_engine_args(config)
    extra: dict[str, Any] = dict(config.engine_args)
    guard = [NGRAM_GUARD] if config.sampling.ngram_size else []
    limits = {**OTHER_MODALITIES, **extra.pop("limit_mm_per_prompt", {}), "image": config.images_per_prompt}
    processors = [*guard, *(extra.pop("logits_processors", None) or [])]
    return AsyncEngineArgs(
        **{
            **{name: attrgetter(field)(config) for name, field in OUR_FIELDS.items()},
            **_placement(config),
            "revision": config.revision or None,
            "max_num_batched_tokens": max(config.vllm.max_num_batched_tokens, config.vllm.max_num_seqs),
            "kv_cache_dtype": _kv_cache_dtype(config),
            "mm_processor_kwargs": _processor_kwargs(config, architectures),
            "limit_mm_per_prompt": limits,
            "logits_processors": processors or None,
            "quantization": FP8_WEIGHTS if config.vllm.fp8_weights else None,
            "disable_log_stats": True,
            **extra,
        }
    )


def check_engine_args(config: EngineConfig) -> None:
    """Raise ConfigError for ``engine_args`` that vLLM does not know or that a field of ours sets."""
    kinds = {field.name: field.type for field in dataclasses.fields(AsyncEngineArgs)}
    ours = dict(OUR_FIELDS)
    if config.vllm.fp8_weights:
        ours["quantization"] = "vllm.fp8_weights"
    for name, value in config.engine_args.items():
        where = f"engine.engine_args.{name}"
        if name in ours:
            raise ConfigError(f"{where}: set engine.{ours[name]} in its place")
        if name not in kinds:
            raise ConfigError(f"{where}: vLLM has no such argument{did_you_mean(name, kinds)}")
        _check_kind(where, kinds[name], value)
    taken: dict[str, Any] = dict(config.engine_args)
    if "image" in taken.get("limit_mm_per_prompt", {}):
        raise ConfigError(
            "engine.engine_args.limit_mm_per_prompt.image: set engine.images_per_prompt in its place"
        )
    for path in taken.get("logits_processors") or ():
        _check_importable(path)


def check_model_arguments(config: EngineConfig, settings: Any) -> None:
    """Raise ConfigError for what the model would ignore in silence. ``settings`` is vLLM's configuration."""
    try:
        info = MULTIMODAL_REGISTRY.create_processor(settings.model_config).info
    except (ValueError, OSError, TypeError, AttributeError) as error:
        raise ConfigError(f"{config.model} takes no images in vLLM: {error}") from error
    taken: dict[str, Any] = dict(config.engine_args)
    for name in taken.get("limit_mm_per_prompt", {}):
        if name not in info.supported_mm_limits:
            raise ConfigError(
                f"engine.engine_args.limit_mm_per_prompt.{name}: the model takes "
                + " and ".join(info.supported_mm_limits)
            )
    names = _processor_names(info)
    for name in config.processor_args:
        if names and name not in names:
            raise ConfigError(
                f"engine.processor_args.{name}: the model's processor takes no such argument"
                f"{did_you_mean(name, names)}"
            )


def _processor_names(info: Any) -> set[str]:
    """The names a processor takes; empty where it cannot tell (processors of vLLM's own)."""
    try:
        scopes: dict[str, set[str]] = info.supported_mm_processor_kwargs
    except (AttributeError, KeyError, TypeError, NameError):
        return set()
    return set(scopes).union(*scopes.values())


def did_you_mean(name: str, known: Mapping[str, Any] | set[str]) -> str:
    """``; did you mean …?``, or nothing where no name is near."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _check_kind(where: str, kind: Any, value: Any) -> None:
    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        wrong = [item for item in error.errors() if item["type"] not in LEFT_TO_VLLM]
        if wrong:
            inner = "".join(f".{part}" for part in wrong[0]["loc"] if str(part) in str(value))
            message = wrong[0]["msg"].replace("Input should be", "must be")
            raise ConfigError(
                f"{where}{inner}: {message[:1].lower()}{message[1:]}, got {wrong[0]['input']!r}"
            ) from None


def _check_importable(path: str) -> None:
    """vLLM would say nothing of a logits processor that is not there, and go on without it."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"engine.engine_args.logits_processors: {path!r}: {error}") from error
    if found is None:
        raise ConfigError(
            f"engine.engine_args.logits_processors: {path!r}: must be like package.module:ClassName"
        )


def _placement(config: EngineConfig) -> dict[str, Any]:
    """How the model lies on its GPUs."""
    mode, size = config.vllm.mm_encoder_tp_mode, config.tensor_parallel_size
    if mode == "auto":
        mode = "data" if size > 1 else "weights"  # vLLM goes back to weights where the model cannot
    share = config.vllm.gpu_memory_utilization
    placement: dict[str, Any] = {
        "tensor_parallel_size": size,
        "gpu_memory_utilization": min(share, CPU_SHARE) if current_platform.is_cpu() else share,
        "mm_encoder_tp_mode": mode,
    }
    if size > 1:  # left alone, vLLM would place Ray actors of its own when it finds itself in one
        placement["distributed_executor_backend"] = "mp"
    return placement


def _kv_cache_dtype(config: EngineConfig) -> str:
    if config.vllm.kv_cache_dtype != "auto":
        return config.vllm.kv_cache_dtype
    can = not current_platform.is_cpu() and current_platform.supports_fp8()
    return "fp8" if can else "auto"


def _processor_kwargs(config: EngineConfig, architectures: tuple[str, ...]) -> dict[str, Any] | None:
    arguments = {**config.processor_args, **processor_args(config, architectures)}
    if config.max_tiles is not None:
        names = {TILE_ARGUMENTS[name] for name in architectures if name in TILE_ARGUMENTS}
        if not names:
            raise ConfigError(
                f"engine.max_tiles: {', '.join(architectures) or config.model} cuts no images into tiles: "
                "leave it out; engine.processor_args says how large images may be"
            )
        arguments |= dict.fromkeys(names, config.max_tiles)
    return arguments or None
