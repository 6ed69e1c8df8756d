"""Which replica reads what. Who is to blame for a replica's death is decided elsewhere (``suspects``)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from cluster.fleet import Cause, ReplicaUp, UnitKey
from jobs.driver.controls import Control
from jobs.driver.read_parts import (
    ChunkState,
    EngineKiller,
    Part,
    Read,
    ReadOrder,
    ReplicaLoads,
    SuspectPage,
    part_pages,
)
from jobs.driver.suspects import Death, Role, Suspect, Suspects, Turn, in_one_line, speaks_against
from manifests.work import RenderReport

REPLICAS = Role("replica", "engine", "read", max_failed_starts=3, max_guilty=(50, 0.1))
"""More pages than that which kill their engine are the model's fault, or the machine's."""

Stored = Callable[[UnitKey, Sequence[tuple[int, int]]], list[bool]]


class ReadQueue:
    """Chunks waiting for replicas, and what each replica holds.

    ``stored`` tells which pages have a row. ``proven``: an earlier run read pages.
    """

    def __init__(self, stored: Stored, *, proven: bool = False) -> None:
        self._stored = stored
        self._chunks: dict[int, ChunkState] = {}
        self._ready: deque[Part] = deque()
        self._reads: dict[int, Read] = {}
        self._aside = ""
        self._next = 0
        self.suspects: Suspects[SuspectPage] = Suspects(REPLICAS, proven=proven)
        self.control = Control()
        self.replicas = ReplicaLoads()
        self.finished_by: Counter[str] = Counter()
        self.outstanding: Counter[UnitKey] = Counter()
        self.image_bytes = 0

    @property
    def pages(self) -> int:
        """Rendered pages that have not been read yet."""
        return sum(part_pages(self._chunks[p.chunk], p.only) for p in self._ready) + self.replicas.in_flight

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be read, nor is being read."""
        return not (self._ready or self._reads or len(self.suspects))

    def held(self) -> Iterator[tuple[str, UnitKey, int, int]]:
        """Replica, unit, document index and page of every page that is being read."""
        for read in self._reads.values():
            if read.part.chunk in self._chunks:
                chunk = self._chunks[read.part.chunk]
                indexes = read.part.only if read.part.only is not None else range(len(chunk.pages))
                for index in indexes:
                    yield (read.replica, chunk.unit, *chunk.pages[index])

    def replica_of(self, number: int) -> str:
        read = self._reads.get(number)
        return read.replica if read is not None else ""

    def unit_of(self, number: int) -> UnitKey | None:
        """The unit of a read's pages, None when they are nobody's any more."""
        read = self._reads.get(number)
        chunk = self._chunks.get(read.part.chunk) if read is not None else None
        return chunk.unit if chunk is not None and not chunk.orphaned else None

    def add(self, unit: UnitKey, handle: Any, node: str, report: RenderReport) -> None:
        """Take a rendered chunk."""
        self._next += 1
        pages = [(i, page) for i, span in report.covered for page in span]
        self._chunks[self._next] = ChunkState(unit, handle, node, pages, report.to_read, report.image_bytes)
        self.image_bytes += report.image_bytes
        self.outstanding[unit] += 1
        self._ready.append(Part(self._next))

    def drop(self, unit: UnitKey) -> None:
        """Forget a unit's waiting chunks and suspects; reads under way run out and count for nobody."""
        self.suspects.drop(lambda page: self._chunks[page.chunk].unit == unit)
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
        self.replicas.add(event)
        self.suspects.started()
        if self.suspects.is_active and not self._aside:
            self._aside = replica

    # Orders

    def orders(self, hold: Collection[str] = ()) -> list[ReadOrder]:
        """What to read next, each replica filled to its window, chunks preferably on their node. Replicas
        in ``hold`` get nothing but a control."""
        orders = list(self._order_aside(hold))
        control = self.control
        if control.is_due and control.replica != self._aside and control.replica in self.replicas.up:
            orders.append(self._read_control(alone=False))
        while self._ready and (name := self.replicas.least_loaded({self._aside, *hold})):
            orders.append(self._read(name, self._pick(self.replicas.up[name].node)))
        return orders

    def _order_aside(self, hold: Collection[str]) -> Iterator[ReadOrder]:
        """What the replica that is set aside for suspects does next, once it holds nothing."""
        if not self._aside and self.suspects.is_active:
            idle = [name for name, held in self.replicas.up.items() if not held.reads and name not in hold]
            if idle and (len(self.replicas.up) == 1 or not self._ready):
                self._aside = idle[0]  # else the replacement of the one that died
        replica = self.replicas.up.get(self._aside)
        if replica is None or replica.reads:
            return
        only = len(self.replicas.up) == 1
        turn = self.suspects.next_turn(work_waits=bool(self._ready), only_worker=only)
        if turn is Turn.CONTROL:
            self.control.ask(self._aside)
        if self.control.is_due and self.control.replica == self._aside:
            yield self._read_control(alone=True)
        elif self._aside in hold or (turn is None and not self.suspects.is_active):
            self._aside = ""
        elif turn is Turn.SUSPECT:
            suspect = self.suspects.take()
            yield self._read(self._aside, Part(suspect.item.chunk, (suspect.item.place,)), suspect)
        elif turn is Turn.WORK:
            self.suspects.gave_way()
            yield self._read(self._aside, self._pick_other())
            while self._ready and only and replica.pages < replica.window:
                yield self._read(self._aside, self._pick_other())

    def _pick_other(self) -> Part:
        """A waiting part, of another document than those suspected where there is one."""
        suspected = {self._document(page.chunk, page.place) for page in self.suspects.items()}
        for place, part in enumerate(self._ready):
            if self._document(part.chunk, part.only[0] if part.only else 0) not in suspected:
                del self._ready[place]
                return part
        return self._ready.popleft()

    def _document(self, number: int, index: int) -> tuple[UnitKey, int]:
        chunk = self._chunks[number]
        return chunk.unit, chunk.pages[index][0]

    def _pick(self, node: str) -> Part:
        for place, part in enumerate(self._ready):
            if self._chunks[part.chunk].node == node:
                del self._ready[place]
                return part
        return self._ready.popleft()

    def _read(self, name: str, part: Part, suspect: Suspect[SuspectPage] | None = None) -> ReadOrder:
        self._next += 1
        replica = self.replicas.up[name]
        pages = part_pages(self._chunks[part.chunk], part.only)
        self._reads[self._next] = Read(name, part, pages, suspect)
        replica.reads.add(self._next)
        replica.pages += pages
        return ReadOrder(name, self._next, self._chunks[part.chunk].handle, part.only)

    def _read_control(self, *, alone: bool) -> ReadOrder:
        self._next += 1
        self.control.given(self._next, alone=alone)
        self.replicas.up[self.control.replica].reads.add(self._next)
        return ReadOrder(self.control.replica, self._next, self.control.handle, None)

    # Answers

    def control_done(self) -> None:
        """The control's read has ended."""
        if replica := self.replicas.up.get(self.control.replica):
            replica.reads.discard(self.control.read)
        self.control.ended()

    def progress(self, number: int, pages: int, answered: int) -> None:
        """Pages of a read are finished: there is room for others.

        ``answered`` of them the engine read well: that proves it works, as a blank page does not.
        """
        read = self._reads.get(number)
        if read is None or not pages:
            return
        self.suspects.answered(answered)
        self.suspects.progressed()
        self.finished_by[read.replica] += pages
        read.answered += answered
        freed = min(pages, read.pages)
        read.pages -= freed
        if replica := self.replicas.up.get(read.replica):
            replica.pages -= freed

    def failed(self, number: int, doc_index: int, page: int) -> None:
        """The engine could not read a page: whatever becomes of it, it is not this read's any more."""
        if read := self._reads.get(number):
            read.failed.add((doc_index, page))

    def done(self, number: int, pages: int, answered: int) -> None:
        """A read has ended, with the pages that were not told of before."""
        self.progress(number, pages, answered)
        read = self._reads.pop(number, None)
        if read is None:
            return
        self.suspects.progressed()
        self._let_go(read, number)
        self._finish_part(read.part.chunk)

    def chunk_lost(self, number: int) -> tuple[UnitKey, list[tuple[int, int]]]:
        """The images are gone: which pages must be rendered again."""
        read = self._reads.pop(number)
        self._let_go(read, number)
        chunk = self._chunks[read.part.chunk]
        lost = [] if chunk.orphaned else [chunk.pages[i] for i in self._unstored(read)]
        self._finish_part(read.part.chunk)
        return chunk.unit, lost

    # Deaths

    def lost(self, replica: str, cause: Cause, reads: Sequence[int], log_tail: str, loading: int = 0) -> None:
        """A replica is gone. What it held may be suspected now, otherwise it waits again.

        ``loading`` others are being started and may well come up.
        """
        self.replicas.up.pop(replica, None)
        if self._aside == replica:
            self._aside = ""
        if cause is Cause.START:
            self.suspects.start_failed(log_tail, len(self.replicas.up) + loading)
        if self.control.replica == replica and self.control.ended() and cause in (Cause.CRASH, Cause.MEMORY):
            self.suspects.control_died(log_tail)
        held = [self._reads.pop(number) for number in reads if number in self._reads]
        accused: list[SuspectPage] = []
        for read in held:
            if read.suspect is not None and cause in (Cause.CRASH, Cause.MEMORY):
                self._died_alone(read, read.suspect, cause, log_tail)
            elif speaks_against(cause, read.part.memory_kills + 1) and read.suspect is None:
                accused += self._accuse(read)
            else:
                self._wait_again(read, cause)
        self.suspects.died(accused, log_tail)
        if held and cause is Cause.NODE:
            self.suspects.lost(cause, log_tail)

    def condemned(self, *, nothing_else: bool) -> list[EngineKiller]:
        """Pages now proven to kill their engine."""
        killers = []
        for suspect in self.suspects.guilty(nothing_else=nothing_else):
            chunk = self._chunks[suspect.item.chunk]
            doc_index, page = chunk.pages[suspect.item.place]
            reason = f"killed its engine: {in_one_line(suspect.log_tail)}"
            if suspect.death is Death.MEMORY:
                reason = (
                    "needs more memory than there is: its engine was killed for memory "
                    f"{suspect.memory_kills} times when it read this page alone"
                )
            killers.append(EngineKiller(chunk.unit, doc_index, page, reason))
            self._finish_part(suspect.item.chunk)
        return killers

    def _let_go(self, read: Read, number: int) -> None:
        if replica := self.replicas.up.get(read.replica):
            replica.reads.discard(number)
            replica.pages -= read.pages

    def _unstored(self, read: Read) -> list[int]:
        """Indexes of a read's pages that are still to be read."""
        part, chunk = read.part, self._chunks[read.part.chunk]
        indexes = list(part.only) if part.only is not None else list(range(len(chunk.pages)))
        indexes = [i for i in indexes if chunk.pages[i] not in read.failed]
        stored = self._stored(chunk.unit, [chunk.pages[i] for i in indexes])
        return [i for i, there in zip(indexes, stored, strict=True) if not there]

    def _wait_again(self, read: Read, cause: Cause) -> None:
        left = [] if self._chunks[read.part.chunk].orphaned else self._unstored(read)
        if not left:
            self._finish_part(read.part.chunk)
        elif read.suspect is not None:
            self.suspects.put_back(read.suspect)
        else:
            kills = read.part.memory_kills + (cause is Cause.MEMORY)
            self._ready.appendleft(Part(read.part.chunk, tuple(left), kills))

    def _accuse(self, read: Read) -> list[SuspectPage]:
        part = read.part
        chunk = self._chunks[part.chunk]
        if chunk.orphaned:
            self._finish_part(part.chunk)
            return []
        left = self._unstored(read)
        held = len(part.only) if part.only is not None else len(chunk.pages)
        untold = held - len(left) - (len(chunk.pages) - chunk.to_read) - read.answered - len(read.failed)
        self.suspects.answered(untold)
        chunk.parts += len(left) - 1
        self.outstanding[chunk.unit] += len(left) - 1
        if not chunk.parts:
            self._discard(part.chunk)
        return [SuspectPage(part.chunk, index) for index in left]

    def _died_alone(self, read: Read, suspect: Suspect[SuspectPage], cause: Cause, log_tail: str) -> None:
        if self._chunks[read.part.chunk].orphaned or not self._unstored(read):
            self._finish_part(read.part.chunk)
            return
        death = Death.MEMORY if cause is Cause.MEMORY else Death.CRASH
        self.suspects.died_alone(suspect, death, log_tail)

    def _finish_part(self, number: int) -> None:
        chunk = self._chunks[number]
        chunk.parts -= 1
        if not chunk.orphaned:
            self.outstanding[chunk.unit] -= 1
        if not chunk.parts:
            self._discard(number)

    def _discard(self, number: int) -> None:
        self.image_bytes -= self._chunks.pop(number).image_bytes
