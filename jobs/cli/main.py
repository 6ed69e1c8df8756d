"""The command line: arguments to calls, errors to messages and exit statuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli import models, options
from jobs.cli.exit import exit_with, say
from manifests.errors import ConfigError

app = typer.Typer(
    name="pagefleet",
    help="Read corpora of scanned PDFs and images: one row per page, one Markdown file per document.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
manifest_app = typer.Typer(help="Make manifests.", no_args_is_help=True)
app.add_typer(manifest_app, name="manifest")
app.add_typer(models.app, name="models")

OCR_EPILOG = """Examples:

pagefleet ocr scans/ -o out

pagefleet ocr 'scans/**/*.tif' letters.pdf -o out --max-pages 5 --limit 20

pagefleet ocr manifest.jsonl -o s3://bucket/out --engine rapidocr --replicas 8

pagefleet ocr scans/ -o out --model deepseek-ocr --mode grounded --size base

pagefleet ocr scans/ -o out --model models/InternVL3_5-8B-HF --engine transformers --batch-size auto

pagefleet ocr scans/ -o out --model qwen3-vl:4b --server-url http://gpu1:8000/v1 --server-url http://gpu2:8000/v1

Run the same command again to go on where a run stopped. Exit status: 0 all pages ended within the
failure tolerance, 1 the job could not run, 2 usage, 3 more pages failed than --max-failed, 130
interrupted (safe to resume)."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"pagefleet {version('pagefleet')}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read corpora of scanned PDFs and images: one row per page, one Markdown file per document."""


@app.command(epilog=OCR_EPILOG)
def ocr(
    inputs: options.Inputs,
    output: options.Output,
    config: options.ConfigFile = None,
    engine: options.Engine = None,
    model: options.Model = None,
    mode: options.Mode = None,
    size: options.Size = None,
    prompt: options.Prompt = None,
    server_url: options.ServerUrl = None,
    lang: options.Lang = None,
    batch_size: options.BatchSize = None,
    max_tiles: options.MaxTiles = None,
    device: options.Device = None,
    gpus: options.Gpus = None,
    tensor_parallel_size: options.TensorParallelSize = None,
    dpi: options.Dpi = None,
    longest_side: options.LongestSide = None,
    text_layer: options.TextLayer = None,
    password: options.Password = None,
    page_images: options.PageImages = None,
    replicas: options.Replicas = None,
    address: options.Address = None,
    shard_index: options.ShardIndex = None,
    num_shards: options.NumShards = None,
    max_pages: options.MaxPages = None,
    limit: options.Limit = None,
    max_failed: options.MaxFailed = None,
    deadline: options.Deadline = None,
    new_generation: options.NewGeneration = False,
    single_process: options.SingleProcess = False,
    dry_run: options.DryRun = False,
    s3_endpoint_url: options.Endpoint = None,
    s3_profile: options.Profile = None,
    s3_region: options.Region = None,
    sets: options.Sets = None,
) -> None:
    """Read text off every page of the inputs."""
    flags = {
        "engine.kind": engine,
        "engine.model": model,
        "engine.mode": mode,
        "engine.size": size,
        "engine.prompt": prompt,
        "engine.openai.server_urls": server_url or None,
        "engine.lang": lang,
        "engine.transformers.batch_size": batch_size,
        "engine.max_tiles": max_tiles,
        "engine.device": device,
        "engine.gpus": gpus,
        "engine.tensor_parallel_size": tensor_parallel_size,
        "render.dpi": dpi,
        "render.longest_side": longest_side,
        "render.text_layer": text_layer,
        "render.password": password,
        "input.max_pages": max_pages,
        "input.limit": limit,
        "input.shard_index": shard_index,
        "input.num_shards": num_shards,
        "output.page_images": page_images,
        "cluster.replicas": replicas,
        "cluster.address": address,
        "run.max_failed": max_failed,
        "run.deadline_s": deadline,
        **_s3_flags(s3_endpoint_url, s3_profile, s3_region),
    }

    def work() -> int:
        from jobs.config import load_config
        from jobs.flow import RunOptions, read_corpus

        if not output.strip():
            raise ConfigError("--output: name a folder or an s3:// prefix")
        settings = load_config(config, sets or [], flags)
        how = RunOptions(single_process, new_generation, resume_command=this_command())
        if dry_run:
            from jobs.dry_run.dry_run import dry_run as look_ahead

            return look_ahead(inputs, output, settings, how, typer.echo)
        return read_corpus(inputs, output, settings, how, say).exit_status

    exit_with(work)


@app.command(epilog="Example: pagefleet retry out")
def retry(
    out: options.Out,
    config: options.ConfigFile = None,
    password: options.Password = None,
    single_process: options.SingleProcess = False,
    s3_endpoint_url: options.Endpoint = None,
    s3_profile: options.Profile = None,
    s3_region: options.Region = None,
    sets: options.Sets = None,
) -> None:
    """Read the failed pages of an output again, as the next generation of their units.

    Settings are those of the job; --set changes what does not change results (limits, timeouts,
    placement). Killed half-way, the same command goes on.
    """
    flags = {"render.password": password, **_s3_flags(s3_endpoint_url, s3_profile, s3_region)}

    def work() -> int:
        from jobs.flow import RunOptions, retry_failed
        from jobs.retrying import retry_config

        settings = retry_config(out, config, sets or [], flags)
        how = RunOptions(single_process, resume_command=this_command())
        return retry_failed(out, settings, how, say).exit_status

    exit_with(work)


@app.command(epilog="Example: pagefleet assemble out")
def assemble(
    out: options.Out,
    s3_endpoint_url: options.Endpoint = None,
    s3_profile: options.Profile = None,
    s3_region: options.Region = None,
) -> None:
    """Write every document's Markdown again, from the Parquet rows alone."""

    def work() -> int:
        from jobs.config import load_config
        from jobs.factories import open_store
        from jobs.planning.session import alone_in
        from manifests.errors import InputError
        from results.sealing import assemble_unit
        from results.unit_files import list_sealed, read_footer

        settings = load_config(None, [], _s3_flags(s3_endpoint_url, s3_profile, s3_region))
        store = open_store(out, settings.s3)
        unit_ids = [unit_id for unit_id, _ in list_sealed(store)]
        if not unit_ids:
            raise InputError(f"{out} holds no sealed unit: nothing to assemble")
        with alone_in(store, "assemble", settings.output.lease_s, say):
            footers = [footer for unit_id in unit_ids if (footer := read_footer(store, unit_id))]
            say(f"{sum(assemble_unit(store, footer) for footer in footers):,} documents assembled in {out}")
        return 0

    exit_with(work)


