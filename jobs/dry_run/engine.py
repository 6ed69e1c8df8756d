"""The engine's part of a dry run: its package, its model, its GPUs, its servers. Loads nothing."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

import psutil

from actors.engines.load import check_taken, load_engine
from actors.engines.settings import EngineConfig
from actors.models.weights.cards import Card, installed_cards
from actors.models.weights.check import check_folder
from actors.models.weights.guard import CHECKED_KINDS, serious
from actors.models.weights.memory import (
    PAGE_TOKENS,
    Estimate,
    divides,
    estimate,
    first_that_fits,
    overhead_bytes,
    plan_of,
    weight_share,
)
from actors.models.weights.report import ModelReport, gib
from actors.models.weights.shape import ModelShape, model_shape
from jobs.config import JobConfig
from jobs.dry_run.check_result import CheckResult, ok, problem, warning
from jobs.flow import joins_a_cluster
from jobs.models.gpu_groups import on_enough_gpus, published_bytes, visible_cards
from manifests.errors import ConfigError

PACKAGES = {
    "rapidocr": ("rapidocr", "onnxruntime"),
    "auto": ("rapidocr", "onnxruntime"),
    "vllm": ("vllm",),
    "transformers": ("torch", "transformers", "accelerate"),
}
OF_THIS_MACHINE = ("package", "tesseract", "GPUs", "memory")
"""What may be otherwise on the machines of a cluster."""
SERVER_WITHIN_S = 5.0
SHOWN = 90
INSTEAD = (
    "read with --engine rapidocr, ask servers by --server-url, join a cluster by --address, or let the "
    "model compute on the CPU (--set engine.device=cpu, slow)"
)


def engine_lines(config: JobConfig, single_process: bool) -> Iterator[CheckResult]:
    """What there is to say of a configuration's engine, in the order in which a run needs it."""
    engine = config.engine
    elsewhere = joins_a_cluster(config) and not single_process
    yield _settings(config)
    try:
        check_taken(engine)
    except ConfigError as error:
        yield problem("engine", str(error))
    for result in _lines_of_kind(engine, elsewhere):
        if elsewhere and result.is_problem and result.about in OF_THIS_MACHINE:
            result = warning(result.about, f"{result.text} (here: the cluster was not looked at)")
        yield result


def _lines_of_kind(engine: EngineConfig, elsewhere: bool) -> Iterator[CheckResult]:
    yield from _package_lines(engine)
    if engine.kind in ("tesseract", "auto"):
        yield _tesseract_line(engine)
    if engine.kind == "openai":
        yield from _server_lines(engine)
    if engine.kind not in CHECKED_KINDS:
        return
    report = yield from _model_lines(engine, elsewhere)
    shape = model_shape(report.config) if report else None
    if engine.device == "cpu":
        yield from _cpu_lines(engine, report)
    elif cards := (yield from _gpu_lines(engine)):
        engine = on_enough_gpus(engine, cards)
        if report and shape:
            yield from _memory_lines(engine, report, shape, cards)
        elif published := published_bytes(engine):
            yield _room_for(published, engine, cards)


def _settings(config: JobConfig) -> CheckResult:
    engine, render = config.engine, config.render
    named = {
        name: getattr(engine, name) for name in ("model", "revision", "preset", "mode", "size", "prompt")
    }
    words = [f"{name} {shorten(value, SHOWN)!r}" for name, value in named.items() if value]
    words.append(f"{render.longest_side} pixels" if render.longest_side else f"{render.dpi} dpi")
    return ok("engine", ", ".join([engine.kind, *words]))


def _package_lines(engine: EngineConfig) -> Iterator[CheckResult]:
    if missing := [name for name in PACKAGES.get(engine.kind, ()) if find_spec(name) is None]:
        extra = f"[{engine.kind}]" if engine.kind in CHECKED_KINDS else ""
        remedy = f"pip install -e '.{extra}' in pagefleet's folder"
        yield problem("package", f"not installed: {', '.join(missing)}: {remedy}")


