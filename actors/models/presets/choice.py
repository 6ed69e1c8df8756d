"""From what a user calls a model to its preset and where its weights are."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.models.presets.library import GENERIC, presets
from actors.models.presets.schema import Form, Preset
from manifests.errors import ConfigError

WHAT_A_MODEL_IS = "a preset, a local folder or a hub id"


@dataclass(frozen=True, slots=True)
class Choice:
    """A model: its preset, its folder or hub id (``""``: what the server serves), the form it has.

    ``form`` is None where nothing is known of the checkpoint; ``revision`` is the one pinned, if any.
    """

    preset: Preset
    model: str
    form: Form | None = None
    revision: str = ""


def choose(model: str, kind: str, preset: str = "") -> Choice:
    """The model for an engine of this kind. ``preset`` is one the user insists on.

    ``model`` is a preset's name (``internvl3.5``, with weights ``internvl3.5:2b``), a local folder or a
    hub id; for openai also any name a server knows. Raises ConfigError for what it can be none of, and
    for a model this kind of engine does not load.
    """
    if not model and preset in ("", GENERIC):
        if kind == "openai":
            return Choice(presets()[GENERIC], "")
        raise ConfigError(f"engine.model: the {kind} engine needs {WHAT_A_MODEL_IS}, as in --model qwen3-vl")
    if preset and preset not in presets():
        raise ConfigError(_unknown("engine.preset", preset, "a preset"))
    wanted = presets()[preset] if preset else None
    choice = _find(model or preset, kind, wanted)
    if kind != "openai" and choice.form and kind not in choice.form.engines:
        raise ConfigError(_wrong_engine(choice, choice.form, kind))
    return choice


def _find(model: str, kind: str, wanted: Preset | None) -> Choice:
    name, _, weights = model.partition(":")
    if name in presets() and name != GENERIC:
        found = _checkpoint(presets()[name], weights, kind)
        return replace(found, preset=wanted or found.preset)
    folder = Path(model).expanduser().absolute()
    if folder.is_dir():
        preset, form = _by_architecture(_read_config(folder))
        return Choice(wanted or preset, str(folder), form)
    if listed := _listed(model):
        return replace(listed, preset=wanted or listed.preset)
    if kind != "openai":  # a server's names are its own
        if model.startswith((".", "/", "~")):
            raise ConfigError(
                f"engine.model: {model}: no such folder here. The machine that starts a job on a cluster "
                "must see it too: its content is part of what a result depends on"
            )
        if "/" not in model:
            raise ConfigError(_unknown("engine.model", model, WHAT_A_MODEL_IS))
    return Choice(wanted or presets()[GENERIC], model)


def _checkpoint(preset: Preset, weights: str, kind: str) -> Choice:
    weights = weights or preset.default_weights
    if weights not in preset.weights:
        raise ConfigError(
            f"engine.model: {preset.name} has the weights {', '.join(preset.weights)}; got {weights!r}"
        )
    forms = [form for form in preset.forms if weights in form.checkpoints]
    form = next((form for form in forms if kind in form.engines), forms[0])
    return Choice(preset, form.checkpoints[weights], form, form.revisions.get(weights, ""))


def _listed(hub_id: str) -> Choice | None:
    """The preset that lists a hub id."""
    for preset in presets().values():
        for form in preset.forms:
            for weights, listed in form.checkpoints.items():
                if listed == hub_id:
                    return Choice(preset, listed, form, form.revisions.get(weights, ""))
    return None


def _by_architecture(config: Mapping[str, Any]) -> tuple[Preset, Form | None]:
    """The preset for a model folder's configuration; where only the text model is another, the nearest."""
    text = config.get("text_config") or config.get("llm_config")
    text_type = text.get("model_type") if isinstance(text, dict) else None
    nearest: tuple[Preset, Form | None] = presets()[GENERIC], None
    for preset in presets().values():
        for form in preset.forms:
            if form.architecture in _strings(config.get("architectures")):
                if not form.text_model_types or text_type in form.text_model_types:
                    return preset, form
                nearest = preset, form
    return nearest


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"engine.model: {path}: {error.strerror}: a model folder holds config.json, tokenizer and weights"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"engine.model: {path}: not JSON ({error}): 'pagefleet models check {folder}' tells more"
        ) from error
    if not isinstance(config, dict):
        raise ConfigError(f"engine.model: {path}: must hold a JSON object")
    return config


def _strings(values: object) -> Iterable[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _unknown(field: str, name: str, what: str) -> str:
    near = difflib.get_close_matches(name.lower().partition(":")[0], set(presets()) - {GENERIC}, 2, 0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{field} must be {what}; got {name!r}: {hint}'pagefleet models list' shows the presets"


def _wrong_engine(choice: Choice, form: Form, kind: str) -> str:
    what = f"engine.model: {choice.preset.name} ({choice.model}) does not load in {kind}"
    weights = next((name for name, hub_id in form.checkpoints.items() if hub_id == choice.model), "")
    for other in choice.preset.forms:
        if kind in other.engines and other.checkpoints:
            near = other.checkpoints.get(weights) or next(iter(other.checkpoints.values()))
            return f"{what}: take the form that does, {near}"
    engines = " or ".join(f"--engine {engine}" for engine in form.engines)
    return f"{what}: choose {engines}, or a server that has it by --server-url"
