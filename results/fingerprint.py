"""The fingerprint: a digest of the settings that change a result, which say so where they are declared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from hashlib import blake2b
from operator import getitem
from typing import Any

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from manifests.secrets import without_secrets

SCHEMA = 2
"""Of what the digest is made of. Another one is no reason to refuse an output: see ``jobs.job_file``."""
MARK = "changes_result"
CHANGES_RESULT: dict[str, JsonValue] = {MARK: True}
"""For ``Field(json_schema_extra=…)``. A section that is so marked counts as a whole."""


def changes_result_if(conditions: Mapping[str, Sequence[str]]) -> dict[str, JsonValue]:
    """The same for a field that counts only where other settings, by their dotted names, are one of these."""
    return {MARK: {setting: list(values) for setting, values in conditions.items()}}


def result_fields(config: BaseModel) -> dict[str, Any]:
    """Each marked field by its dotted name, as JSON has its value. Secrets are left out."""
    values = config.model_dump(mode="json")
    return {name: without_secrets(value) for name, value in _marked(type(config), values, values, "")}


def fingerprint(fields: Mapping[str, Any]) -> str:
    """A short digest of what changes a result."""
    canonical = json.dumps({"schema": SCHEMA, **fields}, sort_keys=True, default=str)
    return blake2b(canonical.encode(), digest_size=8).hexdigest()


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a field that is a section of settings."""
    inner = field.annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def mark_of(field: FieldInfo) -> JsonValue:
    """What a field says of itself: True, conditions, or None where it says nothing."""
    extra = field.json_schema_extra
    return extra.get(MARK) if isinstance(extra, dict) else None


def _marked(
    model: type[BaseModel], values: Mapping[str, Any], every: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        mark, section = mark_of(field), section_of(field)
        if mark is None and section is not None:
            yield from _marked(section, values[name], every, f"{prefix}{name}.")
        elif mark is True or (isinstance(mark, dict) and _holds(mark, every)):
            yield f"{prefix}{name}", values[name]


def _holds(conditions: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(
        reduce(getitem, setting.split("."), values) in allowed for setting, allowed in conditions.items()
    )
