"""The settings of a retry: those of the job, with what may change changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.config import JobConfig, load_config
from jobs.factories import open_store
from jobs.job_file import fingerprint_on, read_job
from jobs.models.begun import as_begun
from manifests.errors import ConfigError, InputError


def retry_config(out: str, file: Path | None, sets: Sequence[str], flags: Mapping[str, Any]) -> JobConfig:
    """Raises ConfigError when a setting would change results: that is a new generation's business."""
    given = load_config(file, sets, flags)
    job = read_job(open_store(out, given.s3))
    if job is None:
        raise InputError(f"{out} holds no pagefleet job: nothing to retry")
    again = load_config(file, sets, flags, base=job.config.model_dump(mode="json"))
    config = as_begun(again, job.config)
    if fingerprint_on(config, job) != job.fingerprint:
        raise ConfigError(
            "a retry cannot change settings that change results: use 'pagefleet ocr … --new-generation'"
        )
    return config
