"""From a configuration to a loaded engine. Heavy libraries are imported here, when one is loaded."""

from __future__ import annotations

from pydantic import ValidationError

from actors.engines.base import Engine, EngineConfig, Footprint
from actors.engines.languages import needs_tesseract
from actors.engines.scripted import Script, ScriptedEngine
from manifests.errors import ConfigError

KINDS = ("rapidocr", "tesseract", "auto", "scripted")
FIELDS_NOT_TAKEN = {
    "rapidocr": ("model", "mode", "prompt", "lang"),
    "tesseract": ("model", "mode", "prompt", "engine_args"),
    "auto": ("model", "mode", "prompt"),
}


def check_engine(config: EngineConfig) -> None:
    """Raise ConfigError for a configuration no engine can be loaded from. Loads nothing."""
    if config.kind not in KINDS:
        raise ConfigError(f"engine.kind must be one of {', '.join(KINDS)}; got {config.kind!r}")
    if config.kind == "scripted":
        _script(config)


def check_taken(config: EngineConfig) -> None:
    """Raise ConfigError for a setting that this kind of engine would ignore."""
    for name in FIELDS_NOT_TAKEN.get(config.kind, ()):
        if getattr(config, name):
            raise ConfigError(f"engine.{name}: {config.kind} takes none; leave it out")


def footprint(config: EngineConfig) -> Footprint:
    """What one replica of this engine occupies."""
    check_engine(config)
    if config.kind == "scripted":
        script = _script(config)
        return Footprint(num_cpus=script.num_cpus, num_gpus=script.num_gpus)
    return Footprint(num_cpus=1.0, memory_bytes=10**9)  # Ray gives a replica as many threads as cores


def load_engine(config: EngineConfig) -> Engine:
    """Load the engine into this process. Raises ConfigError, or whatever the library says."""
    check_engine(config)
    if config.kind == "scripted":
        return ScriptedEngine(_script(config))
    if config.kind == "tesseract" or (config.kind == "auto" and needs_tesseract(config.lang)):
        from actors.engines.tesseract import TesseractEngine

        return TesseractEngine(config.lang)
    try:
        if config.kind == "auto":
            from actors.engines.auto import AutoEngine

            return AutoEngine(config.lang, config.engine_args)
        from actors.engines.rapidocr import RapidOcrEngine

        return RapidOcrEngine(config.engine_args)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"engine.engine_args: rapidocr does not take these: {error}") from error


def _script(config: EngineConfig) -> Script:
    try:
        return Script.model_validate(dict(config.engine_args))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"engine.engine_args.{where}: {first['msg']}") from error
