"""What is to be rendered and by whom. Who is to blame for a renderer's death, and when a source that does
not answer is asked again, is decided elsewhere (``suspects``, ``outages``)."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from cluster.fleet import Cause, UnitKey
from jobs.driver.controls import ALONE, TO_READ, ControlCall
from jobs.driver.paused import PausedJobs
from jobs.driver.render_calls import (
    MAX_CALL_DOCUMENTS,
    Call,
    CallSizes,
    RendererLoad,
    RenderJob,
    RenderOrder,
    Room,
    Unrenderable,
    how_it_died,
    leftovers,
    singles,
    take_jobs,
    unrenderable,
    was_rendered,
)
from jobs.driver.suspects import Role, Suspects, Turn, speaks_against
from manifests.pages import DOCUMENT_PAGE, subtract_pages
from manifests.work import RenderItem, RenderReport

CALLS_PER_RENDERER = 2
RENDERERS = Role("renderer", "renderer", "rendered", max_failed_starts=8)


class RenderQueue:
    """Work for the renderers in order. ``proven`` tells that an earlier run rendered pages."""

    def __init__(
        self,
        page_timeout_s: float,
        open_timeout_s: float,
        *,
        proven: bool = False,
        source_outage_s: float = math.inf,
    ) -> None:
        self._limits_s = (open_timeout_s, page_timeout_s)
        self._jobs: deque[RenderJob] = deque()
        self._renderers: dict[str, RendererLoad] = {}
        self._calls: dict[int, Call] = {}
        self._aside = ""
        self._next = 0
        self._sizes = CallSizes()
        self._control = ControlCall()
        self._closed: set[tuple[UnitKey, int]] = set()
        self.suspects: Suspects[RenderJob] = Suspects(RENDERERS, proven=proven)
        self.sources = PausedJobs(source_outage_s)
        self.outstanding: Counter[UnitKey] = Counter()
        self.page_counts: dict[UnitKey, dict[int, int]] = {}

    def __len__(self) -> int:
        """How many items wait to be rendered, those whose sources do not answer left out."""
        return len(self._jobs) + len(self.suspects)

    @property
    def pages_reserved(self) -> int:
        return sum(call.pages for call in self._calls.values())

    @property
    def bytes_reserved(self) -> int:
        """What the calls under way may answer at most, give or take a page each."""
        return sum(call.max_bytes for call in self._calls.values())

    @property
    def width(self) -> int:
        return len(self._renderers)

    @property
    def waits_for_sources(self) -> bool:
        """Whether nothing is left to do here but to wait for sources that do not answer."""
        busy = (job for call in self._calls.values() for job in call.jobs if not job.asked_again)
        to_try = len(self.suspects) > 0 or self._skip_what_is_down()
        return bool(len(self.sources)) and not to_try and next(busy, None) is None

    def node_of(self, call: int) -> str:
        renderer = self._renderers.get(self._calls[call].renderer)
        return renderer.node if renderer else ""

    def add(self, unit: UnitKey, items: Iterable[RenderItem], *, first: bool = False) -> None:
        """Queue items; ``first`` puts them ahead of what waits."""
        jobs = [RenderJob(unit, item) for item in items]
        self.outstanding[unit] += len(jobs)
        if first:
            self._jobs.extendleft(reversed(jobs))
        else:
            self._jobs.extend(jobs)

    def drop(self, unit: UnitKey) -> None:
        """Forget a unit's work; what calls under way answer of it is nobody's."""
        self._forget_jobs(lambda key: key[0] == unit)
        for call in self._calls.values():
            call.dropped = call.dropped or any(job.unit == unit for job in call.jobs)
        self.forget(unit)

    def close_document(self, unit: UnitKey, doc_index: int) -> None:
        """Nothing more of a document is wanted; what is under way of it comes to nothing."""
        key = (unit, doc_index)
        self._closed.add(key)
        self.outstanding[unit] -= self._forget_jobs(lambda other: other == key)

    def forget(self, unit: UnitKey) -> None:
        """The unit is sealed: nothing of it is outstanding any more."""
        self.page_counts.pop(unit, None)
        self._closed = {key for key in self._closed if key[0] != unit}
        self.sources.drop(lambda key: key[0] == unit)
        del self.outstanding[unit]

    def renderer_up(self, renderer: str, node: str) -> None:
        self._renderers[renderer] = RendererLoad(node)
        self.suspects.started()
        if self.suspects.is_active and not self._aside:
            self._aside = renderer

    def want_control(self) -> None:
        """Have the built-in page rendered that engines are to read."""
        self._control.wanted = True

    def orders(self, room: Room, nodes: set[str]) -> list[RenderOrder]:
        """What to render next. A chunk made on a node without a replica travels as JPEG."""
        self._jobs.extendleft(self.sources.due(time.monotonic()))
        orders = [*self._order_aside(room), *self._order_control(nodes)]
        pages, free_bytes = room.pages, room.bytes
        for depth in range(CALLS_PER_RENDERER):
            for name, renderer in self._renderers.items():
                if len(renderer.calls) > depth or name == self._aside or not self._jobs:
                    continue
                if not (room.idle and not self._calls) and (pages <= 0 or free_bytes <= 0):
                    return orders
                call = self._make_call(name, room.call_pages, free_bytes)
                if call is None:
                    continue
                orders.append(self._give(call, encode=bool(nodes) and renderer.node not in nodes))
                pages -= call.pages
                free_bytes -= call.max_bytes
        return orders

    def _order_aside(self, room: Room) -> Iterator[RenderOrder]:
        """What the renderer that is set aside for suspects does next, once it holds nothing."""
        if not self.suspects.is_active and not self._renderers.get(self._aside, RendererLoad("")).calls:
            self._aside = ""
        if not self._aside and self.suspects.is_active:
            idle = [name for name, renderer in self._renderers.items() if not renderer.calls]
            self._aside = next(iter(idle), next(iter(self._renderers), ""))
        renderer = self._renderers.get(self._aside)
        if renderer is None or renderer.calls:
            return
        turn = self.suspects.next_turn(work_waits=bool(self._jobs), only_worker=len(self._renderers) == 1)
        now = time.monotonic()
        is_full = (room.pages <= 0 or room.bytes <= 0) and not (room.idle and not self._calls)
        if is_full and turn is not Turn.CONTROL:
            return
        if turn is Turn.SUSPECT:
            suspect = self.suspects.take()
            most_bytes = self._sizes.max_bytes(1, room.bytes)
            yield self._give(Call(self._aside, [suspect.item], 1, most_bytes, now, suspect), encode=False)
        elif turn is Turn.CONTROL:
            yield self._give(Call(self._aside, [], 0, 0, now, control=ALONE), encode=False)
        elif turn is Turn.WORK and (call := self._make_call(self._aside, room.call_pages, room.bytes)):
            self.suspects.gave_way()
            yield self._give(call, encode=False)

    def _order_control(self, nodes: set[str]) -> Iterator[RenderOrder]:
        free = (name for name, r in self._renderers.items() if name != self._aside or not r.calls)
        name = next(free, "")
        if self._control.wanted and name:
            self._control.wanted = False
            call = Call(name, [], 0, 0, time.monotonic(), control=TO_READ)
            yield self._give(call, encode=bool(nodes) and self._renderers[name].node not in nodes)

    def _give(self, call: Call, *, encode: bool) -> RenderOrder:
        self._next += 1
        self._calls[self._next] = call
        self._renderers[call.renderer].calls.append(self._next)
        return RenderOrder(call.renderer, self._next, call.request(encode=encode))

    def _make_call(self, name: str, call_pages: int, free_bytes: int) -> Call | None:
        limit = self._sizes.max_pages(call_pages)
        share = math.ceil(len(self._jobs) / max(1, CALLS_PER_RENDERER * len(self._renderers)))
        jobs, rest = take_jobs(self._jobs, limit, min(MAX_CALL_DOCUMENTS, share), self._skip_what_is_down)
        if not jobs:
            return None
        if rest is not None:
            self.outstanding[rest.unit] += 1
            self._jobs.appendleft(rest)
        unknown = any(not job.item.spans for job in jobs)
        pages = limit if unknown else sum(len(span) for job in jobs for span in job.item.spans)
        return Call(name, jobs, pages, self._sizes.max_bytes(pages, free_bytes), time.monotonic())

    def _skip_what_is_down(self) -> bool:
        """Lay jobs aside whose place does not answer; whether one is left to take."""
        while self._jobs and self.sources.must_wait(self._jobs[0], time.monotonic()):
            self._jobs.popleft()
        return bool(self._jobs)

    def control_kind(self, number: int) -> str:
        """Which control a call is, '' when it is none."""
        call = self._calls.get(number)
        return call.control if call is not None else ""

    def control_done(self, number: int, report: RenderReport) -> bool:
        """A control's answer; whether a page was rendered."""
        call = self._calls.pop(number)
        self._release(call, number)
        rendered = was_rendered(report)
        if call.control == ALONE:
            (self.suspects.control_answered if rendered else self.suspects.control_failed)()
        self._control.losses = 0
        return rendered

    def done(self, number: int, report: RenderReport) -> UnitKey | None:
        """Take a call's answer: what it did not reach goes back in line.

        Returns its unit, None when that was dropped meanwhile.
        """
        call = self._calls.pop(number)
        self._release(call, number)
        pages = sum(len(span) for _, span in report.covered if span.last > DOCUMENT_PAGE)
        self.suspects.answered(pages)
        if pages or report.opened:
            self.suspects.progressed()
        if call.dropped:
            return None
        self._sizes.note(pages, report.image_bytes)
        unit = call.jobs[0].unit
        counts = self.page_counts.setdefault(unit, {})
        counts.update({d.doc_index: d.page_count for d in report.opened if d.page_count})
        self._put_back(call, report)
        return unit

    def _release(self, call: Call, number: int) -> None:
        if renderer := self._renderers.get(call.renderer):
            renderer.calls.remove(number)

    def _put_back(self, call: Call, report: RenderReport) -> None:
        """Queue again what the answer left of a call, later where the source did not answer."""
        left: list[RenderJob] = []
        opened = {document.doc_index for document in report.opened}
        for job, rest, message in leftovers(call.jobs, report):
            self.outstanding[job.unit] -= 1
            if job.item.doc_index in opened:
                self.sources.answered(job)
            if rest is None or job.key in self._closed:
                continue
            self.outstanding[job.unit] += 1
            if message:
                self.sources.unavailable(rest, message, time.monotonic())
            elif call.suspect is not None and not report.covered:
                self.suspects.suspect_further(rest)  # only opened: it goes on alone
            else:
                left.append(rest)
        self._jobs.extendleft(reversed(left))

    def lost(self, renderer: str, cause: Cause, calls: tuple[int, ...], log_tail: str) -> bool:
        """A renderer is gone: what it was working on may be suspected, what waited behind that, or came
        too late, goes back in line. Returns whether something is suspected now."""
        gone = self._renderers.pop(renderer, None)
        if self._aside == renderer:
            self._aside = ""
        late = [number for number in gone.calls if number not in calls] if gone else []
        for number in (*reversed(late), *reversed(calls[1:])):
            self._take_back(self._calls.pop(number))
        if gone is None:
            self.suspects.start_failed(log_tail, len(self._renderers))
        return any(self._ended_by(self._calls.pop(number), cause, log_tail) for number in calls[:1])

    def _ended_by(self, call: Call, cause: Cause, log_tail: str) -> bool:
        """A renderer was lost while it worked on this call; whether something is suspected for that."""
        self._leave_out_closed(call)
        kills = max((job.memory_kills for job in call.jobs), default=0) + (cause is Cause.MEMORY)
        if not call.jobs and not call.control:
            return False
        if call.control == ALONE and cause in (Cause.CRASH, Cause.MEMORY):
            self.suspects.control_died(log_tail)
        elif call.suspect is not None and cause in (Cause.CRASH, Cause.MEMORY):
            self.sources.answered(call.suspect.item)  # there is something that ends renderers
            limit_s = self._limits_s[bool(call.suspect.item.item.spans)]
            death = how_it_died(cause, (time.monotonic() - call.started) / limit_s, log_tail)
            self.suspects.died_alone(call.suspect, death, log_tail)
            return True
        elif call.suspect is None and not call.control and speaks_against(cause, kills):
            suspects = [single for job in call.jobs for single in singles(job)]
            self.outstanding[call.jobs[0].unit] += len(suspects) - len(call.jobs)
            self.suspects.died(suspects, log_tail)
            return True
        else:
            call.jobs = [replace(job, memory_kills=kills) for job in call.jobs]
            self._take_back(call)
            if cause is not Cause.MEMORY:
                self.suspects.lost(cause, log_tail)
        return False

    def _leave_out_closed(self, call: Call) -> None:
        """Forget what a lost call was to render that is nobody's any more."""
        closed = [job for job in call.jobs if job.key in self._closed]
        if closed and not call.dropped:
            self.outstanding[closed[0].unit] -= len(closed)
        call.jobs = [] if call.dropped else [job for job in call.jobs if job.key not in self._closed]

    def _take_back(self, call: Call) -> None:
        self._leave_out_closed(call)
        if call.control == TO_READ:
            self._control.lost()
        elif call.suspect is not None and call.jobs:
            self.suspects.put_back(call.suspect)
        else:
            self._jobs.extendleft(reversed(call.jobs))

    def gave_up_control(self) -> bool:
        """Whether rendering the page for engines was given up; says so once."""
        return self._control.gave_up()

    def condemned(self, *, nothing_else: bool) -> list[Unrenderable]:
        """Pages now proven to end their renderer; what else their jobs were to render goes on."""
        found = []
        for suspect in self.suspects.guilty(nothing_else=nothing_else):
            job = suspect.item
            self.outstanding[job.unit] -= 1
            if rest := subtract_pages(job.item.spans, [job.first_page]):
                self.add(job.unit, [job.of(rest).item], first=True)
            count = self.page_counts.get(job.unit, {}).get(job.item.doc_index, 0)
            found.append(unrenderable(suspect, count, self._limits_s))
        return found

    def _forget_jobs(self, is_gone: Callable[[tuple[UnitKey, int]], bool]) -> int:
        """Forget documents that wait; returns how many jobs were outstanding."""
        before = len(self._jobs) + self.suspects.total + self.sources.jobs
        self._jobs = deque(job for job in self._jobs if not is_gone(job.key))
        self.suspects.drop(lambda job: is_gone(job.key))
        self.sources.drop(is_gone)
        return before - (len(self._jobs) + self.suspects.total + self.sources.jobs)
