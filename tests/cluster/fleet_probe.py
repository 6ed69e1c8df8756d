"""``python -m tests.cluster.fleet_probe SCENARIO OUT [ADDRESS]``: a fleet on Ray without a driver.

Prints what comes of it, one JSON line each; tests start it, since a process can join one cluster only.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from cluster.fleet import (
    Event,
    ReadDone,
    ReadProgress,
    RendererLost,
    RendererUp,
    ReplicaLost,
    ReplicaUp,
    RowsWritten,
    UnitOpened,
    UnitSealed,
)
from cluster.ray_fleet import RayFleet
from cluster.settings import ClusterConfig
from jobs.driver.driver import MAX_OPEN_UNITS, MAX_WAITING_UNITS
from manifests.errors import PagefleetError
from tests.cluster.fleet_fakes import FakeWorkers, SlowSealer, call, plan

WITHIN_S = 90.0


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


class Probe:
    """A fleet of one renderer and some replicas, and the events it has told so far."""

    def __init__(self, workers: FakeWorkers, address: str, replicas: int = 1) -> None:
        config = ClusterConfig(
            address=address, replicas=replicas, renderers=1, num_cpus=2, object_store_bytes=100 * 2**20
        )
        self.fleet = RayFleet(workers.spec(), config)
        self.events: list[Event] = []

    def up(self, replicas: int = 1) -> list[str]:
        """Start, and wait for all workers; returns the replicas' names."""
        self.fleet.start()
        self.wait(lambda: self.of(RendererUp) and len(self.of(ReplicaUp)) == replicas)
        return [event.replica for event in self.of(ReplicaUp)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait(self, enough: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not enough():
            if time.monotonic() > deadline:
                raise TimeoutError(str(self.events[-5:]))
            self.events += self.fleet.poll(0.2)


def memory(workers: FakeWorkers, address: str) -> None:
    """A renderer and a replica take memory until Ray ends them; both are replaced."""
    probe = Probe(workers, address)
    try:
        (replica,) = probe.up()
        probe.fleet.render("renderer-1", 1, call("eat"))
        probe.wait(lambda: probe.of(RendererLost) and len(probe.of(RendererUp)) > 1)
        probe.fleet.read(replica, 2, "eat", None)
        probe.wait(lambda: probe.of(ReplicaLost) and len(probe.of(ReplicaUp)) > 1)
        for lost in (*probe.of(RendererLost), *probe.of(ReplicaLost)):
            say(lost=type(lost).__name__, cause=lost.cause.name, log_tail=lost.log_tail)
        say(calls=probe.of(RendererLost)[0].calls, reads=probe.of(ReplicaLost)[0].reads)
    finally:
        probe.fleet.stop()


def unavailable(workers: FakeWorkers, address: str) -> None:
    """One of two replicas cannot reach its servers; the other has finished a page and waits with another."""
    probe = Probe(workers, address, replicas=2)
    try:
        one, other = probe.up(2)
        probe.fleet.open_unit(plan())
        probe.wait(lambda: probe.of(UnitOpened))
        probe.fleet.read(one, 1, "page 1", None)
        probe.wait(lambda: probe.of(ReadDone))
        probe.fleet.read(one, 2, "wait", None)
        probe.wait(lambda: len([e for e in probe.of(ReadProgress) if e.report.waiting]) >= 2)
        say(waiting=probe.of(ReadProgress)[-1].report.waiting)
        probe.fleet.read(other, 3, "unavailable", None)
        probe.wait(lambda: False)
    except PagefleetError as error:
        say(error=type(error).__name__, message=str(error))
        probe.fleet.drain()
        say(drained=True)
    finally:
        probe.fleet.stop()
        probe.fleet.stop()


def no_start(workers: FakeWorkers, address: str) -> None:
    """Nothing starts: an engine that cannot reach its servers ends the job at once, as it says."""
    probe = Probe(FakeWorkers(workers.output, reader="unavailable"), address)
    try:
        probe.up()
    except PagefleetError as error:
        say(error=type(error).__name__, message=str(error))
    finally:
        probe.fleet.stop()


def restart(workers: FakeWorkers, address: str) -> None:
    """A replica dies while its servers are down: it is started until they are back."""
    probe = Probe(workers, address)
    try:
        (replica,) = probe.up()
        workers.servers_down.touch()
        probe.fleet.read(replica, 1, "dead", None)
        probe.wait(lambda: len(probe.of(ReplicaLost)) >= 3)
        for lost in probe.of(ReplicaLost):
            say(cause=lost.cause.name, loading=lost.loading, log_tail=lost.log_tail.splitlines()[-1])
        workers.servers_down.unlink()
        probe.wait(lambda: len(probe.of(ReplicaUp)) == 2)
        say(up=True)
    finally:
        probe.fleet.stop()


def sealing(workers: FakeWorkers, address: str) -> None:
    """Every open unit is being sealed, and none of that ends before the writer has taken more rows."""
    probe = Probe(FakeWorkers(workers.output, writer=SlowSealer), address)
    try:
        probe.up()
        for number in range(MAX_OPEN_UNITS + MAX_WAITING_UNITS):
            probe.fleet.seal_unit((f"u{number}", 1), {})
        probe.fleet.write_rows(("u", 1), [])
        probe.wait(lambda: len(probe.of(UnitSealed)) == MAX_OPEN_UNITS + MAX_WAITING_UNITS)
        say(sealed=len(probe.of(UnitSealed)), written=len(probe.of(RowsWritten)))
    finally:
        probe.fleet.stop()


def half_a_start(workers: FakeWorkers, address: str) -> None:
    """A fleet whose cluster is not there can be drained and stopped all the same."""
    fleet = RayFleet(workers.spec(), ClusterConfig(address="127.0.0.1:1"))
    fleet.stop()
    try:
        fleet.start()
    except PagefleetError as error:
        say(error=type(error).__name__)
    fleet.drain()
    fleet.stop()
    fleet.stop()
    say(stopped=True)


if __name__ == "__main__":
    scenario, out, *more = sys.argv[1:]
    SCENARIOS: dict[str, Callable[[FakeWorkers, str], None]] = {
        "memory": memory,
        "unavailable": unavailable,
        "no_start": no_start,
        "restart": restart,
        "sealing": sealing,
        "half_a_start": half_a_start,
    }
    SCENARIOS[scenario](FakeWorkers(out), more[0] if more else "")
