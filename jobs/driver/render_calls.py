"""How items become render calls: what one call takes, and what of it is left when it was answered."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from cluster.fleet import Cause, UnitKey
from jobs.driver.controls import TO_READ, render_control
from jobs.driver.outages import place_of
from jobs.driver.suspects import Death, Suspect
from manifests.pages import DOCUMENT_PAGE, PageSpan, plan_pages, subtract_pages
from manifests.work import OpenedDocument, RenderCall, RenderItem, RenderReport

MAX_CALL_PAGES = 64
MAX_CALL_BYTES = 32 * 2**20
MAX_CALL_S = 1.0
MAX_CALL_DOCUMENTS = 64
ROOM_FOR_ERROR = 1.5

ALMOST = 0.95
SIGNS_OF_A_CRASH = ("Fatal Python error", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGKILL")
"""A renderer over its time ends by SIGALRM, which says none of these."""


@dataclass(frozen=True, slots=True)
class RenderJob:
    """An item on its way. ``asked_again``: its source did not answer and is tried once more."""

    unit: UnitKey
    item: RenderItem
    memory_kills: int = 0
    asked_again: bool = False

    @property
    def key(self) -> tuple[UnitKey, int]:
        """The document."""
        return self.unit, self.item.doc_index

    @property
    def place(self) -> str:
        return place_of(self.item.document.uri)

    @property
    def first_page(self) -> int:
        """The page a renderer begins with; ``DOCUMENT_PAGE``: it is to find out."""
        return self.item.spans[0].first if self.item.spans else DOCUMENT_PAGE

    def of(self, spans: Sequence[PageSpan]) -> RenderJob:
        """The same document, other pages of it."""
        return replace(self, item=RenderItem(self.item.doc_index, self.item.document, tuple(spans)))


@dataclass(slots=True)
class Call:
    """What a renderer has been given. A ``control`` has no jobs."""

    renderer: str
    jobs: list[RenderJob]
    pages: int
    max_bytes: int
    started: float
    suspect: Suspect[RenderJob] | None = None
    control: str = ""
    dropped: bool = False

    def request(self, *, encode: bool) -> RenderCall:
        """What the renderer is told. Of a suspect of unknown length it is to open the document only."""
        if self.control:
            return render_control(to_read=self.control == TO_READ, encode=encode)
        opening = self.suspect is not None and not self.jobs[0].item.spans
        return RenderCall(
            *self.jobs[0].unit,
            items=tuple(job.item for job in self.jobs),
            max_pages=0 if opening else self.pages,
            max_bytes=self.max_bytes,
            max_s=MAX_CALL_S,
            encode=encode,
        )


class CallSizes:
    """How much one call takes, by the mean size of the pages that were rendered of late."""

    def __init__(self) -> None:
        self._page_bytes = 0.0

    def note(self, pages: int, image_bytes: int) -> None:
        """So many pages came to so many bytes."""
        if pages:
            mean = image_bytes / pages
            self._page_bytes = mean if not self._page_bytes else 0.8 * self._page_bytes + 0.2 * mean

    def max_pages(self, wanted: int) -> int:
        limit = min(wanted, MAX_CALL_PAGES)
        return max(1, min(limit, int(MAX_CALL_BYTES / self._page_bytes))) if self._page_bytes else limit

    def max_bytes(self, pages: int, free_bytes: int) -> int:
        """What a call may answer: what its pages are likely to need, within what is free."""
        likely = math.ceil(ROOM_FOR_ERROR * pages * self._page_bytes) or MAX_CALL_BYTES
        return max(1, min(MAX_CALL_BYTES, likely, free_bytes))


@dataclass(frozen=True, slots=True)
class Unrenderable:
    """A page that cannot be rendered, by the death of its renderer. ``page`` 0: it cannot be opened."""

    unit: UnitKey
    doc_index: int
    page: int
    page_count: int
    reason: str


def split(job: RenderJob, pages: int) -> tuple[RenderJob, RenderJob | None]:
    """The first ``pages`` pages of a job, and the rest of it."""
    taken: list[PageSpan] = []
    spans = list(job.item.spans)
    while spans and pages > 0:
        span = spans.pop(0)
        if len(span) > pages:
            spans.insert(0, PageSpan(span.first + pages, span.last))
            span = PageSpan(span.first, span.first + pages - 1)
        taken.append(span)
        pages -= len(span)
    return (job.of(taken), job.of(spans)) if spans else (job, None)


def take_jobs(
    waiting: deque[RenderJob], max_pages: int, max_documents: int, may_take: Callable[[], bool]
) -> tuple[list[RenderJob], RenderJob | None]:
    """Jobs of one unit for one call, and the rest of the last one. ``may_take`` sees to it that the first in
    line can be taken. One whose source is asked again goes by itself."""
    jobs: list[RenderJob] = []
    pages = 0
    while pages < max_pages and len(jobs) < max_documents and may_take():
        if jobs and (waiting[0].unit != jobs[0].unit or waiting[0].asked_again):
            break
        taken, rest = split(waiting.popleft(), max_pages - pages)
        jobs.append(taken)
        pages += sum(map(len, taken.item.spans)) or 1
        if rest is not None or taken.asked_again:
            return jobs, rest
    return jobs, None


def singles(job: RenderJob) -> list[RenderJob]:
    """One job per page; a document of unknown length is first only opened."""
    if not job.item.spans:
        return [job]
    return [job.of((PageSpan(page, page),)) for span in job.item.spans for page in span]


def rest_of(job: RenderJob, opened: OpenedDocument | None, covered: Sequence[int]) -> RenderJob | None:
    """What an answer that covered these pages of the job's document left of the job."""
    if DOCUMENT_PAGE in covered or (opened is not None and opened.error):
        return None
    spans = job.item.spans
    if not spans:
        if opened is None:
            return job
        document = job.item.document
        spans = plan_pages(document.pages, document.max_pages, opened.page_count).read
    spans = subtract_pages(spans, covered)
    return job.of(spans) if spans else None