def _tesseract_line(engine: EngineConfig) -> CheckResult:
    from actors.engines.tesseract.engine import TesseractEngine

    try:
        return ok("tesseract", f"has {', '.join(TesseractEngine(engine.lang).installed)}")
    except ConfigError as error:
        if engine.kind == "auto" and not engine.lang:
            return warning("tesseract", f"{error}; pages in scripts it would be for are flagged")
        return problem("tesseract", str(error))


def _server_lines(engine: EngineConfig) -> Iterator[CheckResult]:
    """Ask each server alone what it serves, as the engine does before its first page."""
    patience = min(engine.openai.connect_timeout_s, SERVER_WITHIN_S)
    for url in engine.openai.server_urls or ("",):
        alone = {"server_urls": (url,) if url else (), "connect_timeout_s": patience}
        asked = engine.model_copy(update={"openai": engine.openai.model_copy(update=alone)})
        try:
            yield ok("server", f"{url} serves {load_engine(asked).info.model}")
        except ConfigError as error:
            yield problem("server", str(error))


def _model_lines(engine: EngineConfig, elsewhere: bool) -> Generator[CheckResult, None, ModelReport | None]:
    """What there is to say of the model; returns what is known of its memory, if anything is."""
    folder = _folder(engine)
    if isinstance(folder, CheckResult):
        yield folder
        return None
    if not folder.is_dir() and elsewhere:
        yield warning("model", f"{folder} is not on this machine: it must be on those that run the engine")
        return None
    try:
        report = check_folder(folder)
    except ConfigError as error:
        yield problem("model", str(error))
        return None
    stops = serious(report, engine)
    for result in report.findings:
        yield (problem if result in stops else warning)("model", result.message)
    if stops:
        return None
    yield ok("model", f"{folder}: {gib(report.weight_bytes)} of weights, files: {len(report.weight_files)}")
    return report


def _folder(engine: EngineConfig) -> Path | CheckResult:
    """Where the weights are, or what there is to say of a model that is not here yet."""
    from actors.models.weights.locate import cached_snapshot, is_offline, names_folder  # half a second

    if names_folder(engine.model):
        return Path(engine.model).expanduser()
    try:
        folder = cached_snapshot(engine.model, engine.revision)
    except ConfigError as error:
        return problem("model", str(error))
    if folder is not None:
        return folder
    pull = f"'pagefleet models pull {engine.model}'"
    if is_offline():
        return problem("model", f"{engine.model} is not in the cache, and HF_HUB_OFFLINE is set: run {pull}")
    return warning(
        "model", f"{engine.model} is not here: every machine fetches it when it loads; or run {pull}"
    )


def _gpu_lines(engine: EngineConfig) -> Generator[CheckResult, None, list[Card]]:
    """What there is to say of this machine's GPUs; returns them if a replica can stand on them."""
    cards = visible_cards(engine)
    asked = {int(number) for number in engine.gpus.split(",") if number}
    missing = asked - {card.number for card in cards}
    if missing and (here := [str(card.number) for card in installed_cards()]):
        names = ", ".join(map(str, sorted(missing)))
        yield problem("GPUs", f"engine.gpus: no GPU {names} here; there are {', '.join(here)}")
        return []
    if not cards:
        text = f"no NVIDIA GPU answers (nvidia-smi): {INSTEAD}"
        yield problem("GPUs", text, {"engine.device": "cpu"})
        return []
    yield ok("GPUs", ", ".join(f"{card.name} ({gib(card.total_bytes)})" for card in cards))
    if len(cards) < engine.tensor_parallel_size:
        text = (
            f"{len(cards)} here, {engine.tensor_parallel_size} in a group: lower engine.tensor_parallel_size"
        )
        yield problem("GPUs", text)
        return []
    return cards


