"""Which replica reads what, and how a page that kills its engine is found without condemning others."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.fleet import Cause, ReplicaUp, UnitKey
from manifests.errors import JobError
from manifests.work import RenderReport

DEATHS_ALONE = 2
MAX_DEATHS_BEFORE_FIRST_PAGE = 8
MAX_DEATHS_IN_A_ROW = 16
MIN_CONDEMNED = 20
MAX_CONDEMNED_SHARE = 0.02
MAX_BLAMELESS_DEATHS = 20
MAX_FAILED_STARTS = 3

Stored = Callable[[UnitKey, Sequence[tuple[int, int]]], list[bool]]


@dataclass(frozen=True, slots=True)
class EngineKiller:
    """A page that killed its engine twice when it was read alone."""

    unit: UnitKey
    doc_index: int
    page: int
    reason: str


@dataclass(slots=True)
class _Chunk:
    unit: UnitKey
    handle: Any
    node: str
    pages: list[tuple[int, int]]
    to_read: int
    image_bytes: int
    parts: int = 1
    orphaned: bool = False


@dataclass(slots=True)
class _Part:
    """A chunk, or those of its pages at ``only``, waiting for a replica."""

    chunk: int
    only: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Suspect:
    """One page of a chunk that was held by a replica when it died. ``finished_before`` is how many
    pages had been finished when it first killed a replica alone."""

    chunk: int
    index: int
    deaths: int = 0
    finished_before: int = 0
    log_tail: str = ""


@dataclass(slots=True)
class _Read:
    replica: str
    part: _Part
    pages: int
    """Pages of it that still keep the engine busy."""
    suspect: _Suspect | None = None
    answered: int = 0
    """Pages of it that are counted among the finished."""


@dataclass(slots=True)
class _Replica:
    node: str
    window: int
    reads: set[int] = field(default_factory=set)
    pages: int = 0


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """One read for one replica."""

    replica: str
    number: int
    chunk: Any
    only: tuple[int, ...] | None


class ReadQueue:
    """Chunks waiting for replicas, what each replica holds, and the suspects after a death."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._chunks: dict[int, _Chunk] = {}
        self._ready: deque[_Part] = deque()
        self._reads: dict[int, _Read] = {}
        self._replicas: dict[str, _Replica] = {}
        self._stores: dict[str, int] = {}
        self._suspects: deque[_Suspect] = deque()
        self._unproven: list[_Suspect] = []
        self._set_aside = ""
        self._next = 0
        self._deaths = 0
        self._finished_at_death = 0
        self._blameless_deaths = 0
        self._failed_starts = 0
        self._condemned = 0
        self.finished = 0
        self.finished_before = 0
        self.finished_by: Counter[str] = Counter()
        self.outstanding: Counter[UnitKey] = Counter()
        self.image_bytes = 0

    @property
    def pages(self) -> int:
        """Rendered pages that have not been read yet."""
        return sum(part_pages(self._chunks[p.chunk], p.only) for p in self._ready) + self.in_flight

    @property
    def in_flight(self) -> int:
        return sum(replica.pages for replica in self._replicas.values())

    @property
    def window(self) -> int:
        """Pages that keep all replicas busy."""
        return sum(replica.window for replica in self._replicas.values())

    @property
    def widest(self) -> int:
        return max((replica.window for replica in self._replicas.values()), default=0)

    @property
    def nodes(self) -> set[str]:
        return {replica.node for replica in self._replicas.values()}

    @property
    def store_bytes(self) -> int:
        """Object stores of the nodes that have replicas, 0 where there is none."""
        return sum(self._stores[node] for node in self.nodes)

    @property
    def per_replica(self) -> dict[str, int]:
        """Pages each replica holds."""
        return {name: replica.pages for name, replica in self._replicas.items()}

    def held(self) -> Iterator[tuple[str, UnitKey, int, int]]:
        """Replica, unit, document index and page of every page that is being read."""
        for read in self._reads.values():
            chunk = self._chunks[read.part.chunk]
            indexes = read.part.only if read.part.only is not None else range(len(chunk.pages))
            for index in indexes:
                yield (read.replica, chunk.unit, *chunk.pages[index])

    def add(self, unit: UnitKey, handle: Any, node: str, report: RenderReport) -> None:
        """Take a rendered chunk."""
        self._next += 1
        pages = [(i, page) for i, span in report.covered for page in span]
        self._chunks[self._next] = _Chunk(unit, handle, node, pages, report.to_read, report.image_bytes)
        self.image_bytes += report.image_bytes
        self.outstanding[unit] += 1
        self._ready.append(_Part(self._next))

    def drop(self, unit: UnitKey) -> None:
        """Forget a unit's waiting chunks and suspects; reads under way run out and count for nobody."""
        self._suspects = deque(s for s in self._suspects if self._chunks[s.chunk].unit != unit)
        self._unproven = [s for s in self._unproven if self._chunks[s.chunk].unit != unit]
        self._ready = deque(p for p in self._ready if self._chunks[p.chunk].unit != unit)
        reading = Counter(read.part.chunk for read in self._reads.values())
        for number in [number for number, chunk in self._chunks.items() if chunk.unit == unit]:
            self._chunks[number].orphaned = True
            self._chunks[number].parts = reading[number]
            if not reading[number]:
                self._discard(number)
        self.outstanding.pop(unit, None)

    def replica_up(self, event: ReplicaUp) -> None:
        replica = event.replica
        self._replicas[replica] = _Replica(event.node, event.window)
        self._stores[event.node] = event.store_bytes
        self._failed_starts = 0
        if (self._suspects or self._unproven) and not self._set_aside:
            self._set_aside = replica

    def orders(self) -> list[ReadOrder]:
        """What to read next, each replica filled to its window, chunks preferably on their node."""
        orders = []
        if order := self._order_suspect():
            orders.append(order)
        while self._ready and (name := self._hungriest()):
            replica = self._replicas[name]
            orders.append(self._read(name, replica, self._pick(replica.node)))
        return orders

    def progress(self, number: int, pages: int, answered: int) -> None:
        """Pages of a read are finished and their rows are the writer's: there is room for others.

        ``answered`` of them the engine read well: that proves it works, as a blank page does not.
        """
        read = self._reads.get(number)
        if read is None or not pages:
            return
        self.finished += answered
        self.finished_by[read.replica] += pages
        self._blameless_deaths = 0
        read.answered += answered
        freed = min(pages, read.pages)
        read.pages -= freed
        if replica := self._replicas.get(read.replica):
            replica.pages -= freed

    def done(self, number: int, pages: int, answered: int) -> None:
        """A read has ended, with the pages that were not told of before."""
        self.progress(number, pages, answered)
        read = self._reads.pop(number, None)
        if read is None:
            return
        self._blameless_deaths = 0
        self._let_go(read, number)
        self._finish_part(read.part.chunk)

    def chunk_lost(self, number: int) -> tuple[UnitKey, list[tuple[int, int]]]:
        """The images are gone: which pages must be rendered again."""
        read = self._reads.pop(number)
        self._let_go(read, number)
        chunk = self._chunks[read.part.chunk]
        lost = [] if chunk.orphaned else [chunk.pages[i] for i in self._unstored(read.part)]
        self._finish_part(read.part.chunk)
        return chunk.unit, lost

    def lost(self, replica: str, cause: Cause, reads: Sequence[int], log_tail: str, loading: int = 0) -> None:
        """A replica is gone. After a crash what it held are suspects, otherwise it waits again.

        Raises JobError when deaths say that the environment is at fault: not because one of several
        places cannot start an engine, while others are up or ``loading``.
        """
        self._replicas.pop(replica, None)
        if self._set_aside == replica:
            self._set_aside = ""
        held = [self._reads.pop(number) for number in reads if number in self._reads]
        if cause is Cause.START:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS and not self._replicas and not loading:
                raise JobError(
                    f"the engine did not start, {self._failed_starts} times in a row. "
                    f"The end of its log:\n{log_tail}"
                )
        for read in held:
            if cause is not Cause.CRASH:
                self._wait_again(read)
            elif read.suspect is not None:
                self._died_alone(read, read.suspect, log_tail)
            else:
                self._accuse(read)
        if cause is Cause.CRASH and held:
            self._judge_environment(log_tail)
        elif cause is not Cause.START and held:
            self._blameless_deaths += 1
            if self._blameless_deaths >= MAX_BLAMELESS_DEATHS:
                raise JobError(
                    f"{self._blameless_deaths} replicas in a row were lost ({cause}) and no page was "
                    f"finished in between. The end of its log:\n{log_tail}"
                )

    def condemned(self, *, nothing_else_left: bool) -> list[EngineKiller]:
        """Pages now proven to kill their engine: others were finished since.

        With nothing else left there is no such proof to wait for; then it is enough that any page of
        the job was ever finished, be it by an earlier run (``finished_before``).
        """
        proven = [s for s in self._unproven if self.finished > s.finished_before]
        if nothing_else_left and not self._suspects and (self.finished or self.finished_before):
            proven = list(self._unproven)
        if not proven:
            return []
        self._unproven = [s for s in self._unproven if s not in proven]
        self._condemned += len(proven)
        killers = []
        for suspect in proven:
            chunk = self._chunks[suspect.chunk]
            doc_index, page = chunk.pages[suspect.index]
            last = " ".join(suspect.log_tail.split())[-300:]
            killers.append(EngineKiller(chunk.unit, doc_index, page, f"killed its engine: {last}"))
            self._finish_part(suspect.chunk)
        return killers

    @property
    def only_unproven_left(self) -> bool:
        """Whether all that is left are pages waiting for proof."""
        return bool(self._unproven) and not (self._ready or self._suspects or self._reads)

    @property
    def log_tail(self) -> str:
        return self._unproven[-1].log_tail if self._unproven else ""

    def _hungriest(self) -> str:
        """The replica that is furthest from its window, or '' when all are full."""
        free = {
            name: replica.pages / replica.window
            for name, replica in self._replicas.items()
            if name != self._set_aside and (replica.pages < replica.window or not replica.reads)
        }
        return min(free, key=lambda name: free[name], default="")

    def _order_suspect(self) -> ReadOrder | None:
        if not self._suspects and not self._unproven:
            self._set_aside = ""
            return None
        if not self._set_aside:
            idle = [name for name, replica in self._replicas.items() if not replica.reads]
            if not idle or (self._ready and len(self._replicas) > 1):
                return None  # the replacement of the one that died will be set aside
            self._set_aside = idle[0]
        replica = self._replicas[self._set_aside]
        if replica.reads:
            return None
        if self._unproven and self._ready:  # something else, to tell a bad page from a bad environment
            return self._read(self._set_aside, replica, self._control())
        if not self._suspects:
            self._set_aside = ""
            return None
        suspect = self._suspects.popleft()
        part = _Part(suspect.chunk, (suspect.index,))
        return self._read(self._set_aside, replica, part, suspect)

    def _control(self) -> _Part:
        """A waiting part, of another document than those accused where there is one."""
        accused = {self._document(s.chunk, s.index) for s in (*self._unproven, *self._suspects)}
        for place, part in enumerate(self._ready):
            if self._document(part.chunk, 0) not in accused:
                del self._ready[place]
                return part
        return self._ready.popleft()

    def _document(self, number: int, index: int) -> tuple[UnitKey, int]:
        chunk = self._chunks[number]
        return chunk.unit, chunk.pages[index][0]

    def _pick(self, node: str) -> _Part:
        for place, part in enumerate(self._ready):
            if self._chunks[part.chunk].node == node:
                del self._ready[place]
                return part
        return self._ready.popleft()

    def _read(self, name: str, replica: _Replica, part: _Part, suspect: _Suspect | None = None) -> ReadOrder:
        self._next += 1
        pages = part_pages(self._chunks[part.chunk], part.only)
        self._reads[self._next] = _Read(name, part, pages, suspect)
        replica.reads.add(self._next)
        replica.pages += pages
        return ReadOrder(name, self._next, self._chunks[part.chunk].handle, part.only)

    def _let_go(self, read: _Read, number: int) -> None:
        if replica := self._replicas.get(read.replica):
            replica.reads.discard(number)
            replica.pages -= read.pages

    def _unstored(self, part: _Part) -> list[int]:
        """Indexes of the part's pages that have no row."""
        chunk = self._chunks[part.chunk]
        indexes = list(part.only) if part.only is not None else list(range(len(chunk.pages)))
        stored = self._stored(chunk.unit, [chunk.pages[i] for i in indexes])
        return [i for i, there in zip(indexes, stored, strict=True) if not there]

    def _wait_again(self, read: _Read) -> None:
        left = [] if self._chunks[read.part.chunk].orphaned else self._unstored(read.part)
        if not left:
            self._finish_part(read.part.chunk)
        elif read.suspect is not None:
            self._suspects.appendleft(read.suspect)
        else:
            self._ready.appendleft(_Part(read.part.chunk, tuple(left)))

    def _accuse(self, read: _Read) -> None:
        part = read.part
        chunk = self._chunks[part.chunk]
        if chunk.orphaned:
            self._finish_part(part.chunk)
            return
        left = self._unstored(part)
        held = len(part.only) if part.only is not None else len(chunk.pages)
        untold = held - len(left) - (len(chunk.pages) - chunk.to_read) - read.answered
        self.finished += max(0, untold)
        self._suspects.extend(_Suspect(part.chunk, index) for index in left)
        chunk.parts += len(left) - 1
        self.outstanding[chunk.unit] += len(left) - 1
        if not chunk.parts:
            self._discard(part.chunk)

    def _died_alone(self, read: _Read, suspect: _Suspect, log_tail: str) -> None:
        if self._chunks[suspect.chunk].orphaned or not self._unstored(read.part):
            self._finish_part(suspect.chunk)
            return
        if not suspect.deaths:
            suspect.finished_before = self.finished
        suspect.deaths += 1
        suspect.log_tail = log_tail
        if suspect.deaths >= DEATHS_ALONE:
            self._unproven.append(suspect)
        else:
            self._suspects.append(suspect)  # the others first: one of them may prove the engine

    def _judge_environment(self, log_tail: str) -> None:
        tail = f"no page was condemned. The end of the engine's log:\n{log_tail}"
        if self.finished > self._finished_at_death:
            self._finished_at_death, self._deaths = self.finished, 0
        self._deaths += 1
        never = not (self.finished or self.finished_before)
        if self._deaths >= (MAX_DEATHS_BEFORE_FIRST_PAGE if never else MAX_DEATHS_IN_A_ROW):
            since = "before any page was finished" if never else "in a row, no page finished in between"
            raise JobError(
                f"{self._deaths} replicas died {since}: the environment is at fault, not the pages; {tail}"
            )
        if self._condemned > max(MIN_CONDEMNED, MAX_CONDEMNED_SHARE * self.finished):
            raise JobError(
                f"{self._condemned} pages killed their engine, {self.finished} were finished: the "
                f"environment or the model is at fault. The end of the engine's log:\n{log_tail}"
            )

    def _finish_part(self, number: int) -> None:
        chunk = self._chunks[number]
        chunk.parts -= 1
        if not chunk.orphaned:
            self.outstanding[chunk.unit] -= 1
        if not chunk.parts:
            self._discard(number)

    def _discard(self, number: int) -> None:
        self.image_bytes -= self._chunks.pop(number).image_bytes


def part_pages(chunk: _Chunk, only: tuple[int, ...] | None) -> int:
    """Pages of a part that keep an engine busy."""
    return chunk.to_read if only is None else len(only)
