"""``pagefleet ocr --dry-run``: what a run would stumble over, told before anything is loaded or written."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from actors.models.weights.report import gib
from aws.s3_source import list_documents
from jobs.config import JobConfig
from jobs.dry_run.check_result import CheckResult, ok, problem, warning
from jobs.dry_run.engine import engine_lines
from jobs.factories import open_store
from jobs.flow import RunOptions
from jobs.job_file import Entering, read_job
from jobs.models.begun import as_begun
from jobs.planning.output_listing import OutputListing
from jobs.planning.planning import RunPlanner, cut_of
from jobs.summary import total_up
from manifests.documents import IMAGE_SUFFIXES
from manifests.errors import PagefleetError, StoreError
from manifests.inputs import InputSet, expand_inputs
from manifests.survey import survey
from results.job_claim import PATH
from results.local_store import LocalStore
from results.store import Store

NAMES_SHOWN = 3
SEVERAL_PAGES = (".tif", ".tiff")
PROBE = ".pagefleet-dry-run"


def dry_run(
    inputs: Sequence[str], output: str, config: JobConfig, options: RunOptions, say: Callable[[str], None]
) -> int:
    """Say what a run would find: 0 when nothing stands in its way, else 1.

    Asks servers what they serve. A local output is not touched: a temporary folder in it, or in the
    nearest folder there is, is made and removed. On S3 one empty object is written and deleted.
    """
    results: list[CheckResult] = []
    for result in _results(inputs, output, config, options):
        results.append(result)
        say(str(result))
    command = options.resume_command.replace(" --dry-run", "")
    problems = sum(result.is_problem for result in results)
    if problems:
        say(f"\nthis run would not do: {problems} to mend")
        remedies = {name: value for result in results for name, value in result.remedy.items()}
        if remedies:
            words = shlex.join(
                word for name, value in remedies.items() for word in ("--set", f"{name}={value}")
            )
            say(f"as far as settings go, by the estimate this would:\n  {command} {words}")
        return 1
    say(f"\nready; to run it:\n  {command}")
    return 0


def _results(
    inputs: Sequence[str], output: str, config: JobConfig, options: RunOptions
) -> Iterator[CheckResult]:
    found: InputSet | None = None
    try:
        found = expand_inputs(inputs, lambda uri: list_documents(uri, config.s3))
        yield from _input_lines(found, config)
    except PagefleetError as error:
        yield problem("inputs", str(error))
    yield from engine_lines(config, options.single_process)
    try:
        yield from _output_lines(output, config, options, found)
    except PagefleetError as error:
        yield problem("output", str(error))


def _input_lines(found: InputSet, config: JobConfig) -> Iterator[CheckResult]:
    kinds, names, missing, size = Counter[str](), list[str](), list[str](), 0
    for document in found:
        kinds[Path(document.doc_id).suffix.lower() or Path(document.uri).suffix.lower()] += 1
        size += document.size
        if len(names) < NAMES_SHOWN:
            names.append(document.doc_id)
        if not document.version and not document.uri.startswith("s3://"):
            missing.append(document.uri)
    count = kinds.total()
    by_kind = ", ".join(f"{number:,} {kind or 'of no kind'}" for kind, number in kinds.most_common())
    shown = ", ".join(names) + (", …" if count > len(names) else "")
    yield ok("inputs", f"{count:,} documents, {gib(size)} ({by_kind}): {shown}")
    single = sum(kinds[suffix] for suffix in IMAGE_SUFFIXES if suffix not in SEVERAL_PAGES)
    if single < count:
        yield ok("pages", f"{single:,} images of one page; those of the other documents show when opened")
    else:
        yield ok("pages", f"{single:,}, one in each image")
    for sentence in found.warnings:
        yield warning("inputs", sentence)
    if missing:
        yield problem("inputs", f"{len(missing):,} cannot be read: {', '.join(missing[:NAMES_SHOWN])}")
    if config.input.limit or config.input.max_pages:
        yield ok("cut", f"limit {config.input.limit}, max_pages {config.input.max_pages} (0: none)")


def _output_lines(
    output: str, config: JobConfig, options: RunOptions, found: InputSet | None
) -> Iterator[CheckResult]:
    store = open_store(output, config.s3)
    yield ok("output", _tried_to_write(store, output))
    stored, job = store.read(PATH), read_job(store)
    if job is not None and not options.new_generation:
        config = as_begun(config, job.config)
    entering = Entering(store, config, (), options.new_generation)
    entering(stored[0] if stored else None)  # raises what a run would be refused with
    if job is not None and found is not None:
        stale = entering.job.fingerprint if entering.job.replaced else ""
        overview = survey(found, cut_of(config.input))
        plan = RunPlanner(overview, config.input, store, stale, config.owed_variants()).plan(
            OutputListing.take(store)
        )
        left = sum(unit.wanted for unit in plan.units)
        left += sum(len(unit.wanted_indexes()) for unit in plan.unwritten)
        pages = total_up(store).pages
        yield ok("output", f"goes on: {pages:,} pages stored, {left:,} of {plan.documents:,} documents left")


def _tried_to_write(store: Store, output: str) -> str:
    """Create and delete one object as a run would. Raises StoreError that says what is in the way."""
    if not isinstance(store, LocalStore):
        return _written_to(store, output)
    folder = Path(output).absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        raise StoreError(f"{nearest} is a file, where the output needs a folder: choose another output")
    try:
        with tempfile.TemporaryDirectory(prefix=f"{PROBE}-", dir=nearest) as scratch:
            return _written_to(LocalStore(scratch), str(nearest))
    except OSError as error:
        raise StoreError(f"{nearest} cannot be written: {error.strerror}: choose another output") from error


def _written_to(store: Store, where: str) -> str:
    name = f"{PROBE}-{uuid4().hex}"
    store.create(name, b"")
    store.delete(name)
    return f"{where} can be written (tried with an object that is gone again)"
