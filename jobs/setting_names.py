"""Settings by their names, over the models that declare them: which there are, where a value was given, and
what is said of one that cannot be."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from manifests.errors import ConfigError
from manifests.secrets import is_secret, masked, masked_words
from results.fingerprint import section_of

ENV_PREFIX = "PAGEFLEET_"
NOT_SETTINGS = ("PAGEFLEET_TEST_", "PAGEFLEET_SOAK_", "PAGEFLEET_DEEPSEEK_OCR")
"""Starts of variables that are ours and no settings: those of the tests, and what the vllm engine leaves for
its processes."""


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting below a model by its dotted name, sections opened."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            yield f"{prefix}{name}", field
        else:
            yield from settings_of(section, f"{prefix}{name}.")


def variable_of(setting: str) -> str:
    """The environment variable of a setting: ``render.dpi`` is ``PAGEFLEET_RENDER__DPI``."""
    return ENV_PREFIX + setting.upper().replace(".", "__")


def from_environment(model: type[BaseModel]) -> Iterator[tuple[str, list[str], Any]]:
    """Each variable of ours with its path and value. Raises ConfigError for one that sets nothing."""
    known = dict(settings_of(model))
    for variable, text in sorted(os.environ.items()):
        if not variable.startswith(ENV_PREFIX) or variable.startswith(NOT_SETTINGS):
            continue
        path = variable.removeprefix(ENV_PREFIX).lower().split("__")
        if not _is_setting(path, known):
            raise ConfigError(f"{variable}: {_no_setting(path, known)}")
        yield variable, path, parsed(text)


def parsed(text: str) -> Any:
    """A value as YAML reads it, so that numbers, lists and mappings can be given."""
    try:
        return yaml.safe_load(text) if text.strip() else text
    except yaml.YAMLError:
        return text


def paths_in(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value that is no mapping itself."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from paths_in(value, (*above, str(name)))
        else:
            yield (*above, str(name))


def explained(item: Mapping[str, Any], model: type[BaseModel], origins: Mapping[tuple[str, ...], str]) -> str:
    """One of pydantic's complaints, with where the value was given and what would do."""
    path = [str(part) for part in item["loc"]]
    where = _origin(path, origins) + ".".join(path)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _fields(model, path[:-1]), 1, 0.5)
        hint = f"; did you mean {'.'.join([*path[:-1], near[0]])}?" if near else ""
        return f"{where}: no such setting{hint}"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if item["type"] in ("model_type", "model_attributes_type"):
        message = f"is a section: give one of its settings, like {'.'.join(path)}.{_fields(model, path)[0]}"
    given = item["input"]
    shown = masked_words(given) if isinstance(given, str) else masked(given)
    got = "" if any(map(is_secret, path)) else f", got {shown!r}"
    return f"{where}: {message[:1].lower()}{message[1:]}{got}"


def _origin(path: Sequence[str], origins: Mapping[tuple[str, ...], str]) -> str:
    for length in range(len(path), 0, -1):
        if origin := origins.get(tuple(path[:length])):
            return f"{origin}: "
    return ""


def _is_setting(path: Sequence[str], known: Mapping[str, FieldInfo]) -> bool:
    """Whether a path names a setting, or what stands below one that is a mapping."""
    if ".".join(path) in known:
        return True
    above = (known.get(".".join(path[:length])) for length in range(1, len(path)))
    return all(path) and any(field is not None and _is_mapping(field) for field in above)


def _is_mapping(field: FieldInfo) -> bool:
    origin = get_origin(field.annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _no_setting(path: Sequence[str], known: Mapping[str, FieldInfo]) -> str:
    section = ".".join(part for part in path if part)
    first = next((name for name in known if name.startswith(f"{section}.")), "") if section else ""
    if first:
        return f"{section} is a section: give one of its settings, like {variable_of(first)}"
    by_words = {name.rpartition(".")[2]: name for name in reversed(list(known))}
    by_words |= {name.replace(".", "_"): name for name in known}
    near = difflib.get_close_matches("_".join(path), by_words, 1, 0.5)
    return "no such setting" + (f"; did you mean {variable_of(by_words[near[0]])}?" if near else "")


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    section: type[BaseModel] | None = model
    for part in path:
        field = section.model_fields.get(part) if section else None
        section = section_of(field) if field else None
    return list(section.model_fields) if section else []