@app.command(epilog="Example: pagefleet verify out --manifest corpus.jsonl")
def verify(
    out: options.Out,
    manifest: Annotated[
        list[str] | None, typer.Option("--manifest", "-m", help="Check against this manifest too.")
    ] = None,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Compare SHA-256 where the manifest gave one.")
    ] = False,
    s3_endpoint_url: options.Endpoint = None,
    s3_profile: options.Profile = None,
    s3_region: options.Region = None,
) -> None:
    """Check an output by code of its own: every page one row, Markdown true, sources unchanged.

    Exit status 0 when all is well, 1 when not.
    """

    def work() -> int:
        from jobs.verify.check import VerifyS3Options, print_findings
        from jobs.verify.check import verify as check

        s3 = VerifyS3Options(s3_endpoint_url, s3_region, s3_profile)
        findings = check(out, manifest or [], s3, hashes)
        print_findings(findings)
        return 0 if findings.ok else 1

    exit_with(work)


@app.command(
    epilog="Example: pagefleet ask old.jpg 'new.pdf#3' --model qwen3-vl --prompt '<image><image>Changes?'"
)
def ask(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Images and PDFs; 'letter.pdf#3' is its third page."),
    ],
    prompt: Annotated[
        str, typer.Option(help="<image> stands for an image, once for each (default: the preset's).")
    ] = "",
    config: options.ConfigFile = None,
    engine: options.Engine = None,
    model: options.Model = None,
    mode: options.Mode = None,
    size: options.Size = None,
    server_url: options.ServerUrl = None,
    lang: options.Lang = None,
    device: options.Device = None,
    longest_side: options.LongestSide = None,
    password: options.Password = None,
    as_json: Annotated[bool, typer.Option("--json", help="With finish reason and tokens, as JSON.")] = False,
    sets: options.Sets = None,
) -> None:
    """Ask an engine about a few images, here and without Ray; its answer goes to standard output.

    Exit status 0 with an answer, 1 when the engine cannot start or answer, 2 usage.
    """
    flags = {
        "engine.kind": engine,
        "engine.model": model,
        "engine.mode": mode,
        "engine.size": size,
        "engine.openai.server_urls": server_url or None,
        "engine.lang": lang,
        "engine.device": device,
        "render.longest_side": longest_side,
        "render.password": password,
    }

    def work() -> int:
        from jobs.config import load_config
        from jobs.tasks.ask import Question, as_fields, remarks
        from jobs.tasks.ask import ask as answer_to

        answer = answer_to(Question(tuple(images), prompt), load_config(config, sets or [], flags))
        typer.echo(json.dumps(as_fields(answer), ensure_ascii=False) if as_json else answer.text)
        for remark in remarks(answer):
            say(f"warning: {remark}")
        return 0

    exit_with(work)


@manifest_app.command(
    "build", epilog="Example: pagefleet manifest build scans/ -o corpus.jsonl --page-counts --hashes"
)
def build(
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help=".jsonl, .csv or .parquet")],
    page_counts: Annotated[
        bool, typer.Option("--page-counts", help="Open each document and count its pages.")
    ] = False,
    hashes: Annotated[bool, typer.Option("--hashes", help="SHA-256 of each local document.")] = False,
    s3_endpoint_url: options.Endpoint = None,
    s3_profile: options.Profile = None,
    s3_region: options.Region = None,
) -> None:
    """Write a manifest of the inputs: one row per document with id, size and version."""

    def work() -> int:
        from jobs.building import build_manifest_file
        from jobs.config import load_config

        settings = load_config(None, [], _s3_flags(s3_endpoint_url, s3_profile, s3_region))
        say(build_manifest_file(inputs, output, page_counts, hashes, settings))
        return 0

    exit_with(work)


def _s3_flags(endpoint_url: str | None, profile: str | None, region: str | None) -> dict[str, Any]:
    return {"s3.endpoint_url": endpoint_url, "s3.profile": profile, "s3.region": region}


def this_command() -> str:
    """The command as typed, for the line that says how to resume; a password is left out."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if words[0].endswith(".py"):  # run_command put the command's own name behind it
        words[:2] = [f"python -m jobs.{Path(words[0]).stem}"]
    for place, word in enumerate(words):
        if word == "--password" and place + 1 < len(words):
            words[place + 1] = "…"
        elif found := re.match(r"(--set=)?\s*render\.password\s*=|--password=", word):
            words[place] = f"{found[0]}…"
    return f"{words[0]} {shlex.join(words[1:])}"


def run_command(name: str) -> None:
    """One command as a program of its own."""
    sys.argv[1:1] = [name]
    main()


def main() -> None:
    """The console command."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    app()
