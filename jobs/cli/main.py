"""The command line: arguments to calls, errors to messages and exit statuses."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import models, options
from jobs.cli.console import answer, check_place, hide, say
from jobs.cli.entry import main, run_command
from jobs.cli.exit import exit_with
from jobs.interrupts import Interrupts
from manifests.errors import ConfigError
from manifests.secrets import MASK, masked_words, secrets_in

if TYPE_CHECKING:
    from jobs.config import JobConfig

__all__ = ["app", "main", "run_command"]

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
@options.takes_settings(*(name for flags in options.FLAGS.values() for name in flags))
def ocr(
    given: options.Given,
    inputs: options.Inputs,
    output: options.Output,
    new_generation: options.NewGeneration = False,
    single_process: options.SingleProcess = False,
    dry_run: options.DryRun = False,
) -> None:
    """Read text off every page of the inputs."""

    def work(stop: Interrupts) -> int:
        from jobs.flow import RunOptions, read_corpus

        if not output.strip():
            raise ConfigError("--output: name a folder or an s3:// prefix")
        for place in (*inputs, output):
            check_place(place)
        settings = loaded(given)
        how = RunOptions(single_process, new_generation, this_command(), stop)
        if dry_run:
            from jobs.dry_run.dry_run import dry_run as look_ahead

            return look_ahead(inputs, output, settings, how, answer)
        return read_corpus(inputs, output, settings, how, say).exit_status

    exit_with(work)


@app.command(epilog="Example: pagefleet retry out --replicas 4")
@options.takes_settings(
    *("render.password", "cluster.replicas", "cluster.address", "run.max_failed_share", "run.deadline_s"),
    *("input.shard_index", "input.num_shards"),
    *options.PLACEMENT,
    *options.S3,
)
def retry(given: options.Given, out: options.Out, single_process: options.SingleProcess = False) -> None:
    """Read the failed pages of an output again, as the next generation of their units.

    Settings are those of the job; options and --set change what does not change results (limits,
    timeouts, placement). Killed half-way, the same command goes on.
    """

    def work(stop: Interrupts) -> int:
        from jobs.flow import RunOptions, retry_failed
        from jobs.retrying import retry_config

        settings = retry_config(out, given.file, given.assignments, given.flags)
        hide(secrets_in(settings.model_dump()))  # as ``loaded`` does
        how = RunOptions(single_process, resume_command=this_command(), stop=stop)
        return retry_failed(out, settings, how, say).exit_status

    exit_with(work)


@app.command(epilog="Example: pagefleet assemble out")
@options.takes_settings(*options.S3)
def assemble(given: options.Given, out: options.Out) -> None:
    """Write every document's Markdown again, from the Parquet rows alone."""

    def work(stop: Interrupts) -> int:
        from jobs.factories import open_store
        from jobs.planning.session import alone_in
        from manifests.errors import InputError
        from results.output import Output
        from results.sealing import assemble_unit

        settings = loaded(given)
        store = open_store(out, settings.s3)
        footers = list(Output(store).units())
        if not footers:
            raise InputError(f"{out} holds no sealed unit: nothing to assemble")
        with alone_in(store, "assemble", settings.output.lease_s, stop, say):
            say(f"{sum(assemble_unit(store, footer) for footer in footers):,} documents assembled in {out}")
        return 0

    exit_with(work)


@app.command(epilog="Example: pagefleet verify out --manifest corpus.jsonl")
@options.takes_settings(*options.S3)
def verify(
    given: options.Given,
    out: options.Out,
    manifest: Annotated[
        list[str] | None, typer.Option("--manifest", "-m", help="Check against this manifest too.")
    ] = None,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Compare SHA-256 where the manifest gave one.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First take doubled rows away; earlier files are kept.")
    ] = False,
) -> None:
    """Check an output by code of its own: every page one row, Markdown true, sources unchanged.

    Exit status 0 when all is well, 1 when not.
    """

    def work(stop: Interrupts) -> int:
        from jobs.verify.check import VerifyS3Options, print_findings
        from jobs.verify.check import verify as check

        settings = loaded(given)
        s3 = settings.s3
        if repair:
            from jobs.repairing import repair_output

            say(str(repair_output(out, settings, stop, say)))
        findings = check(out, manifest or [], VerifyS3Options(s3.endpoint_url, s3.region, s3.profile), hashes)
        print_findings(findings)
        return 0 if findings.ok else 1

    exit_with(work)


@app.command(
    epilog="Example: pagefleet ask old.jpg 'new.pdf#3' --model qwen3-vl --prompt '<image><image>Changes?'"
)
@options.takes_settings(
    *(name for name in options.WHICH_ENGINE if name != "engine.prompt"),
    *("render.dpi", "render.longest_side", "render.password"),
    *options.S3,
)
def ask(
    given: options.Given,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Images and PDFs; 'letter.pdf#3' is its third page."),
    ],
    prompt: Annotated[
        str, typer.Option(help="<image> stands for an image, once for each (default: the preset's).")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="With finish reason and tokens, as JSON.")] = False,
) -> None:
    """Ask an engine about a few images, here and without Ray; its answer goes to standard output.

    Exit status 0 with an answer, 1 when the engine cannot start or answer, 2 usage.
    """

    def work(stop: Interrupts) -> int:
        from jobs.tasks.ask import Question, as_fields, remarks
        from jobs.tasks.ask import ask as answer_to

        completion = answer_to(Question(tuple(images), prompt), loaded(given))
        answer(json.dumps(as_fields(completion), ensure_ascii=False) if as_json else completion.text)
        for remark in remarks(completion):
            say(f"warning: {remark}")
        return 0

    exit_with(work)


@manifest_app.command(
    "build", epilog="Example: pagefleet manifest build scans/ -o corpus.jsonl --page-counts --hashes"
)
@options.takes_settings("render.password", *options.S3)
def build(
    given: options.Given,
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help=".jsonl, .csv or .parquet")],
    page_counts: Annotated[
        bool, typer.Option("--page-counts", help="Open each document and count its pages.")
    ] = False,
    hashes: Annotated[bool, typer.Option("--hashes", help="SHA-256 of each local document.")] = False,
) -> None:
    """Write a manifest of the inputs: one row per document with id, size and version."""

    def work(stop: Interrupts) -> int:
        from jobs.building import build_manifest_file

        for place in (*inputs, str(output)):
            check_place(place)
        say(build_manifest_file(inputs, output, page_counts, hashes, loaded(given)))
        return 0

    exit_with(work)


def loaded(given: options.Given) -> JobConfig:
    """The settings, whose secrets nothing that is said from now on tells."""
    settings = given.load()
    hide(secrets_in(settings.model_dump()))
    return settings


def this_command() -> str:
    """The command as typed, for the line that says how to resume; secrets are left out."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if words[0].endswith(".py"):  # run_command put the command's own name behind it
        words[:2] = [f"python -m jobs.{Path(words[0]).stem}"]
    shown = [masked_words(word) for word in words[1:]]
    for place, word in enumerate(words[1:], 1):
        if word == "--password" and place < len(shown):
            shown[place] = MASK
    return f"{words[0]} {shlex.join(shown)}"
