"""From a model's name to its settings: the preset as the lowest layer of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pydantic

from actors.engines.load import MODEL_KINDS
from actors.engines.prompts import split_prompt
from actors.engines.settings import EngineConfig
from actors.models.presets.choice import Choice, choose
from actors.models.presets.identity import hub_commit, model_identity
from actors.models.presets.schema import SUBJECT, Mode, Preset, Settings
from manifests.errors import ConfigError, EngineError

WHOLE = ("engine_args", "extra_body")
"""Settings that replace what is below them as a whole: their names are not ours to merge."""


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of settings over another, setting by setting."""
    result = dict(below)
    for name, value in above.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and name not in WHOLE:
            value = merged(old, value)
        result[name] = value
    return result


def over_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values over those of their model's preset, with model, preset, mode, size and prompt resolved.

    Values that name no model, or that are malformed, come back as they are. What is resolved once stays
    as it is when resolved again. Raises ConfigError for a model, mode or size that there is not, and for
    a prompt that does not fit a page.
    """
    engine = values.get("engine")
    if not isinstance(engine, Mapping):
        return dict(values)
    engine = {**engine, **_kind_found_here(engine)}
    try:
        asked = EngineConfig.model_validate(engine)
    except pydantic.ValidationError:
        return dict(values)  # told, with where it stands, by whoever validates the whole
    if asked.kind not in MODEL_KINDS:
        return dict(values)
    choice = choose(asked.model, asked.kind, asked.preset)
    _check_remote_code(choice, asked)
    mode_name, mode = _mode(choice.preset, asked.mode)
    size_name, size_settings = _size(choice.preset, asked.size, asked.kind)
    resolved = {
        "kind": asked.kind,
        "model": choice.model,
        "model_identity": _identity(choice, asked.kind, asked.revision or choice.revision),
        "preset": choice.preset.name,
        "revision": asked.revision or choice.revision,
        "mode": mode_name,
        "size": size_name,
        "prompt": asked.prompt or _preset_prompt(mode_name, mode, asked.subject),
        "dialect": asked.dialect or mode.dialect,
    }
    _check_prompt(resolved["prompt"], asked.images_per_prompt)
    parts = (choice.preset.engine_settings.get(asked.kind, {}), size_settings, mode.settings)
    layer = reduce(merged, parts, dict(choice.preset.settings))
    layer = _without_rivals(_for_engine(layer, asked.kind), values)
    return reduce(merged, ({**values, "engine": engine}, {"engine": resolved}), layer)


def _kind_found_here(engine: Mapping[str, Any]) -> dict[str, str]:
    """transformers for a model when only that is installed; vllm, the rule, is implied elsewhere."""
    implied = (engine.get("model") or engine.get("preset")) and not engine.get("kind")
    servers = engine.get("openai")
    if not implied or (isinstance(servers, Mapping) and servers.get("server_urls")):
        return {}
    here = find_spec("vllm") is None and find_spec("transformers") is not None
    return {"kind": "transformers"} if here else {}


def _check_remote_code(choice: Choice, asked: EngineConfig) -> None:
    form = choice.form
    if form is None or not form.needs_remote_code or asked.trust_remote_code or asked.kind == "openai":
        return
    raise ConfigError(
        f"engine.model: {choice.model} needs code that comes with its weights, which runs with your rights: "
        f"take --model {choice.preset.name}, which needs none, or give --set engine.trust_remote_code=true"
    )


def _mode(preset: Preset, asked: str) -> tuple[str, Mode]:
    name = asked or preset.default_mode
    if name not in preset.modes:
        raise ConfigError(f"engine.mode: {preset.name} has {', '.join(preset.modes)}; got {name!r}")
    return name, preset.modes[name]


def _size(preset: Preset, asked: str, kind: str) -> tuple[str, Settings]:
    if kind not in preset.sized_by:
        if asked:
            engines = ", ".join(preset.sized_by)
            why = f"only {engines} can be told it" if engines else "there is only one"
            raise ConfigError(f"engine.size: {preset.name} takes none in {kind} ({why}); got {asked!r}")
        return "", {}
    name = asked or preset.default_size
    if name not in preset.sizes:
        raise ConfigError(f"engine.size: {preset.name} has {', '.join(preset.sizes)}; got {name!r}")
    return name, preset.sizes[name].settings


def _preset_prompt(mode_name: str, mode: Mode, subject: str) -> str:
    if (SUBJECT in mode.prompt) != bool(subject):
        what = "say what to look for" if SUBJECT in mode.prompt else "looks for nothing; leave it out"
        raise ConfigError(f"engine.subject: mode {mode_name}: {what}")
    return mode.prompt.replace(SUBJECT, subject)


def _identity(choice: Choice, kind: str, revision: str) -> str:
    if kind == "openai":
        return ""  # a server's path is not ours to read
    if Path(choice.model).is_absolute():
        return model_identity(Path(choice.model))
    return hub_commit(choice.model, revision)


def _check_prompt(prompt: str, images: int) -> None:
    try:
        split_prompt(prompt, images)
    except EngineError as error:
        if images == 1:
            raise ConfigError(f"engine.prompt: a page is one image, but {error}") from error
        raise ConfigError(f"engine.prompt: engine.images_per_prompt is {images}, but {error}") from error


def _for_engine(layer: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Without what is for other engines."""
    others = {name for name in MODEL_KINDS if name != kind}
    engine = {name: value for name, value in layer.get("engine", {}).items() if name not in others}
    return {**layer, "engine": engine}


def _without_rivals(layer: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Without a resolution in the one unit where the user gave one in the other."""
    given = values.get("render")
    given = given if isinstance(given, Mapping) else {}
    rivals = {"longest_side": "dpi", "dpi": "longest_side"}
    render = {name: value for name, value in layer.get("render", {}).items() if rivals.get(name) not in given}
    return {**layer, "render": render}
