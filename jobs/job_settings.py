"""The settings that ``job.json`` holds: which of them are stored, and whether a job may go on under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from jobs.config import JobConfig
from manifests.secrets import masked, without_secrets
from results.fingerprint import SCHEMA, fingerprint

if TYPE_CHECKING:
    from jobs.job_file import JobFile

RENAMED = {("run", "max_failed"): "max_failed_share"}
"""Settings of outputs that earlier versions began."""
JsonObject = TypeAdapter(dict[str, Any])
FIRST = 1
"""The schema of fingerprints, and the version of postprocessing, of outputs that name none."""


def to_store(config: JobConfig) -> Any:
    """A configuration as JSON, with a mask for every secret."""
    return masked(config.model_dump(mode="json"))


def from_store(fields: Mapping[str, Any]) -> JobConfig:
    """A stored configuration by the names of today; a masked secret is none. Raises ValueError for others."""
    sections = JsonObject.validate_python(without_secrets(fields))
    for (section, old), new in RENAMED.items():
        values = sections.get(section)
        if isinstance(values, dict) and old in values:
            values[new] = values.pop(old)
    return JobConfig.model_validate(sections)


def fingerprint_on(config: JobConfig, stored: JobFile | None) -> str:
    """A configuration's fingerprint on an output: the stored one where nothing has changed since but how
    fingerprints are made, so that outputs of earlier versions go on."""
    fields = config.result_fields()
    if stored is None or stored.schema == SCHEMA:
        return fingerprint(fields)
    then = stored.config.result_fields() | {"postprocessing": stored.postprocessing}
    return stored.fingerprint if fields == then else fingerprint(fields)
