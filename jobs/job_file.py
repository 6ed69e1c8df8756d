"""``job.json``: what this output was made with, and whether a job may go on in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice

from jobs.config import POSTPROCESSING_VERSION, JobConfig
from jobs.job_settings import FIRST, fingerprint_on, from_store, to_store
from manifests.errors import OutputRefused, StoreError
from manifests.secrets import masked
from results.claims import at_work
from results.fingerprint import SCHEMA
from results.leftovers import clear_leftovers, gone, strangers
from results.store import Created, Store

PATH = "job.json"
PACKAGES = ("pagefleet", "pyarrow", "pymupdf", "ray", "rapidocr")


@dataclass(frozen=True, slots=True)
class JobFile:
    """The stored job, or the one about to be stored."""

    config: JobConfig
    inputs: tuple[str, ...]
    fingerprint: str
    replaced: bool = False
    """Whether sealed units of an earlier fingerprint are to be read again."""
    schema: int = SCHEMA
    postprocessing: int = POSTPROCESSING_VERSION


def read_job(store: Store) -> JobFile | None:
    """The job an output belongs to, or None for a fresh output."""
    found = store.read(PATH)
    if found is None:
        return None
    try:
        fields = json.loads(found[0])
        config = from_store(fields["config"])
        return JobFile(
            config,
            tuple(fields["inputs"]),
            fields["fingerprint"],
            fields["replaced"],
            fields.get("schema", FIRST),
            fields.get("postprocessing", FIRST),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OutputRefused(
            f"{store.root}/{PATH} is not a job this version wrote ({type(error).__name__}: {error}): "
            "choose another output"
        ) from error


def enter_output(
    store: Store, config: JobConfig, inputs: tuple[str, ...], *, new_generation: bool
) -> JobFile:
    """Make the output ours, or refuse it. Safe against two jobs entering at once."""
    before = stored = read_job(store)
    wanted = fingerprint_on(config, stored)
    job = JobFile(config, inputs, wanted)
    if stored is None:
        _refuse_strangers(store, wanted)
        if store.create(PATH, _encode(job)) is Created.CREATED:
            return job
        stored = read_job(store)
    if stored is None or stored.fingerprint == wanted:
        job = replace(stored or job, config=config, inputs=inputs)
    elif new_generation:
        job = JobFile(config, inputs, wanted, replaced=True)
    elif before is None or _is_in_use(store):
        raise OutputRefused(_difference(store, stored.config, config))
    else:  # an engine that could not start left its settings, and nothing else
        store.replace(PATH, _encode(job))
        if _is_in_use(store):  # by that job, begun again meanwhile
            store.replace(PATH, _encode(stored))
            raise OutputRefused(_difference(store, stored.config, config))
        return job
    store.replace(PATH, _encode(job))
    return job


def check_still_ours(store: Store, job: JobFile) -> None:
    """Raise OutputRefused when a job with other settings has entered the output since ``enter_output``.

    To be asked once a claim is held: from then on the output is in use, and others are refused.
    """
    now = read_job(store)
    if now is None:
        raise StoreError(gone(store, PATH))
    if now.fingerprint != job.fingerprint:
        raise OutputRefused(
            f"another job with other settings has taken over {store.root} since this one began: wait for it "
            "to end, or choose another output"
        )


def _is_in_use(store: Store) -> bool:
    """Whether somebody is at work here or any row is stored. Asked in this order, since a claim is given
    back only after its rows are stored."""
    if next(at_work(store), None) is not None:
        return True
    entries = chain(store.list("partial/"), store.list("pages/"))
    return any(entry.path.endswith(".parquet") for entry in entries)


def _encode(job: JobFile) -> bytes:
    fields = {  # the fingerprint stands first: that is how walking an input knows an output
        "fingerprint": job.fingerprint,
        "replaced": job.replaced,
        "inputs": masked(list(job.inputs)),
        "schema": job.schema,
        "postprocessing": job.postprocessing,
        "config": to_store(job.config),
        "versions": {package: _version(package) for package in PACKAGES},
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(fields, indent=2, ensure_ascii=False).encode()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _refuse_strangers(store: Store, wanted: str) -> None:
    """Raise OutputRefused for what is not ours; clear away what a run left whose output was deleted."""
    found = list(islice(strangers(store, wanted), 3))
    if found:
        raise OutputRefused(
            f"{store.root} is not empty and holds no pagefleet job ({', '.join(found)}, …): "
            "choose another output"
        )
    clear_leftovers(store)


def _difference(store: Store, old: JobConfig, new: JobConfig) -> str:
    before, after = old.result_fields(), new.result_fields()
    lines = [
        f"  {name}: {before.get(name)!r} there, {after.get(name)!r} now"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return (
        f"{store.root} holds the results of a job with other settings:\n" + "\n".join(lines) + "\n"
        "Choose another output, or give --new-generation to read everything again into this one "
        "(earlier rows are kept under history/)"
    )