def _memory_lines(
    engine: EngineConfig, report: ModelReport, shape: ModelShape, cards: Sequence[Card]
) -> Iterator[CheckResult]:
    if engine.kind == "transformers":
        yield _spread(engine, report, shape, cards)
        return
    yield _fitting(engine, report, shape, cards)
    share = engine.vllm.gpu_memory_utilization
    for card in cards:
        if card.free_bytes < share * card.total_bytes:
            left = max(0.01, int(100 * card.free_bytes / card.total_bytes) / 100)
            yield problem(
                "memory",
                f"GPU {card.number} has {gib(card.free_bytes)} free, and vLLM wants {share:.0%} of its "
                f"{gib(card.total_bytes)}: end what else uses it (nvidia-smi tells), or set "
                f"engine.vllm.gpu_memory_utilization={left}",
            )


def _room_for(published: int, engine: EngineConfig, cards: Sequence[Card]) -> CheckResult:
    """Whether weights that are not here yet leave any room at all."""
    if engine.kind == "vllm":
        room = min(card.total_bytes for card in cards) * engine.vllm.gpu_memory_utilization
        room *= engine.tensor_parallel_size
    else:
        room = sum(card.total_bytes for card in cards) + psutil.virtual_memory().available
    text = f"the weights take about {gib(published)}, of {gib(room)} that there are for them and the pages"
    if published < room:
        return ok("memory", f"{text}; more is known once they are here")
    return problem("memory", f"{text}: take more GPUs (--tensor-parallel-size) or a smaller model")


def _fitting(
    engine: EngineConfig, report: ModelReport, shape: ModelShape, cards: Sequence[Card]
) -> CheckResult:
    """Whether vLLM would start: on the smallest of the cards, as all of a group get the same share."""
    smallest = min(cards, key=lambda card: card.total_bytes)
    plan = plan_of(engine, fp8_card=smallest.computes_fp8)
    if not divides(shape, plan.tensor_parallel):
        text = f"{shape.heads} attention heads cannot be shared by {plan.tensor_parallel} GPUs: set "
        return problem("memory", f"{text}engine.tensor_parallel_size to another power of two")
    tensors = report.memory_tensors
    known = estimate(tensors, shape, plan, smallest.total_bytes)
    if known.fits:
        pages = known.kv_tokens // PAGE_TOKENS
        return ok("memory", f"{_sum(known)}; {pages:,} pages of {PAGE_TOKENS:,} tokens at once")
    remedy = first_that_fits(tensors, shape, plan, [smallest] * len(cards))
    instead = "take a smaller model, or --engine transformers, which moves layers off the GPU"
    return problem("memory", _sum(known) if remedy else f"{_sum(known)}: {instead}", remedy)


def _sum(known: Estimate) -> str:
    return (
        f"about {gib(known.weights)} of weights and {gib(known.overhead)} besides on each GPU, of "
        f"{gib(known.budget)}; one request of {known.needed_tokens:,} tokens takes "
        f"{gib(known.needed_tokens * known.kv_per_token)} of KV cache"
    )


def _spread(
    engine: EngineConfig, report: ModelReport, shape: ModelShape, cards: Sequence[Card]
) -> CheckResult:
    """Whether the weights fit the GPUs, over which Transformers spreads them, or main memory too."""
    plan = plan_of(engine)
    weights = weight_share(report.memory_tensors, plan)
    room = sum(max(0, card.free_bytes - overhead_bytes(shape, plan)) for card in cards)
    if weights <= room:
        return ok("memory", f"{gib(weights)} of weights fit the GPUs")
    text = f"{gib(weights)} of weights, of which about {gib(weights - room)} do not fit the GPUs"
    free = psutil.virtual_memory().available
    if weights - room < free:
        return warning("memory", f"{text} and go to main memory, which is slow")
    return problem("memory", f"{text}, nor main memory ({gib(free)} free): take a smaller model")


def _cpu_lines(engine: EngineConfig, report: ModelReport | None) -> Iterator[CheckResult]:
    if report is None:
        return
    weights, free = weight_share(report.memory_tensors, plan_of(engine)), psutil.virtual_memory().available
    text = f"{gib(weights)} of weights, {gib(free)} of main memory free"
    yield ok("memory", text) if weights < free else problem("memory", f"{text}: take a smaller model")
