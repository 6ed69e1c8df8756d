"""What is to be rendered, by whom, and how a page that kills its renderer is found and set aside."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.fleet import Cause, UnitKey
from manifests.errors import JobError
from manifests.pages import DOCUMENT_PAGE, PageSpan, plan_pages, subtract_pages
from manifests.work import OpenedDocument, RenderCall, RenderItem, RenderReport

MAX_CALL_PAGES = 64
MAX_CALL_BYTES = 32 * 2**20
MAX_CALL_S = 1.0
MAX_CALL_DOCUMENTS = 64
CALLS_PER_RENDERER = 2
DEATHS_ALONE = 2
ALMOST = 0.95
ROOM_FOR_ERROR = 1.5
NO_PROOF_NEEDED = -1
WORDS_OF_A_CRASH = ("Fatal Python error", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGKILL")
"""A renderer over its time ends by SIGALRM, which says none of these."""

MAX_DEATHS_WITHOUT_AN_ANSWER = 8


@dataclass(frozen=True, slots=True)
class Unrenderable:
    """A page that cannot be rendered, by the death of its renderer. ``page`` 0: it cannot be opened."""

    unit: UnitKey
    doc_index: int
    page: int
    page_count: int
    reason: str


@dataclass(slots=True)
class _Job:
    """An item on its way, ``alone`` when it is suspected of killing renderers."""

    unit: UnitKey
    item: RenderItem
    alone: bool = False
    deaths: int = 0
    answers_before: int = 0
    """How many calls had brought pages when it first ended a renderer alone."""


@dataclass(slots=True)
class _Call:
    renderer: str
    jobs: list[_Job]
    pages: int
    max_bytes: int
    started: float
    dropped: bool = False


@dataclass(slots=True)
class _Renderer:
    node: str
    calls: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RenderOrder:
    """One call for one renderer."""

    renderer: str
    number: int
    call: RenderCall


@dataclass(frozen=True, slots=True)
class Room:
    """How much more may be in flight: pages and bytes, and pages per call.

    ``idle``: nothing is in flight at all; then one call is due even where a single page exceeds the room.
    """

    pages: int
    bytes: int
    call_pages: int
    idle: bool = True


class RenderQueue:
    """Work for the renderers in order, with what each of them has been given."""

    def __init__(self, page_timeout_s: float, open_timeout_s: float) -> None:
        self._limits_s = (open_timeout_s, page_timeout_s)
        self._jobs: deque[_Job] = deque()
        self._suspects: deque[_Job] = deque()
        self._renderers: dict[str, _Renderer] = {}
        self._calls: dict[int, _Call] = {}
        self._next = 0
        self._page_bytes = 0.0
        self._deaths_in_a_row = 0
        self._answers = 0
        self._unproven: list[tuple[Unrenderable, int]] = []
        self.outstanding: Counter[UnitKey] = Counter()
        self.page_counts: dict[UnitKey, dict[int, int]] = {}

    def __len__(self) -> int:
        """How many items wait to be rendered."""
        return len(self._jobs) + len(self._suspects)

    @property
    def pages_reserved(self) -> int:
        return sum(call.pages for call in self._calls.values())

    @property
    def bytes_reserved(self) -> int:
        """What the calls under way may answer at most, give or take a page each."""
        return sum(call.max_bytes for call in self._calls.values())

    @property
    def width(self) -> int:
        """How many renderers are at work."""
        return len(self._renderers)

    def node_of(self, call: int) -> str:
        renderer = self._renderers.get(self._calls[call].renderer)
        return renderer.node if renderer else ""

    def add(self, unit: UnitKey, items: Iterable[RenderItem], *, first: bool = False) -> None:
        """Queue items; ``first`` puts them ahead of what waits."""
        jobs = [_Job(unit, item) for item in items]
        self.outstanding[unit] += len(jobs)
        if first:
            self._jobs.extendleft(reversed(jobs))
        else:
            self._jobs.extend(jobs)

    def drop(self, unit: UnitKey) -> None:
        """Forget a unit's work; what calls under way answer of it is nobody's."""
        self._jobs = deque(job for job in self._jobs if job.unit != unit)
        self._suspects = deque(job for job in self._suspects if job.unit != unit)
        self._unproven = [item for item in self._unproven if item[0].unit != unit]
        for call in self._calls.values():
            call.dropped = call.dropped or call.jobs[0].unit == unit
        self.forget(unit)

    def forget(self, unit: UnitKey) -> None:
        """The unit is sealed: nothing of it is outstanding any more."""
        self.page_counts.pop(unit, None)
        del self.outstanding[unit]

    def renderer_up(self, renderer: str, node: str) -> None:
        self._renderers[renderer] = _Renderer(node)

    def orders(self, room: Room, nodes: set[str]) -> list[RenderOrder]:
        """What to render next. A chunk made on a node without a replica travels as JPEG."""
        orders: list[RenderOrder] = []
        pages, free_bytes = room.pages, room.bytes
        for depth in range(CALLS_PER_RENDERER):
            for name, renderer in self._renderers.items():
                if len(renderer.calls) > depth or not len(self):
                    continue
                idle = room.idle and not self._calls
                if not idle and (pages <= 0 or free_bytes <= 0):
                    return orders
                call = self._make_call(name, renderer, room.call_pages, free_bytes)
                if call is None:
                    continue
                self._next += 1
                self._calls[self._next] = call
                renderer.calls.append(self._next)
                encode = bool(nodes) and renderer.node not in nodes
                orders.append(self._order(self._next, call, encode))
                pages -= call.pages
                free_bytes -= call.max_bytes
        return orders

    def done(self, number: int, report: RenderReport) -> UnitKey | None:
        """Take a call's answer: what it did not reach goes back in line.

        Returns its unit, None when that was dropped meanwhile.
        """
        call = self._calls.pop(number)
        renderer = self._renderers.get(call.renderer)
        if renderer:
            renderer.calls.remove(number)
        if any(span.last > DOCUMENT_PAGE for _, span in report.covered):
            self._deaths_in_a_row = 0
            self._answers += 1
        if call.dropped:
            return None
        covered: dict[int, list[int]] = {}
        pages = 0
        for doc_index, span in report.covered:
            covered.setdefault(doc_index, []).extend(span)
            pages += len(span)
        if pages:
            mean = report.image_bytes / pages
            self._page_bytes = mean if not self._page_bytes else 0.8 * self._page_bytes + 0.2 * mean
        opened = {document.doc_index: document for document in report.opened}
        unit = call.jobs[0].unit
        counts = self.page_counts.setdefault(unit, {})
        counts.update({i: document.page_count for i, document in opened.items() if document.page_count})
        left = [
            again
            for job in call.jobs
            if (again := self._rest(job, opened.get(job.item.doc_index), covered)) is not None
        ]
        self._put_back(left)
        self.outstanding[unit] += len(left) - len(call.jobs)
        return unit

    def lost(self, renderer: str, cause: Cause, calls: tuple[int, ...], log_tail: str) -> None:
        """A renderer is gone: what it was working on is rendered page by page, what waited behind
        that, or came too late, goes back in line.

        Raises JobError when deaths say that the environment is at fault.
        """
        gone = self._renderers.pop(renderer, None)
        late = [number for number in gone.calls if number not in calls] if gone else []
        for number in (*reversed(late), *reversed(calls[1:])):
            self._take_back(self._calls.pop(number))
        for call in map(self._calls.pop, calls[:1]):
            if cause is Cause.CRASH and not call.dropped:
                self._suspect(call, log_tail)
            else:
                self._take_back(call)
        if cause in (Cause.CRASH, Cause.START):
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row >= MAX_DEATHS_WITHOUT_AN_ANSWER + 2 * len(self._renderers):
                raise JobError(
                    f"{self._deaths_in_a_row} renderers died in a row without rendering a page: the "
                    f"environment is at fault, no page was condemned. The end of its log:\n{log_tail}"
                )

    def condemned(self, *, nothing_else_left: bool) -> list[Unrenderable]:
        """Pages now proven to end their renderer: another call brought pages since.

        With nothing else left it is enough that any call ever did. Raises JobError when
        none was: then nothing tells a bad page from a bad environment.
        """
        if nothing_else_left and not self._answers and (blamed := self._blamed_without_proof()):
            raise JobError(
                f"everything that was rendered ended its renderer ({blamed}) and nothing was ever "
                "rendered: the environment may be at fault, no page was condemned"
            )
        proven = [page for page, answers in self._unproven if nothing_else_left or self._answers > answers]
        self._unproven = [item for item in self._unproven if item[0] not in proven]
        for page in proven:
            self.outstanding[page.unit] -= 1
        return proven

    def _blamed_without_proof(self) -> str:
        return next((page.reason for page, answers in self._unproven if answers != NO_PROOF_NEEDED), "")

    def _take_back(self, call: _Call) -> None:
        if not call.dropped:
            self._put_back(call.jobs)

    def _rest(self, job: _Job, opened: OpenedDocument | None, covered: dict[int, list[int]]) -> _Job | None:
        item = job.item
        pages = covered.get(item.doc_index, [])
        if DOCUMENT_PAGE in pages or (opened is not None and opened.error):
            return None
        spans = item.spans
        if not spans:
            if opened is None:
                return job
            spans = _wanted(item, opened.page_count)
        spans = subtract_pages(spans, pages)
        if not spans:
            return None
        # A suspect that was only opened goes on alone; one that rendered its page is cleared.
        alone = job.alone and not pages
        return _Job(job.unit, RenderItem(item.doc_index, item.document, spans), alone)

    def _put_back(self, jobs: list[_Job]) -> None:
        for job in reversed(jobs):
            (self._suspects if job.alone else self._jobs).appendleft(job)

    def _max_bytes(self, pages: int, free_bytes: int) -> int:
        """What a call may answer: what its pages are likely to need, within what is free."""
        likely = math.ceil(ROOM_FOR_ERROR * pages * self._page_bytes) or MAX_CALL_BYTES
        return max(1, min(MAX_CALL_BYTES, likely, free_bytes))

    def _make_call(self, name: str, renderer: _Renderer, call_pages: int, free_bytes: int) -> _Call | None:
        now = time.monotonic()
        if self._suspects:
            if not renderer.calls:
                suspect = self._suspects.popleft()
                return _Call(name, [suspect], 1, self._max_bytes(1, free_bytes), now)
            return None  # keep this renderer's next place free for a suspect
        if not self._jobs:
            return None
        limit = min(call_pages, MAX_CALL_PAGES)
        if self._page_bytes:
            limit = max(1, min(limit, int(MAX_CALL_BYTES / self._page_bytes)))
        share = math.ceil(len(self._jobs) / max(1, CALLS_PER_RENDERER * len(self._renderers)))
        jobs: list[_Job] = []
        pages = 0
        while self._jobs and pages < limit and len(jobs) < min(MAX_CALL_DOCUMENTS, share):
            if jobs and self._jobs[0].unit != jobs[0].unit:
                break
            job = self._jobs.popleft()
            taken = self._take(job, limit - pages)
            jobs.append(taken)
            pages += sum(map(len, taken.item.spans)) or 1
        if any(not job.item.spans for job in jobs):
            pages = limit
        return _Call(name, jobs, pages, self._max_bytes(pages, free_bytes), now)

    def _take(self, job: _Job, pages: int) -> _Job:
        """The first ``pages`` pages of a job; the rest stays first in line for another renderer."""
        taken: list[PageSpan] = []
        spans = list(job.item.spans)
        while spans and pages > 0:
            span = spans.pop(0)
            if len(span) > pages:
                spans.insert(0, PageSpan(span.first + pages, span.last))
                span = PageSpan(span.first, span.first + pages - 1)
            taken.append(span)
            pages -= len(span)
        if not spans:
            return job
        item = job.item
        self.outstanding[job.unit] += 1
        self._jobs.appendleft(_Job(job.unit, RenderItem(item.doc_index, item.document, tuple(spans))))
        return _Job(job.unit, RenderItem(item.doc_index, item.document, tuple(taken)))

    def _order(self, number: int, call: _Call, encode: bool) -> RenderOrder:
        unit_id, generation = call.jobs[0].unit
        opening = call.jobs[0].alone and not call.jobs[0].item.spans
        return RenderOrder(
            call.renderer,
            number,
            RenderCall(
                unit_id=unit_id,
                generation=generation,
                items=tuple(job.item for job in call.jobs),
                max_pages=0 if opening else call.pages,
                max_bytes=call.max_bytes,
                max_s=MAX_CALL_S,
                encode=encode,
            ),
        )

    def _suspect(self, call: _Call, log_tail: str) -> None:
        """A renderer died of this call: its pages are rendered alone; twice alone, or over time, and
        the page is to blame."""
        job = call.jobs[0]
        if not job.alone:
            singles = [single for job in call.jobs for single in _singles(job)]
            self._suspects.extend(singles)
            self.outstanding[job.unit] += len(singles) - len(call.jobs)
            return
        if not job.deaths:
            job.answers_before = self._answers
        job.deaths += 1
        limit_s = self._limits_s[1 if job.item.spans else 0]
        took_s = time.monotonic() - call.started
        timed_out = took_s >= ALMOST * limit_s and not any(word in log_tail for word in WORDS_OF_A_CRASH)
        if not timed_out and job.deaths < DEATHS_ALONE:
            self._suspects.append(job)
            return
        what = "rendering the page" if job.item.spans else "opening the document"
        reason = (
            f"{what} took longer than {limit_s:g} s" if timed_out else f"{what} crashed the renderer twice"
        )
        page = job.item.spans[0].first if job.item.spans else DOCUMENT_PAGE
        if rest := subtract_pages(job.item.spans, [page]):
            self.add(job.unit, [RenderItem(job.item.doc_index, job.item.document, rest)], first=True)
        count = self.page_counts.get(job.unit, {}).get(job.item.doc_index, 0)
        blamed = Unrenderable(job.unit, job.item.doc_index, page, count, reason)
        self._unproven.append((blamed, NO_PROOF_NEEDED if timed_out else job.answers_before))


def _wanted(item: RenderItem, page_count: int) -> tuple[PageSpan, ...]:
    return plan_pages(item.document.pages, item.document.max_pages, page_count).read


def _singles(job: _Job) -> list[_Job]:
    """One suspect per page; a document of unknown length is first only opened."""
    item = job.item
    if not item.spans:
        return [_Job(job.unit, item, alone=True)]
    return [
        _Job(job.unit, RenderItem(item.doc_index, item.document, (PageSpan(page, page),)), alone=True)
        for span in item.spans
        for page in span
    ]
