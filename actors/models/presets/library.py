"""The presets that come with pagefleet: one YAML file each, beside this module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from actors.models.presets.schema import Preset

GENERIC = "generic"
"""The preset of a model that has none."""


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name, sorted, the generic one last."""
    files = sorted(Path(__file__).parent.glob("*.yaml"), key=lambda path: (path.stem == GENERIC, path.stem))
    return {path.stem: _read(path) for path in files}


def _read(path: Path) -> Preset:
    preset = Preset.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    if preset.name != path.stem:
        raise ValueError(f"{path}: name must be {path.stem}, got {preset.name}")
    return preset
