"""The command line's options. Those of settings come from the models that declare them: type and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from jobs.config import JobConfig

FLAGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Engine and model": {
        "engine.kind": ("--engine",),
        "engine.model": ("--model",),
        "engine.mode": ("--mode",),
        "engine.size": ("--size",),
        "engine.prompt": ("--prompt",),
        "engine.openai.server_urls": ("--server-url",),
        "engine.lang": ("--lang",),
        "engine.transformers.batch_size": ("--batch-size",),
        "engine.max_tiles": ("--max-tiles",),
        "engine.device": ("--device",),
        "engine.gpus": ("--gpus",),
        "engine.tensor_parallel_size": ("--tensor-parallel-size", "--tp"),
    },
    "Pages": {
        "render.dpi": ("--dpi",),
        "render.longest_side": ("--longest-side",),
        "render.text_layer": ("--text-layer",),
        "render.password": ("--password",),
        "output.page_images": ("--page-images",),
    },
    "Fleet": {
        "cluster.replicas": ("--replicas",),
        "cluster.address": ("--address",),
        "input.shard_index": ("--shard-index",),
        "input.num_shards": ("--num-shards",),
    },
    "Limits": {
        "input.max_pages": ("--max-pages",),
        "input.limit": ("--limit",),
        "run.max_failed_share": ("--max-failed",),
        "run.deadline_s": ("--deadline",),
    },
    "S3": {
        "s3.endpoint_url": ("--s3-endpoint-url",),
        "s3.profile": ("--s3-profile",),
        "s3.region": ("--s3-region",),
    },
}
"""Settings that have an option of their own, as the help groups them. Every setting has ``--set``."""

S3 = tuple(FLAGS["S3"])
WHICH_ENGINE = tuple(name for name in FLAGS["Engine and model"] if name != "engine.transformers.batch_size")
PLACEMENT = (
    *("engine.openai.server_urls", "engine.transformers.batch_size", "engine.device", "engine.gpus"),
    "engine.tensor_parallel_size",
)
"""Options of an engine that change no result."""

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, quoted globs, s3:// prefixes, manifests (.jsonl, .csv, .parquet).",
    ),
]
Output = Annotated[str, typer.Option("--output", "-o", help="Output folder or s3:// prefix.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="Output folder or s3:// prefix of a job.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML with any of the settings.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting: --set engine.sampling.max_tokens=2048."),
]
SingleProcess = Annotated[
    bool, typer.Option("--single-process", help="Without Ray: for debugging and small jobs.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Load and write nothing: check inputs, engine, weights, memory, servers and output. Exit "
        "status 1 when something stands in the way.",
    ),
]
NewGeneration = Annotated[
    bool,
    typer.Option("--new-generation", help="Settings changed: read everything again into this output."),
]


@dataclass(frozen=True, slots=True)
class Given:
    """The settings that a command line gives: a file, ``--set``, and options by the setting they are for."""

    file: Path | None = None
    assignments: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> JobConfig:
        """Raises ConfigError naming what is wrong, and the nearest name."""
        from jobs.config import load_config

        return load_config(self.file, self.assignments, self.flags)


class SettingsCommand:
    """A command that takes settings: its first parameter, a ``Given``, is filled from options.

    Typer asks for the signature when it runs, not when the command is declared: until then no model is
    imported, and ``pagefleet --version`` answers at once.
    """

    def __init__(self, command: Callable[..., None], settings: Iterable[str]) -> None:
        self._command = command
        self._settings = tuple(settings)
        update_wrapper(self, command)

    @property
    def __signature__(self) -> inspect.Signature:
        _, *own = inspect.signature(self._command, eval_str=True).parameters.values()
        own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        arguments = [each for each in own if each.default is inspect.Parameter.empty]
        return inspect.Signature(
            [
                *arguments,
                _parameter("config", ConfigFile),
                *_options(self._settings),
                *(each for each in own if each not in arguments),
                _parameter("sets", Sets),
            ]
        )

    def __call__(self, **values: Any) -> None:
        file, assignments = values.pop("config"), tuple(values.pop("sets") or ())
        flags = {name: values.pop(_identifier(name)) for name in self._settings}
        given = {name: value for name, value in flags.items() if value not in (None, [], ())}
        self._command(Given(file, assignments, given), **values)


def takes_settings(*settings: str) -> Callable[[Callable[..., None]], SettingsCommand]:
    """Let a command take ``--config``, ``--set``, and the options of these settings."""
    return lambda command: SettingsCommand(command, settings)


def _options(settings: Iterable[str]) -> Iterator[inspect.Parameter]:
    from jobs.config import JobConfig
    from jobs.setting_names import settings_of

    declared = dict(settings_of(JobConfig))
    for panel, flags in FLAGS.items():
        for name in (name for name in flags if name in settings):
            yield _parameter(_identifier(name), _annotation(declared[name], flags[name], panel))


def _annotation(field: FieldInfo, flags: tuple[str, ...], panel: str) -> Any:
    kind, metavar = _kind(field.annotation)
    metavar = "URL" if "url" in flags[0] else metavar
    default = field.get_default()
    shown = f" (default: {getattr(default, 'value', default)})" if _is_worth_showing(default) else ""
    option = typer.Option(
        *flags, metavar=metavar, help=f"{field.description or ''}{shown}", rich_help_panel=panel
    )
    return Annotated[kind | None, option]


def _kind(annotation: Any) -> tuple[Any, str | None]:
    """What Typer converts to, and what the help calls it. What a model checks better stays a text."""
    members = [member for member in get_args(annotation) if member is not type(None)]
    if get_origin(annotation) is tuple:
        return list[str], None
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return str, "|".join(str(member.value) for member in annotation)
    if get_origin(annotation) is Literal:
        return str, "|".join(map(str, members))
    if len(members) == 1:  # a type or None
        return _kind(members[0])
    if any(get_origin(member) is Literal for member in members):
        return str, "N|auto"
    return annotation if annotation in (bool, int, float) else str, None


def _is_worth_showing(default: Any) -> bool:
    return bool(default) and isinstance(default, str | int | float) and not isinstance(default, bool)


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _identifier(setting: str) -> str:
    return setting.replace(".", "__")
