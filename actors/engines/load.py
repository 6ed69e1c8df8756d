"""From a configuration to a loaded engine. Heavy libraries are imported here, when one is loaded."""

from __future__ import annotations

from pydantic import ValidationError

from actors.engines.base import Engine, Footprint
from actors.engines.openai.address import server_addresses
from actors.engines.openai.key import check_name
from actors.engines.scripted.engine import Script, ScriptedEngine
from actors.engines.settings import EngineConfig, Sampling
from actors.engines.transformers.memory import parse_max_memory
from actors.models.weights.guard import check_model
from actors.postprocess.dialects import DIALECTS
from actors.scripts.languages import needs_tesseract
from manifests.errors import ConfigError

OCR_KINDS = ("rapidocr", "tesseract", "auto")
MODEL_KINDS = ("vllm", "transformers", "openai")
KINDS = (*OCR_KINDS, *MODEL_KINDS, "scripted")
MODEL_FIELDS = (
    "model",
    "preset",
    "revision",
    "mode",
    "size",
    "subject",
    "prompt",
    "dialect",
    "gpus",
    "max_tiles",
)
FIELDS_NOT_TAKEN = {
    "rapidocr": (*MODEL_FIELDS, "lang"),
    "tesseract": (*MODEL_FIELDS, "engine_args"),
    "auto": MODEL_FIELDS,
    "vllm": ("lang",),
    "transformers": ("lang",),
    "openai": (
        *("lang", "gpus", "device", "tensor_parallel_size", "dtype", "trust_remote_code"),
        *("max_tiles", "processor_args", "engine_args"),
    ),
}
NOTHING_SET = EngineConfig()
MODEL_CPUS = 1.0
"""Cores of a replica that computes on a GPU: its process prepares images and samples."""


def check_engine(config: EngineConfig) -> None:
    """Raise ConfigError for a configuration no engine can be loaded from. Loads nothing."""
    if config.kind not in KINDS:
        raise ConfigError(f"engine.kind must be one of {', '.join(KINDS)}; got {config.kind!r}")
    if config.kind == "scripted":
        _script(config)
    if config.openai.server_urls:  # now, because what is accepted is stored, and these may hold a key
        server_addresses(config.openai.server_urls)
    check_name(config.openai.api_key_env)
    if config.dialect and config.dialect not in DIALECTS:
        raise ConfigError(f"engine.dialect must be one of {', '.join(DIALECTS)}; got {config.dialect!r}")
    _check_sampling(config.sampling)
    parse_max_memory(config.transformers.max_memory)


def check_taken(config: EngineConfig) -> None:
    """Raise ConfigError for a setting that this kind of engine would ignore."""
    for name in FIELDS_NOT_TAKEN.get(config.kind, ()):
        if getattr(config, name) != getattr(NOTHING_SET, name):
            raise ConfigError(f"engine.{name}: {config.kind} takes none; leave it out")
    for kind in MODEL_KINDS:
        given = getattr(config, kind)
        if kind != config.kind and given != type(given)():
            raise ConfigError(f"engine.{kind}: for the {kind} engine, but the engine is {config.kind}")
    if config.device == "cpu" and config.gpus:
        raise ConfigError(f"engine.gpus: {config.gpus}, but engine.device=cpu: leave out one of them")
    if config.kind in OCR_KINDS and (config.device == "cuda" or config.tensor_parallel_size > 1):
        raise ConfigError(
            f"{config.kind} reads on the CPU, but the job asks for GPUs (device, tensor_parallel_size): "
            "leave them out, or choose --engine vllm or transformers with --model"
        )


def footprint(config: EngineConfig) -> Footprint:
    """What one replica of this engine occupies."""
    check_engine(config)
    if config.kind == "scripted":
        script = _script(config)
        return Footprint(num_cpus=script.num_cpus, num_gpus=script.num_gpus)
    if config.kind == "openai":
        return Footprint(num_cpus=0.1, takes_jpeg=True)
    if config.kind in MODEL_KINDS:
        gpus = 0 if config.device == "cpu" else config.tensor_parallel_size
        return Footprint(num_cpus=MODEL_CPUS, num_gpus=gpus)
    return Footprint(num_cpus=1.0, memory_bytes=10**9)  # Ray gives a replica as many threads as cores


def load_engine(config: EngineConfig) -> Engine:
    """Load the engine into this process. Raises ConfigError, or whatever the library says."""
    check_engine(config)
    if config.kind == "scripted":
        return ScriptedEngine(_script(config))
    if config.kind in MODEL_KINDS:
        return _load_model(config)
    if config.kind == "tesseract" or (config.kind == "auto" and needs_tesseract(config.lang)):
        from actors.engines.tesseract.engine import TesseractEngine

        return TesseractEngine(config.lang)
    try:
        if config.kind == "auto":
            from actors.engines.auto.engine import AutoEngine

            return AutoEngine(config.lang, config.engine_args)
        from actors.engines.rapidocr.engine import RapidOcrEngine

        return RapidOcrEngine(config.engine_args)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"engine.engine_args: rapidocr does not take these: {error}") from error


def _load_model(config: EngineConfig) -> Engine:
    check_model(config)
    try:
        if config.kind == "openai":
            from actors.engines.openai.engine import OpenAiEngine

            return OpenAiEngine(config)
        if config.kind == "transformers":
            from actors.engines.transformers.engine import TransformersEngine

            return TransformersEngine(config)
        from actors.engines.vllm.engine import VllmEngine

        return VllmEngine(config)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the {config.kind} engine needs a package that is not installed here ({error.name}): "
            f"pip install -e '.[{config.kind}]' in pagefleet's folder, on every node"
        ) from error


def _check_sampling(sampling: Sampling) -> None:
    """Engines would refuse the first at each page, and of the second nobody would notice."""
    if sampling.min_tokens > sampling.max_tokens:
        raise ConfigError(
            f"engine.sampling.min_tokens: {sampling.min_tokens} are more than "
            f"engine.sampling.max_tokens allows ({sampling.max_tokens})"
        )
    if sampling.ngram_size and sampling.ngram_window <= sampling.ngram_size:
        raise ConfigError(
            f"engine.sampling.ngram_window: {sampling.ngram_window} tokens hold no run of "
            f"engine.sampling.ngram_size ({sampling.ngram_size}) twice: a wider window, or ngram_size=0 for "
            "no guard"
        )


def _script(config: EngineConfig) -> Script:
    try:
        return Script.model_validate(dict(config.engine_args))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"engine.engine_args.{where}: {first['msg']}") from error
