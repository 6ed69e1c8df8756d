"""The job's configuration: composition only. Each part lives beside what it configures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from actors.engines.load import check_engine
from actors.engines.settings import EngineConfig
from actors.render.settings import RenderConfig
from actors.retry import RetryPolicy
from aws.settings import S3Config
from cluster.settings import ClusterConfig
from jobs.setting_names import explained, from_environment, parsed, paths_in
from manifests.errors import ConfigError
from manifests.secrets import masked_words
from manifests.units import MAX_BYTES, MAX_DOCUMENTS
from results.fingerprint import CHANGES_RESULT, fingerprint, result_fields
from results.participants import LEASE_S

__all__ = ["JobConfig", "fingerprint", "load_config"]

POSTPROCESSING_VERSION = 1


class InputConfig(BaseModel):
    """Cuts for trial runs. They are shown in the summary and later runs read what they left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_pages: int = Field(0, ge=0, description="Read only the first pages of each document; 0: all.")
    limit: int = Field(0, ge=0, description="Read only the first documents; 0: all.")
    shard_index: int = Field(0, ge=0, description="Which share of the units this process may claim.")
    num_shards: int = Field(1, ge=1, description="How many processes share the input.")
    unit_documents: int = Field(MAX_DOCUMENTS, ge=1, description="Documents at which a unit closes.")
    unit_bytes: int = Field(MAX_BYTES, ge=1, description="Source bytes at which a unit closes.")


class OutputConfig(BaseModel):
    """What is written, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page_images: bool = Field(False, description="Keep each rendered page beside its Markdown.")
    flush_s: float = Field(5.0, gt=0, description="Finished rows are stored at least this often.")
    lease_s: float = Field(
        LEASE_S, gt=0, description="A claim that shows no sign of life for this long is taken over."
    )


class RunConfig(BaseModel):
    """How long a run may take, and how much may fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stall_s: float = Field(
        1800.0, gt=0, description="No page finished for this long: everything is dumped, exit 1."
    )
    deadline_s: float | None = Field(
        None, gt=0, description="Stop, resumable (exit 130), after so many seconds."
    )
    source_outage_s: float = Field(
        600.0,
        gt=0,
        description="Sources that do not answer for this long stop the job (exit 1, resumable).",
    )
    max_failed_share: float = Field(
        0.05, ge=0, le=1, description="Share of pages that may fail before the exit status is 3."
    )
    progress_s: float = Field(10.0, gt=0, description="Seconds between progress lines and log records.")


class JobConfig(BaseModel):
    """Everything a job can be told, besides its inputs and its output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["ocr"] = Field(
        "ocr", description="What is done with each page.", json_schema_extra=CHANGES_RESULT
    )
    variants: dict[str, str] = Field(
        default_factory=dict,
        description="Answers that each page owes, by name, with what is asked for each; empty: one, to the "
        "engine's prompt.",
        json_schema_extra=CHANGES_RESULT,
    )
    input: InputConfig = Field(default_factory=InputConfig)
    render: RenderConfig = Field(default_factory=RenderConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    retry: RetryPolicy = Field(default_factory=RetryPolicy, json_schema_extra=CHANGES_RESULT)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    output: OutputConfig = Field(default_factory=OutputConfig)
    s3: S3Config = Field(default_factory=S3Config)
    run: RunConfig = Field(default_factory=RunConfig)

    def result_fields(self) -> dict[str, Any]:
        """What changes a result, and nothing else: not placement, limits, timeouts, paths or inputs."""
        fields = result_fields(self)
        if not self.variants:  # as before there were any: outputs that are there go on
            del fields["variants"]
        return {"postprocessing": POSTPROCESSING_VERSION, **fields}

    def owed_variants(self) -> tuple[str, ...]:
        """The variants in which each page has a row."""
        return tuple(self.variants) or ("",)

    @field_validator("variants")
    @classmethod
    def _named(cls, variants: dict[str, str]) -> dict[str, str]:
        if not all(variants.keys()) or not all(map(str.strip, variants.values())):
            raise ValueError("must give each variant a name and a prompt")
        return variants


def load_config(
    file: Path | None,
    assignments: Iterable[str],
    flags: Mapping[str, Any],
    base: Mapping[str, Any] | None = None,
) -> JobConfig:
    """Flags over ``--set`` over environment over file over ``base`` over preset over defaults.

    ``assignments`` are ``engine.kind=vllm``; ``flags`` map dotted names to values (None: not given).
    Raises ConfigError naming the field, what is allowed, and the nearest name for an unknown one.
    """
    from actors.models.presets.ladder import ladder_modes
    from jobs.models.choice import merged, over_preset

    below = _read_file(file) if file else {}
    values = merged(deepcopy(dict(base or {})), below)
    origins = dict.fromkeys(paths_in(below), str(file))
    for variable, path, value in from_environment(JobConfig):
        _assign(values, path, value, variable)
        origins[tuple(path)] = variable
    given = [(name, value) for name, value in flags.items() if value is not None]
    for name, value in [*map(_assignment, assignments), *given]:
        _assign(values, name.split("."), value, name)
        origins[tuple(name.split("."))] = ""
    values = over_preset(values)
    try:
        config = JobConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(explained(item, JobConfig, origins) for item in error.errors())) from None
    check_engine(config.engine)
    ladder_modes(config.engine, config.retry)
    if config.input.shard_index >= config.input.num_shards:
        raise ConfigError(
            f"input.shard_index must be below num_shards ({config.input.num_shards}), "
            f"got {config.input.shard_index}: shards count from 0"
        )
    return config


def _read_file(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values or {}, dict):
        raise ConfigError(f"{file}: must hold a mapping like 'engine: {{kind: rapidocr}}'")
    return values or {}


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set {masked_words(text)}: must be like engine.kind=rapidocr")
    return name.strip(), parsed(value)


def _assign(values: dict[str, Any], path: list[str], value: Any, source: str) -> None:
    node = values
    for part in path[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{source}: {part} is not a section")
        node = child
    node[path[-1]] = value
