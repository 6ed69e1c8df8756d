"""Obeys the policies on who is to blame: writes the rows of what is condemned, has the built-in page rendered
and read where that must tell, gives failures a second try, and stops the job where no page is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster.fleet import Fleet, RenderDone, UnitKey
from jobs.driver import events
from jobs.driver.breaker import Breaker, Failure, Key
from jobs.driver.controls import TO_READ
from jobs.driver.read_parts import EngineKiller
from jobs.driver.read_queue import ReadQueue
from jobs.driver.render_calls import Unrenderable
from jobs.driver.render_queue import RenderQueue
from jobs.driver.running_unit import RunningUnit
from jobs.driver.snapshot import Progress
from manifests.errors import JobError
from results.open_unit import ANSWERED
from results.read_report import ReadReport
from results.rows import ResultRow


class FailureHandler:
    """Judges the pages of the units of one run. ``run`` is its id and fingerprint."""

    def __init__(
        self,
        units: dict[UnitKey, RunningUnit],
        fleet: Fleet,
        queues: tuple[RenderQueue, ReadQueue],
        progress: Progress,
        *,
        run: tuple[str, str],
        proven: bool,
        on_event: Callable[[events.DriverEvent], None],
    ) -> None:
        self._units = units
        self._fleet = fleet
        self._rendering, self._reading = queues
        self._progress = progress
        self._run = run
        self._on_event = on_event
        self._proven = proven
        self._breakers: dict[str, Breaker] = {}
        self._had_second_try: set[Key] = set()
        self._reported_failing: set[str] = set()
        self._control_report = ReadReport()

    # What is held

    @property
    def held_failures(self) -> int:
        """Pages engines could not read, of which it is not decided who is to blame."""
        return sum(map(len, self._breakers.values()))

    @property
    def on_hold(self) -> set[str]:
        """Replicas that get no more pages for now, or for good."""
        return {name for name, breaker in self._breakers.items() if breaker.is_tripped or breaker.fault}

    def found_in_store(self, answers: int) -> None:
        """An earlier run was answered so many times."""
        self._proven = self._proven or answers > 0

    def answered(self, replica: str, count: int) -> None:
        """A replica's engine read pages well."""
        if count and (breaker := self._breakers.get(replica)) is not None:
            breaker.answered(count)
        self.found_in_store(count)

    def hold(self, number: int, key: UnitKey, rows: Iterable[ResultRow]) -> None:
        """Pages of a read the engine could not read: held until it is known who is to blame."""
        unit = self._units[key]
        replica = self._reading.replica_of(number)
        if replica not in self._breakers:
            self._breakers[replica] = Breaker(proven=self._proven, had_second_try=self._had_second_try)
        pages: dict[tuple[int, int], list[ResultRow]] = {}
        for row in rows:
            pages.setdefault((unit.index_of(row.doc_id), row.page), []).append(row)
        for (doc_index, number_of_page), mine in pages.items():
            page = (key, doc_index, number_of_page)
            self._reading.failed(number, doc_index, number_of_page)
            if doc_index not in unit.given_up and not self._holds(page):
                unit.held += 1
                self._breakers[replica].failed(Failure(page, mine[0].reason, mine))

    def replica_lost(self, replica: str) -> None:
        """What only it could have told will be told by another."""
        if (breaker := self._breakers.pop(replica, None)) is not None:
            self._read_again(breaker.give_back())
        self._reported_failing.discard(replica)

    def _holds(self, page: Key) -> bool:
        return any(breaker.holds(page) for breaker in self._breakers.values())

    def drop_unit(self, key: UnitKey) -> None:
        """Another process reads the unit now."""
        self._drop(lambda page: page[0] == key)

    def drop_document(self, key: UnitKey, doc_index: int) -> None:
        """The document is read anew, or not at all."""
        self._drop(lambda page: page[:2] == (key, doc_index))
        self._units[key].held = sum(breaker.held_of(key) for breaker in self._breakers.values())

    def _drop(self, is_gone: Callable[[Key], bool]) -> None:
        self._had_second_try -= {page for page in self._had_second_try if is_gone(page)}
        for breaker in self._breakers.values():
            breaker.drop(is_gone)

    # Decisions

    def settle(self, *, nothing_else: bool) -> bool:
        """Carry out what is decided by now; ``nothing_else`` is left that could tell more. Returns whether
        pages came to their end. Raises JobError where the environment is at fault."""
        killers = self._reading.condemned(nothing_else=nothing_else)
        unrenderable = self._rendering.condemned(nothing_else=nothing_else)
        for killer in killers:
            self._condemn(killer, self._rendering.page_counts.get(killer.unit, {}).get(killer.doc_index, 0))
        for page in unrenderable:
            self._condemn(page, page.page_count)
        self._ask_for_control(nothing_else=nothing_else)
        written = [
            self._carry_out(name, breaker, nothing_else=nothing_else)
            for name, breaker in self._breakers.items()
        ]
        self._raise_faults()
        return bool(killers or unrenderable or any(written))

    def _raise_faults(self) -> None:
        for fault in (self._reading.suspects.fault, self._rendering.suspects.fault):
            if fault:
                raise JobError(fault)
        breakers = [self._breakers.get(name) for name in self._reading.replicas.per_replica]
        engines = ["" if breaker is None else breaker.fault for breaker in breakers]
        if engines and all(engines):
            raise JobError(engines[0])

    def fail(self, key: UnitKey, doc_index: int, page: int, reason: str, page_count: int = 0) -> None:
        """Write the driver's own row of a page, or of a document (page 0)."""
        row = self._units[key].failed_row(doc_index, page, reason, page_count, self._run)
        self._write(key, [row])

    def _condemn(self, failure: Unrenderable | EngineKiller, page_count: int) -> None:
        unit = self._units.get(failure.unit)
        if unit is None or failure.doc_index in unit.given_up:
            return
        self.fail(failure.unit, failure.doc_index, failure.page, failure.reason, page_count)
        doc_id = unit.plan.documents[failure.doc_index].doc_id
        self._on_event(events.PageCondemned(doc_id, failure.page, failure.reason))

    def _write(self, key: UnitKey, rows: Sequence[ResultRow]) -> None:
        for reason in {(row.doc_id, row.page): row.reason for row in rows}.values():
            self._progress.count_failure(reason)
        self._units[key].writes += 1
        self._fleet.write_rows(key, rows)

    def _carry_out(self, replica: str, breaker: Breaker, *, nothing_else: bool) -> bool:
        """Carry out what a replica's breaker decided; whether rows were written."""
        decided = breaker.decide(nothing_else=nothing_else)
        if decided.again:
            self._on_event(events.EngineCleared(replica, len(decided.write), len(decided.again)))
        for key, failures in _by_unit(decided.write):
            self._units[key].held -= len(failures)
            self._write(key, [row for failure in failures for row in failure.rows])
        self._read_again(decided.again)
        if breaker.is_tripped and replica not in self._reported_failing:
            self._on_event(events.EngineFailing(replica, len(breaker), breaker.main_reason))
            self._reported_failing.add(replica)
        elif not breaker.is_tripped:
            self._reported_failing.discard(replica)
        if breaker.fault and len(breaker):
            self._set_aside(replica, breaker)
        return bool(decided.write)

    def _set_aside(self, replica: str, breaker: Breaker) -> None:
        """An engine is at fault: others read its pages."""
        if not self._reading.replicas.per_replica.keys() - self.on_hold:
            return  # there are none, or they are about to be found at fault too
        failures = breaker.give_back()
        self._on_event(events.ReplicaAtFault(replica, len(failures), failures[0].reason))
        self._read_again(failures)

    def _read_again(self, failures: Sequence[Failure]) -> None:
        for key, mine in _by_unit(failures):
            self._units[key].held -= len(mine)
            items = self._units[key].items_of(failure.key[1:] for failure in mine)
            self._rendering.add(key, items, first=True)

    # The control

    def _ask_for_control(self, *, nothing_else: bool) -> None:
        control = self._reading.control
        for name, breaker in self._breakers.items():
            if breaker.wants_control(nothing_else=nothing_else):
                control.ask(name)
        if control.must_be_rendered():
            self._rendering.want_control()
        if self._rendering.gave_up_control():
            self._no_control_to_read()

    def control_rendered(self, event: RenderDone, kind: str) -> None:
        """The built-in page came out of a renderer, or did not."""
        rendered = self._rendering.control_done(event.call, event.report)
        if kind == TO_READ and rendered:
            self._reading.control.rendered(event.chunk)
        elif kind == TO_READ:
            self._no_control_to_read()

    def control_read(self, report: ReadReport, *, ended: bool) -> None:
        """What an engine made of the built-in page, so far."""
        self._control_report += report
        if not ended:
            return
        whole, self._control_report = self._control_report, ReadReport()
        breaker = self._breakers.get(self._reading.control.replica)
        self._reading.control_done()
        if any(whole.statuses.get(status) for status in ANSWERED):
            self._reading.suspects.control_answered()
            if breaker is not None:
                breaker.control_answered()
            return
        if breaker is not None:
            breaker.control_refused(whole.failures[0].reason if whole.failures else "it gave no answer")
        if self._reading.suspects.is_active:
            self._reading.suspects.control_failed()

    def control_lost(self) -> None:
        """The image of the built-in page is gone."""
        self._control_report = ReadReport()
        self._reading.control_done()
        self._reading.control.lost()

    def _no_control_to_read(self) -> None:
        self._reading.control.rendered(None)
        self._reading.suspects.control_failed()
        for breaker in self._breakers.values():
            breaker.control_failed()


def _by_unit(failures: Iterable[Failure]) -> Iterable[tuple[UnitKey, list[Failure]]]:
    found: dict[Any, list[Failure]] = {}
    for failure in failures:
        found.setdefault(failure.key[0], []).append(failure)
    return found.items()
