"""``job.json``: what this output was made with, and whether a job may go on in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from typing import Any

from jobs.config import JobConfig, fingerprint
from manifests.errors import InputError, OutputRefused
from results.job_claim import PATH
from results.store import Store

PACKAGES = ("pagefleet", "pyarrow", "pymupdf", "ray", "rapidocr")


@dataclass(frozen=True, slots=True)
class JobFile:
    """The stored job, or the one about to be stored."""

    config: JobConfig
    inputs: tuple[str, ...]
    fingerprint: str
    replaced: bool = False
    """Whether sealed units of an earlier fingerprint are to be read again."""


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
        wanted = fingerprint(self.config.result_fields())
        self.job = JobFile(self.config, self.inputs, wanted)
        if stored is None:
            _refuse_strangers(self.store)
            return _fields(self.job)
        before = _decode(self.store, stored)
        if before.fingerprint == wanted:
            self.job = replace(self.job, replaced=before.replaced)
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


def _decode(store: Store, data: bytes) -> JobFile:
    try:
        fields = json.loads(data)
        config = JobConfig.model_validate(_without_secrets(fields["config"]))
        return JobFile(config, tuple(fields["inputs"]), fields["fingerprint"], fields["replaced"])
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
        "inputs": list(job.inputs),
        "config": job.config.model_dump(mode="json"),
        "versions": {package: _version(package) for package in PACKAGES},
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _without_secrets(fields: dict[str, Any]) -> dict[str, Any]:
    """A masked password is no password."""
    render = {name: value for name, value in fields.get("render", {}).items() if name != "password"}
    return {**fields, "render": render}


def _refuse_strangers(store: Store) -> None:
    """Processes that are about to enter are seen before there is a job."""
    others = (entry.path for entry in store.list() if not entry.path.startswith("claims/"))
    strangers = list(islice(others, 3))
    if strangers:
        raise OutputRefused(
            f"{store.root} is not empty and holds no pagefleet job ({', '.join(strangers)}, …): "
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
