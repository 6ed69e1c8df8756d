"""The job's configuration: composition only. Each part lives beside what it configures."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from actors.engines.config import EngineConfig
from actors.engines.load import MODEL_KINDS, check_engine
from actors.render.config import RenderConfig
from actors.retry import RetryPolicy
from aws.config import S3Config
from cluster.config import ClusterConfig
from jobs.models.choice import merged, over_preset
from manifests.errors import ConfigError
from manifests.units import MAX_BYTES, MAX_DOCUMENTS
from results.participants import LEASE_S

ENV_PREFIX = "PAGEFLEET_"
POSTPROCESSING_VERSION = 1

RENDER_FIELDS_OF_THE_RESULT = ("dpi", "longest_side", "max_pixels", "skip_blank", "text_layer")
ENGINE_FIELDS_OF_THE_RESULT = ("kind", "model", "mode", "prompt", "lang", "engine_args")
MODEL_FIELDS_OF_THE_RESULT = (
    *("preset", "revision", "size", "subject", "prompt_format", "sampling", "processor_args"),
    *("max_tiles", "dtype"),
)
VLLM_FIELDS_OF_THE_RESULT = ("kv_cache_dtype", "fp8_weights")


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
    deadline_s: float | None = Field(None, gt=0, description="Stop (resumable, exit 130) after this long.")
    max_failed: float = Field(
        1.0, ge=0, le=1, description="Share of pages that may fail before the exit status is 3."
    )
    progress_s: float = Field(10.0, gt=0, description="Seconds between progress lines and log records.")


class JobConfig(BaseModel):
    """Everything a job can be told, besides its inputs and its output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["ocr"] = Field("ocr", description="What is done with each page.")
    input: InputConfig = Field(default_factory=InputConfig)
    render: RenderConfig = Field(default_factory=RenderConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    output: OutputConfig = Field(default_factory=OutputConfig)
    s3: S3Config = Field(default_factory=S3Config)
    run: RunConfig = Field(default_factory=RunConfig)

    def result_fields(self) -> dict[str, Any]:
        """What changes a result, and nothing else: not placement, limits, timeouts, paths or inputs."""
        render = self.render.model_dump(include=set(RENDER_FIELDS_OF_THE_RESULT), mode="json")
        engine = self.engine.model_dump(include=set(ENGINE_FIELDS_OF_THE_RESULT), mode="json")
        if self.engine.kind in MODEL_KINDS:
            engine |= self._model_fields()
        return {
            "task": self.task,
            "postprocessing": POSTPROCESSING_VERSION,
            "retry": self.retry.model_dump(mode="json"),
            **{f"render.{name}": value for name, value in render.items()},
            **{f"engine.{name}": value for name, value in engine.items()},
        }

    def _model_fields(self) -> dict[str, Any]:
        """A model's part of the result fields. A local folder counts by what it holds."""
        config = self.engine
        fields = config.model_dump(include=set(MODEL_FIELDS_OF_THE_RESULT), mode="json")
        if config.kind == "vllm":
            vllm = config.vllm.model_dump(include=set(VLLM_FIELDS_OF_THE_RESULT), mode="json")
            fields |= {f"vllm.{name}": value for name, value in vllm.items()}
        return fields | {"model": config.model_identity or config.model}


def fingerprint(result_fields: Mapping[str, Any]) -> str:
    """A short digest of what changes a result."""
    canonical = json.dumps(result_fields, sort_keys=True, default=str)
    return blake2b(canonical.encode(), digest_size=8).hexdigest()


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
    values = merged(deepcopy(dict(base or {})), _read_file(file) if file else {})
    for name, text in sorted(os.environ.items()):
        if name.startswith(ENV_PREFIX):
            path = name.removeprefix(ENV_PREFIX).lower().split("__")
            if len(path) > 1 or path[0] == "task":
                _assign(values, path, _parse(text), name)
            elif meant := _section_meant(path[0]):
                raise ConfigError(f"{name}: no such setting; did you mean {ENV_PREFIX}{meant.upper()}?")
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set {assignment}: must be like engine.kind=rapidocr")
        _assign(values, name.strip().split("."), _parse(text), f"--set {name}")
    for name, value in flags.items():
        if value is not None:
            _assign(values, name.split("."), value, name)
    values = over_preset(values)
    try:
        config = JobConfig.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [_origin(file, item["loc"]) + _explain(item) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    check_engine(config.engine)
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


def _parse(text: str) -> Any:
    """A value as YAML reads it, so that numbers, lists and mappings can be given."""
    try:
        return yaml.safe_load(text) if text.strip() else text
    except yaml.YAMLError:
        return text


def _assign(values: dict[str, Any], path: list[str], value: Any, source: str) -> None:
    node = values
    for part in path[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{source}: {part} is not a section")
        node = child
    node[path[-1]] = value


def _section_meant(name: str) -> str:
    """The setting a variable without a section seems to mean (``dpi``, ``engine_kind``), or ''."""
    for section in JobConfig.model_fields:
        for setting in _known_fields([section]):
            if name in (setting, f"{section}_{setting}"):
                return f"{section}__{setting}"
    return ""


def _origin(file: Path | None, path: tuple[int | str, ...]) -> str:
    """The file's name as a prefix when the setting stands there."""
    node: Any = _read_file(file) if file else {}
    for part in path:
        if not isinstance(node, dict) or part not in node:
            return ""
        node = node[part]
    return f"{file}: " if path else ""


def _explain(item: Mapping[str, Any]) -> str:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_fields(path[:-1]), 1, 0.5)
        hint = f"; did you mean {'.'.join([*path[:-1], near[0]])}?" if near else ""
        return f"{where}: no such setting{hint}"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if item["type"] in ("model_type", "model_attributes_type"):
        message = f"is a section: give one of its settings, like {where}.{_known_fields(path)[0]}"
    shown = "" if "password" in where else f", got {item['input']!r}"
    return f"{where}: {message[:1].lower()}{message[1:]}{shown}"


def _known_fields(path: list[str]) -> list[str]:
    model: type[BaseModel] = JobConfig
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
