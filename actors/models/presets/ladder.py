"""The modes a retry ladder climbs through: what each asks, by the preset, and how the model answers."""

from __future__ import annotations

from actors.engines.prompts import Asking
from actors.engines.settings import EngineConfig
from actors.models.presets.library import presets
from actors.models.presets.schema import SUBJECT, Mode
from actors.retry import RetryPolicy
from manifests.errors import ConfigError

PER_REQUEST = {"sampling": {"max_tokens"}}
"""Settings of a mode that a single request can carry, by section of ``engine``."""


def ladder_modes(config: EngineConfig, policy: RetryPolicy) -> dict[str, Asking]:
    """What the policy's modes ask. Raises ConfigError for a mode that there is not, or that would have to
    be set when the engine loads."""
    return {name: _asking(config, name) for name in dict.fromkeys(policy.modes) if name}


def _asking(config: EngineConfig, name: str) -> Asking:
    preset = presets().get(config.preset)
    if preset is None or name not in preset.modes:
        has = f"{preset.name} has {', '.join(preset.modes)}" if preset else f"{config.kind} has none"
        raise ConfigError(f"retry.modes: {has}; got {name!r}")
    mode = preset.modes[name]
    if SUBJECT in mode.prompt and not config.subject:
        raise ConfigError(f"retry.modes: {name}: say what to look for (engine.subject)")
    prompt = mode.prompt.replace(SUBJECT, config.subject)
    return Asking(prompt, mode.dialect, _max_tokens(name, mode))


def _max_tokens(name: str, mode: Mode) -> int:
    engine = mode.settings.get("engine", {})
    settings = {section: values for section, values in engine.items() if isinstance(values, dict)}
    others = [
        f"{section}.{field}"
        for section, values in settings.items()
        for field in set(values) - PER_REQUEST.get(section, set())
    ]
    others += [*(set(engine) - set(settings)), *(set(mode.settings) - {"engine"})]
    if others:
        raise ConfigError(
            f"retry.modes: {name} sets {', '.join(sorted(others))}, which is set when an engine loads: read "
            f"again with --mode {name} instead"
        )
    found = settings.get("sampling", {}).get("max_tokens", 0)
    return found if isinstance(found, int) else 0
