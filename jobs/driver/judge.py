"""Obeys the policies on who is to blame: writes the rows of what is condemned, has the built-in page rendered
and read where that must tell, gives failures a second try, and stops the job where no page is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster.fleet import Fleet, RenderDone, UnitKey
from jobs.driver import events
from jobs.driver.breaker import Breaker, Failure
from jobs.driver.open_unit import OpenUnit
from jobs.driver.read_queue import EngineKiller, ReadQueue
from jobs.driver.render_calls import TO_READ, Unrenderable
from jobs.driver.render_queue import RenderQueue
from jobs.driver.snapshot import Progress
from manifests.errors import JobError
from results.read_report import ReadReport
from results.rows import ResultRow, Status

ANSWERED = (Status.OK, Status.FALLBACK)


class Judge:
    """Judges the pages of the units of one run. ``run`` is its id and fingerprint."""

    def __init__(
        self,
        units: dict[UnitKey, OpenUnit],
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
        self._was_tripped = False
        self._control_report = ReadReport()
        self.breaker = Breaker(proven=proven)

    # What is held

    def hold(self, key: UnitKey, rows: Iterable[ResultRow]) -> None:
        """Pages the engine could not read: held until it is known who is to blame."""
        unit = self._units[key]
        for row in rows:
            doc_index = unit.index_of(row.doc_id)
            page = (key, doc_index, row.page)
            if doc_index not in unit.given_up and not self.breaker.holds(page):
                unit.held += 1
                self.breaker.failed(Failure(page, row.reason, row))

    def stored(self, key: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        """Which ``(document index, page)`` need not be read: there is a row, or one is held."""
        return [
            there or self.breaker.holds((key, *page))
            for page, there in zip(pages, self._fleet.stored(key, pages), strict=True)
        ]

    def drop_unit(self, key: UnitKey) -> None:
        """Another process reads the unit now."""
        self.breaker.drop(lambda page: page[0] == key)

    def drop_document(self, key: UnitKey, doc_index: int) -> None:
        """The document is read anew, or not at all."""
        self.breaker.drop(lambda page: page[:2] == (key, doc_index))
        self._units[key].held = self.breaker.held_of(key)

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
        written = self._carry_out(nothing_else=nothing_else)
        for fault in (self._reading.suspects.fault, self._rendering.suspects.fault, self.breaker.fault):
            if fault:
                raise JobError(fault)
        return bool(killers or unrenderable or written)

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
        for row in rows:
            self._progress.count_failure(row.reason)
        self._units[key].writes += 1
        self._fleet.write_rows(key, rows)

    def _carry_out(self, *, nothing_else: bool) -> bool:
        judged = self.breaker.judge(nothing_else=nothing_else)
        if judged.again:
            self._on_event(events.EngineCleared(len(judged.write), len(judged.again)))
        for key, failures in _by_unit(judged.write):
            self._units[key].held -= len(failures)
            self._write(key, [failure.row for failure in failures])
        for key, failures in _by_unit(judged.again):
            self._units[key].held -= len(failures)
            items = self._units[key].items_of(failure.key[1:] for failure in failures)
            self._rendering.add(key, items, first=True)
        if self.breaker.is_tripped and not self._was_tripped:
            self._on_event(events.EngineFailing(len(self.breaker), self.breaker.main_reason))
        self._was_tripped = self.breaker.is_tripped
        return bool(judged.write)

    # The control

    def _ask_for_control(self, *, nothing_else: bool) -> None:
        control = self._reading.control
        if self.breaker.wants_control(nothing_else=nothing_else):
            control.ask()
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
        told, self._control_report = self._control_report, ReadReport()
        self._reading.control_done()
        if any(told.statuses.get(status) for status in ANSWERED):
            self._reading.suspects.control_answered()
            self.breaker.control_answered()
        else:
            reason = told.failures[0].reason if told.failures else "it gave no answer"
            self.breaker.control_refused(reason)
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
        self.breaker.control_failed()


def _by_unit(failures: Iterable[Failure]) -> Iterable[tuple[UnitKey, list[Failure]]]:
    found: dict[Any, list[Failure]] = {}
    for failure in failures:
        found.setdefault(failure.key[0], []).append(failure)
    return found.items()
