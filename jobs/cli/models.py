"""``pagefleet models``: what there is to choose from, and getting it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import answer, say
from jobs.cli.exit import exit_with
from jobs.interrupts import Interrupts
from manifests.errors import ConfigError

if TYPE_CHECKING:
    from actors.models.presets.schema import Preset

app = typer.Typer(help="Presets of models: list, show, pull, check.", no_args_is_help=True)
BYTES_PER_PARAMETER = 2
"""Of weights in bfloat16, as all these are published."""


@app.command("list", epilog="Example: pagefleet models list")
def list_presets() -> None:
    """List the presets: what --model takes by name, with the weights after a colon (qwen3-vl:4b)."""

    def work(stop: Interrupts) -> int:
        from actors.models.presets.library import presets

        rows = [("NAME", "MODEL", "WEIGHTS", "ENGINES", "MODES", "SIZES")]
        for preset in presets().values():
            engines = ", ".join(preset.engines) or "vllm, transformers"
            sizes = ", ".join(preset.sizes) or "-"
            modes = ", ".join(preset.modes)
            rows.append((preset.name, preset.title, _weights(preset), engines, modes, sizes))
        for line in _columns(rows):
            answer(line)
        answer("\nAll of them also by --server-url, from a server that has loaded the model.")
        return 0

    exit_with(work)


@app.command(epilog="Example: pagefleet models show deepseek-ocr")
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A preset's name.")]) -> None:
    """Show all of a preset: prompts, sizes, settings, checkpoints, and where they are known from."""

    def work(stop: Interrupts) -> int:
        from actors.models.presets.library import presets

        if name not in presets():
            raise ConfigError(f"{name!r} is no preset: there are {', '.join(presets())}")
        for line in _described(presets()[name]):
            answer(line)
        return 0

    exit_with(work)


@app.command(epilog="Example: pagefleet models pull internvl3.5:2b --to models/internvl")
def pull(
    model: Annotated[str, typer.Argument(metavar="NAME|HUB_ID", help="A preset's name or a hub id.")],
    revision: Annotated[str, typer.Option(help="Commit, branch or tag (default: the newest).")] = "",
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Into this folder (default: the hub's cache).")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="vllm|transformers", help="The form of the weights this one loads.")
    ] = "",
) -> None:
    """Fetch a model from the Hugging Face hub, and check it. Interrupted, the same command goes on."""

    def work(stop: Interrupts) -> int:
        from rich.console import Console

        from jobs.models.check import check_and_print
        from jobs.models.pull import hub_model
        from jobs.models.pull import pull as fetch

        pulled = fetch(hub_model(model, engine), revision, to, say)
        where = to or f"{pulled.hub_id} --set engine.revision={pulled.revision}"
        say(f"in {pulled.folder}; to read with it: --model {where}")
        return check_and_print(str(pulled.folder.absolute()), "", Console())

    exit_with(work)


@app.command(epilog="Example: pagefleet models check models/internvl --gpu-memory 24GiB")
def check(
    model: Annotated[str, typer.Argument(metavar="NAME|HUB_ID|FOLDER", help="A model on this machine.")],
    gpu_memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of your card, like 24GiB.")] = "",
) -> None:
    """Check a model's files, and tell which cards it fits. Exit status 0 when it is whole, 1 when not."""

    def work(stop: Interrupts) -> int:
        from rich.console import Console

        from jobs.models.check import check_and_print

        return check_and_print(model, gpu_memory, Console())

    exit_with(work)


def _weights(preset: Preset) -> str:
    """All there are, the default first and with its size."""
    default = preset.default_weights
    others = [name for name in preset.weights if name != default]
    return ", ".join([f"{default} ({_gigabytes(preset, default)})", *others]) if default else "-"


def _gigabytes(preset: Preset, weights: str) -> str:
    return f"{preset.weights[weights] * BYTES_PER_PARAMETER:.1f} GB"


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _described(preset: Preset) -> Iterator[str]:
    import yaml

    yield f"{preset.name}: {preset.title}"
    yield preset.about
    if preset.license:
        yield f"License: {preset.license}"
    for form in preset.forms:
        code = "; needs code that comes with the weights" if form.needs_remote_code else ""
        yield f"\n{form.architecture}, for {' and '.join(form.engines)}{code}"
        rows = [(name, _gigabytes(preset, name), hub_id) for name, hub_id in form.checkpoints.items()]
        yield from _indented(_columns(rows) if rows else ["no published checkpoint"])
    yield f"\nModes (default: {preset.default_mode})"
    for name, mode in preset.modes.items():
        yield f"  {name}: {mode.about}"
        yield from _indented(mode.prompt.splitlines(), "      ")
    if preset.sizes:
        yield f"\nSizes (default: {preset.default_size}), in {' and '.join(preset.sized_by)}"
        yield from _indented(_columns([(name, size.about) for name, size in preset.sizes.items()]))
    layers = {"": preset.settings, **{f" in {name}": its for name, its in preset.engine_settings.items()}}
    for where, settings in layers.items():
        yield f"\nSettings{where}"
        yield from _indented(yaml.safe_dump(dict(settings), sort_keys=False).splitlines())
    if preset.sources:
        yield "\nKnown from"
        yield from _indented(preset.sources)


def _indented(lines: Iterable[str], by: str = "  ") -> Iterator[str]:
    return (by + line for line in lines)
