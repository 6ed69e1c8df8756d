"""``job.json``: what this output was made with, and whether a job may go on in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from typing import Any

from pydantic import TypeAdapter

from jobs.config import POSTPROCESSING_VERSION, JobConfig
from manifests.errors import InputError, OutputRefused
from manifests.secrets import masked, without_secrets
from results.fingerprint import SCHEMA, fingerprint
from results.job_claim import PATH
from results.leftovers import foreign_objects
from results.store import Store

PACKAGES = ("pagefleet", "pyarrow", "pymupdf", "ray", "rapidocr")
RENAMED = {("run", "max_failed"): "max_failed_share"}
"""Settings of outputs that earlier versions began."""
JsonObject = TypeAdapter(dict[str, Any])
FIRST = 1
"""The schema of fingerprints, and the version of postprocessing, of outputs that name none."""


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
    return None if found is None else _decode(store, found[0])


@dataclass(slots=True)
class Entering:
    """What becomes of ``job.json`` when a job enters the output; called while nobody else can, with what
    is stored there. ``job`` is what this job goes by from then on."""

    store: Store
    config: JobConfig
    inputs: tuple[str, ...]
    new_generation: bool
    job: JobFile = field(init=False)

    def __call__(self, stored: bytes | None) -> dict[str, Any]:
        """Raises OutputRefused when the output holds what this job must not touch."""
        before = None if stored is None else _decode(self.store, stored)
        wanted = fingerprint_on(self.config, before)
        self.job = JobFile(self.config, self.inputs, wanted)
        if before is None:
            _refuse_strangers(self.store, wanted)
        elif before.fingerprint == wanted:
            self.job = replace(before, config=self.config, inputs=self.inputs)
        elif set(before.config.owed_variants()) != set(self.config.owed_variants()) and _holds_rows(
            self.store
        ):
            raise OutputRefused(_other_variants(self.store, before.config, self.config))
        elif self.new_generation:
            self.job = replace(self.job, replaced=True)
        elif _holds_rows(self.store):
            raise OutputRefused(_difference(self.store, before.config, self.config))
        # Otherwise an engine that could not start left its settings, and nothing else.
        return _fields(self.job)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """For what works on an output as it is: a retry, an assembly. With a ``fingerprint``, only while the
    output still is of those settings."""

    store: Store
    fingerprint: str = ""

    def __call__(self, stored: bytes | None) -> dict[str, Any]:
        if stored is None:
            raise InputError(f"{self.store.root} holds no pagefleet job")
        if self.fingerprint and _decode(self.store, stored).fingerprint != self.fingerprint:
            raise OutputRefused(
                f"another job with other settings has entered {self.store.root} since this one began: "
                "run the same command again"
            )
        fields: dict[str, Any] = json.loads(stored)
        return fields


def fingerprint_on(config: JobConfig, stored: JobFile | None) -> str:
    """A configuration's fingerprint on an output: the stored one where nothing has changed since but how
    fingerprints are made, so that outputs of earlier versions go on."""
    fields = config.result_fields()
    if stored is None or stored.schema == SCHEMA:
        return fingerprint(fields)
    then = stored.config.result_fields() | {"postprocessing": stored.postprocessing}
    return stored.fingerprint if fields == then else fingerprint(fields)


def _decode(store: Store, data: bytes) -> JobFile:
    try:
        fields = json.loads(data)
        config = _from_store(fields["config"])
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


def _holds_rows(store: Store) -> bool:
    entries = chain(store.list("partial/"), store.list("pages/"))
    return any(entry.path.endswith(".parquet") for entry in entries)


def _fields(job: JobFile) -> dict[str, Any]:
    return {  # the fingerprint stands first: that is how walking an input knows an output
        "fingerprint": job.fingerprint,
        "replaced": job.replaced,
        "inputs": masked(list(job.inputs)),
        "schema": job.schema,
        "postprocessing": job.postprocessing,
        "config": _to_store(job.config),
        "versions": {package: _version(package) for package in PACKAGES},
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _refuse_strangers(store: Store, wanted: str) -> None:
    """Raise OutputRefused for what is not ours. Processes that are about to enter are seen before there is
    a job, and what a run left whose output was deleted is known."""
    found = list(islice(foreign_objects(store, wanted), 3))
    if found and store.read(PATH) is None:  # else a job has entered since we looked: we shall look again
        raise OutputRefused(
            f"{store.root} is not empty and holds no pagefleet job ({', '.join(found)}, …): "
            "choose another output"
        )


def _other_variants(store: Store, old: JobConfig, new: JobConfig) -> str:
    named = [", ".join(map(repr, config.owed_variants())) for config in (old, new)]
    return (
        f"each page of {store.root} has a row in {named[0]}, and this job's would have one in {named[1]}: "
        "choose another output"
    )


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


def _to_store(config: JobConfig) -> Any:
    """A configuration as JSON, with a mask for every secret."""
    return masked(config.model_dump(mode="json"))


def _from_store(fields: Mapping[str, Any]) -> JobConfig:
    """A stored configuration by the names of today; a masked secret is none. Raises ValueError for others."""
    sections = JsonObject.validate_python(without_secrets(fields))
    for (section, old), new in RENAMED.items():
        values = sections.get(section)
        if isinstance(values, dict) and old in values:
            values[new] = values.pop(old)
    return JobConfig.model_validate(sections)
