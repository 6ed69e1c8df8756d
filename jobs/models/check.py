"""``pagefleet models check``: whether a model is whole, and which cards it fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.models.presets.choice import choose
from actors.models.presets.library import GENERIC, presets
from actors.models.weights.cards import COMMON_CARDS, FP8_CAPABILITY, Card
from actors.models.weights.check import check_folder
from actors.models.weights.guard import CHECKED_KINDS
from actors.models.weights.headers import Tensor
from actors.models.weights.locate import cached_snapshot, names_folder
from actors.models.weights.memory import (
    PAGE_TOKENS,
    MemoryPlan,
    divides,
    estimate,
    overhead_bytes,
    weight_share,
)
from actors.models.weights.report import GIB, ModelReport, Topic, gib
from actors.models.weights.shape import ModelShape, model_shape
from manifests.errors import ConfigError

GROUPS = (1, 2, 4, 8)
KV_BYTES = {"bf16": 2, "fp8": 1}
UNITS = {"gib": GIB, "gb": 10**9, "mib": 2**20, "mb": 10**6, "": GIB}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def check_and_print(target: str, gpu_memory: str, console: Console) -> int:
    """Print what there is to know of a preset's, a folder's or a hub id's model; the exit status.

    Raises ConfigError where there is no such model on this machine.
    """
    cards = (_asked_card(gpu_memory),) if gpu_memory else COMMON_CARDS
    report = check_folder(find_model(target))
    for finding in report.findings:
        style = "[bold red]problem[/]" if finding.is_problem else "[yellow]warning[/]"
        console.print(f"{style}  {escape(finding.message)}", soft_wrap=True)
    console.print(escape(_title(report)), soft_wrap=True)
    console.print(_description(report))
    shape = model_shape(report.config)
    if shape is None or any(problem.topic is Topic.WEIGHTS for problem in report.problems):
        console.print("Memory cannot be estimated before config.json and the weights are whole.")
    else:
        _print_memory(report.memory_tensors, shape, cards, console)
    if report.problems:
        console.print(f"[bold red]not usable:[/] {len(report.problems)} to mend, listed first")
        return 1
    console.print("[green]usable[/]")
    return 0


def find_model(target: str) -> Path:
    """The folder of a model: the one that ``--model`` would take.

    Raises ConfigError that names ``pagefleet models pull`` where it is not here.
    """
    is_preset = target.partition(":")[0] in presets() and target != GENERIC
    if target and not is_preset and names_folder(target):
        return Path(target).expanduser()
    choices = []
    for kind in CHECKED_KINDS:
        with suppress(ConfigError):  # a model of one engine alone
            choices.append(choose(target, kind))
    for choice in choices or [choose(target, CHECKED_KINDS[0])]:
        if (folder := cached_snapshot(choice.model, choice.revision)) is not None:
            return folder
    raise ConfigError(
        f"{target}: its weights ({choices[0].model}) are not on this machine: "
        f"run 'pagefleet models pull {target}'"
        + (f"; the folder of that name here is ./{target}" if Path(target).is_dir() else "")
    )


def _asked_card(text: str) -> Card:
    match = SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in UNITS or not float(match[1]):
        raise ConfigError(f"--gpu-memory must be like 24GiB; got {text!r}")
    return Card(text.strip(), int(float(match[1]) * UNITS[match[2].lower()]), FP8_CAPABILITY)


def _title(report: ModelReport) -> str:
    names = ", ".join(report.architectures) or "unknown architecture"
    return f"{names} ({report.model_type or 'no model type'}) in {report.folder}"


def _description(report: ModelReport) -> Table:
    table = Table(box=None, show_header=False)
    parameters = ", ".join(f"{_millions(count)} in {dtype}" for dtype, count in report.parameters.items())
    quantised = f", quantised: {report.quantization}" if report.quantization else ""
    rows = {
        "weights": f"{gib(report.weight_bytes)}, files: {len(report.weight_files)}",
        "parameters": f"{parameters or 'unknown'}{quantised}",
        "tokenizer": report.tokenizer or "none",
        "chat template": report.chat_template or "none",
        "image processor": report.processor or "none",
        "code of its own": ", ".join(report.code) or "none",
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _print_memory(
    tensors: Sequence[Tensor], shape: ModelShape, cards: Sequence[Card], console: Console
) -> None:
    plan = MemoryPlan(max_len=PAGE_TOKENS)
    kib = shape.kv_values_per_token(1) / 1024
    weights, besides = weight_share(tensors, plan), overhead_bytes(shape, plan)
    console.print(
        f"Memory, estimated: weights {gib(weights)}, KV cache {2 * kib:,.4g} KiB per token "
        f"(fp8: {kib:,.4g}), besides these about {gib(besides)}.",
        soft_wrap=True,
    )
    console.print(_fitting(tensors, shape, cards))
    console.print(
        f"Pages of {PAGE_TOKENS:,} tokens at once in vLLM, with a KV cache in "
        f"{' / '.join(KV_BYTES)}, at gpu_memory_utilization {plan.utilization}; -: does not fit.",
        soft_wrap=True,
    )
    if shape.max_len > 4 * PAGE_TOKENS:
        console.print(
            f"By itself the model takes requests of {shape.max_len:,} tokens, and vLLM starts only where "
            f"one fits; a page needs less: --set engine.vllm.max_model_len={4 * PAGE_TOKENS}",
            soft_wrap=True,
        )


def _fitting(tensors: Sequence[Tensor], shape: ModelShape, cards: Sequence[Card]) -> Table:
    table = Table(
        "card", *(f"{group} GPU{'s' if group > 1 else ''}" for group in GROUPS), box=box.SIMPLE_HEAD
    )
    for card in cards:
        cells = [_pages_at_once(tensors, shape, card, group) for group in GROUPS]
        table.add_row(escape(card.name), *cells)
    return table


def _pages_at_once(tensors: Sequence[Tensor], shape: ModelShape, card: Card, group: int) -> str:
    if not divides(shape, group):
        return "-"
    pages = []
    for name, kv_bytes in KV_BYTES.items():
        plan = MemoryPlan(tensor_parallel=group, kv_bytes=kv_bytes, max_len=PAGE_TOKENS)
        known = estimate(tensors, shape, plan, card.total_bytes)
        computes = name != "fp8" or card.computes_fp8
        pages.append(f"{known.kv_tokens // PAGE_TOKENS:,}" if known.fits and computes else "-")
    return " / ".join(pages)


def _millions(count: int) -> str:
    return f"{count / 1e9:,.1f} billion" if count >= 10**9 else f"{count / 1e6:,.1f} million"