def was_rendered(report: RenderReport) -> bool:
    """Whether a control's answer shows that rendering works."""
    pages = any(span.last > DOCUMENT_PAGE for _, span in report.covered)
    return pages and not any(document.error for document in report.opened)


def unrenderable(suspect: Suspect[RenderJob], page_count: int, limits_s: tuple[float, float]) -> Unrenderable:
    """The page a guilty suspect stands for. ``limits_s`` are those of an opening and of a page."""
    job = suspect.item
    reason = _reason(suspect, limits_s)
    return Unrenderable(job.unit, job.item.doc_index, job.first_page, page_count, reason)


def _reason(suspect: Suspect[RenderJob], limits_s: tuple[float, float]) -> str:
    of_page = bool(suspect.item.item.spans)
    what = "rendering the page" if of_page else "opening the document"
    if suspect.death is Death.HANG:
        return f"{what} took longer than {limits_s[of_page]:g} s"
    if suspect.death is Death.MEMORY:
        return (
            f"needs more memory than there is: {what} had its renderer killed for memory "
            f"{suspect.memory_kills} times when it was tried alone"
        )
    return f"{what} crashed the renderer twice"


@dataclass(slots=True)
class RendererLoad:
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


def leftovers(
    jobs: Sequence[RenderJob], report: RenderReport
) -> Iterator[tuple[RenderJob, RenderJob | None, str]]:
    """Each job of a call, what its answer left of it, and why its source did not answer, if so."""
    opened = {document.doc_index: document for document in report.opened}
    unavailable = {source.doc_index: source.message for source in report.unavailable}
    covered: dict[int, list[int]] = {}
    for doc_index, span in report.covered:
        covered.setdefault(doc_index, []).extend(span)
    for job in jobs:
        i = job.item.doc_index
        rest = rest_of(job, opened.get(i), covered.get(i, ()))
        yield job, rest and replace(rest, asked_again=False), unavailable.get(i, "")


def how_it_died(cause: Cause, share_of_limit: float, log_tail: str) -> Death:
    """How a renderer ended that was working on one page, for so long a share of its time limit."""
    if cause is Cause.MEMORY:
        return Death.MEMORY
    crashed = any(sign in log_tail for sign in SIGNS_OF_A_CRASH)
    return Death.HANG if share_of_limit >= ALMOST and not crashed else Death.CRASH
