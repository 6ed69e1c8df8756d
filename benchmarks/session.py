"""A warm cluster that runs one job after the other, as ``jobs.flow`` would run each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from cluster.fleet import Event, RendererUp, ReplicaUp
from cluster.ray_fleet import RayFleet
from cluster.settings import ClusterConfig, FleetSpec
from jobs.config import JobConfig
from jobs.driver.driver import Driver, DriverConfig
from jobs.driver.events import QuietObserver
from jobs.driver.plan_queue import QueuedUnit
from jobs.driver.snapshot import Snapshot
from jobs.factories import Recipe
from manifests.documents import Document
from manifests.sources import local_version
from manifests.units import cut_units, first_generation
from results.job_claim import JobClaim
from results.local_store import LocalStore
from results.owner import Owner
from results.participants import Purpose

UP_WITHIN_S = 120.0
DIGEST = "benchmark"


class _StandingFleet:
    """A fleet that outlives a driver: each new driver is told of the workers that are up already."""

    def __init__(self, fleet: RayFleet) -> None:
        self._fleet = fleet
        self._up: list[Event] = []
        self._untold: list[Event] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fleet, name)

    def wait_until_up(self) -> None:
        """Returns when all workers that were asked for are up."""
        self._fleet.start()
        wanted = self._fleet.asked_for
        deadline = time.monotonic() + UP_WITHIN_S
        while len(self._up) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(self._up)} of {wanted} workers are up")
            self._up += [e for e in self._fleet.poll(0.5) if isinstance(e, RendererUp | ReplicaUp)]

    def tell_again(self) -> None:
        self._untold = list(self._up)

    def poll(self, timeout_s: float) -> list[Event]:
        events, self._untold = self._untold, []
        return events or self._fleet.poll(timeout_s)


@dataclass(frozen=True, slots=True)
class Ran:
    """What one job came to."""

    pages: int
    seconds: float
    statuses: dict[str, int]


class Session:
    """A cluster with its workers up. Every run reads documents into the same local output."""

    def __init__(self, spec: FleetSpec, config: ClusterConfig, output: Path) -> None:
        self._store = LocalStore(str(output))
        self._config = config
        self._fleet = _StandingFleet(RayFleet(spec, config))
        self._runs = count(1)

    @classmethod
    def of_job(cls, config: JobConfig, output: Path) -> Session:
        """A session with the workers a job of this configuration has."""
        recipe = Recipe(config, str(output), "benchmark", DIGEST)
        return cls(recipe.fleet_spec(), config.cluster, output)

    def __enter__(self) -> Self:
        self._fleet.wait_until_up()
        return self

    def __exit__(self, *error: object) -> None:
        self._fleet.stop()

    def run(self, documents: Iterator[Document], observe: Callable[[Snapshot], None] | None = None) -> Ran:
        """Read documents; their ids must be new to this session's output."""
        owner = Owner.this_process(f"run-{next(self._runs)}")
        claim = JobClaim(self._store, owner, Purpose(DIGEST))
        claim.enter(lambda stored: {}, lambda seconds: False, print)
        claims = claim.units()
        config = DriverConfig(
            run_id=owner.run_id,
            fingerprint=DIGEST,
            window_bytes=self._config.window_bytes,
            stall_s=300.0,
            page_timeout_s=60.0,
            open_timeout_s=120.0,
        )
        self._fleet.tell_again()
        driver = Driver(self._fleet, claims, config, QuietObserver(observe or (lambda _: None)))
        plans = (QueuedUnit.of(first_generation(unit)) for unit in cut_units(documents))
        started = time.perf_counter()
        try:
            driver.run(plans, lambda _: False, lambda: False)
        finally:
            claims.release_all()
            claim.leave()
        seconds = time.perf_counter() - started
        return Ran(driver.progress.pages, seconds, dict(driver.progress.statuses))


def documents_of(paths: Sequence[Path], name: str) -> Iterator[Document]:
    """Files as documents whose ids begin with ``name``, so that one output takes them again and again."""
    for path in paths:
        found = path.stat()
        doc_id = f"{name}/{path.name}"
        version = local_version(found.st_size, found.st_mtime_ns)
        yield Document(doc_id, str(path), size=found.st_size, version=version, markdown=doc_id[:-4])


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """An output that is deleted afterwards."""
    return tempfile.TemporaryDirectory(prefix="pagefleet-benchmark-")
