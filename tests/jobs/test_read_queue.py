"""Who reads what, and how the page that kills its engine is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from cluster.fleet import Cause, ReplicaUp, UnitKey
from jobs.driver.read_queue import MAX_BLAMELESS_DEATHS, ReadOrder, ReadQueue
from manifests.errors import JobError
from manifests.pages import PageSpan
from manifests.work import RenderReport

UNIT = ("u", 1)


class Bench:
    """A queue, the rows that are stored, and what each replica was told to read."""

    def __init__(self, replicas: int = 1, window: int = 8) -> None:
        self.rows: set[tuple[int, int]] = set()
        self.queue = ReadQueue(self.stored)
        for i in range(replicas):
            self.queue.replica_up(ReplicaUp(f"r{i}", f"node{i}", "e", window))

    def stored(self, unit: UnitKey, pages: Sequence[tuple[int, int]]) -> list[bool]:
        return [page in self.rows for page in pages]

    def add(self, doc: int, first: int, last: int, node: str = "node0", unit: UnitKey = UNIT) -> None:
        pages = last - first + 1
        report = RenderReport((), ((doc, PageSpan(first, last)),), pages, 10 * pages)
        self.queue.add(unit, f"chunk-{doc}-{first}", node, report)

    def order(self) -> ReadOrder:
        (order,) = self.queue.orders()
        return order

    def die(
        self, order: ReadOrder, *others: ReadOrder, cause: Cause = Cause.CRASH, replace: str = ""
    ) -> None:
        reads = [each.number for each in (order, *others)]
        self.queue.lost(order.replica, cause, reads, f"log_tail of {order.replica}")
        self.queue.replica_up(ReplicaUp(replace or order.replica, "node0", "e", 8))

    def is_empty(self) -> bool:
        queue = self.queue
        return (queue.image_bytes, queue.pages, +queue.outstanding, -queue.outstanding) == (
            0,
            0,
            Counter(),
            Counter(),
        )


def finish(bench: Bench, order: ReadOrder, *pages: tuple[int, int]) -> None:
    bench.rows.update(pages)
    bench.queue.done(order.number, len(pages), len(pages))


def test_replicas_are_filled_to_their_windows_and_not_beyond():
    bench = Bench(replicas=2, window=4)
    for i in range(6):
        bench.add(i, 1, 2)
    assert Counter(order.replica for order in bench.queue.orders()) == {"r0": 2, "r1": 2}
    assert bench.queue.orders() == []
    assert (bench.queue.in_flight, bench.queue.pages, bench.queue.window) == (8, 12, 8)
    assert bench.queue.per_replica == {"r0": 4, "r1": 4}


def test_a_chunk_larger_than_the_window_is_read_all_the_same():
    bench = Bench(window=2)
    bench.add(0, 1, 9)
    assert bench.order().only is None


def test_a_chunk_is_read_on_the_node_where_it_lies_if_that_replica_has_room():
    bench = Bench(replicas=2, window=1)
    bench.add(0, 1, 1, node="node1")
    bench.add(1, 1, 1, node="node0")
    assert {order.replica: order.chunk for order in bench.queue.orders()} == {
        "r0": "chunk-1-1",
        "r1": "chunk-0-1",
    }


def test_what_was_read_is_forgotten_with_its_bytes():
    bench = Bench()
    bench.add(0, 1, 3)
    assert (bench.queue.image_bytes, bench.queue.outstanding[UNIT]) == (30, 1)
    order = bench.order()
    bench.queue.done(order.number, 3, 3)
    assert bench.is_empty()
    bench.queue.done(order.number, 3, 3)
    assert bench.queue.finished == 3, "an answer that comes twice counts once"
    assert bench.queue.finished == 3


def test_pages_of_a_read_that_are_done_make_room_while_the_slow_one_goes_on():
    bench = Bench(window=4)
    bench.add(0, 1, 4)
    bench.add(1, 1, 3)
    slow = bench.order()
    assert bench.queue.orders() == []
    bench.rows.update({(0, 1), (0, 2), (0, 3)})
    bench.queue.progress(slow.number, 3, 3)
    assert (bench.queue.finished, bench.queue.in_flight) == (3, 1)
    finish(bench, bench.order(), (1, 1), (1, 2), (1, 3))
    assert bench.queue.image_bytes == 40, "its images stay until all of it is read"
    finish(bench, slow, (0, 4))
    assert (bench.queue.finished, bench.queue.finished_by["r0"]) == (7, 7)
    assert bench.is_empty()
    bench.queue.progress(slow.number, 1, 1)
    assert bench.queue.finished == 7, "what comes late of a read counts for nobody"


def test_after_a_crash_pages_that_were_told_of_are_not_counted_again():
    bench = Bench()
    bench.add(0, 1, 4)
    order = bench.order()
    bench.rows.update({(0, 1), (0, 2), (0, 3)})
    bench.queue.progress(order.number, 2, 2)
    bench.die(order)
    assert bench.queue.finished == 3
    finish(bench, bench.order(), (0, 4))
    assert (bench.queue.finished, bench.is_empty()) == (4, True)


@pytest.mark.parametrize("cause", [Cause.NODE, Cause.MEMORY, Cause.START])
def test_what_a_blameless_replica_held_waits_again_without_the_pages_that_have_rows(cause):
    bench = Bench()
    bench.add(0, 1, 4)
    order = bench.order()
    bench.rows.add((0, 2))
    bench.die(order, cause=cause)
    again = bench.order()
    assert again.only == (0, 2, 3)
    finish(bench, again, (0, 1), (0, 3), (0, 4))
    assert bench.is_empty()


def test_a_read_whose_every_page_has_a_row_is_done_by_the_death_of_its_replica():
    for cause in (Cause.NODE, Cause.CRASH):
        bench = Bench()
        bench.add(0, 1, 2)
        order = bench.order()
        bench.rows |= {(0, 1), (0, 2)}
        bench.die(order, cause=cause)
        assert bench.queue.orders() == []
        assert bench.is_empty()


def test_after_a_crash_suspects_are_read_alone_one_at_a_time_on_one_replica_while_the_others_go_on():
    bench = Bench(replicas=3, window=4)
    bench.add(0, 1, 3)
    first = bench.order()
    for doc in range(1, 9):
        bench.add(doc, 1, 2)
    bench.die(first, replace="fresh")
    orders = bench.queue.orders()
    alone = [order for order in orders if order.replica == "fresh"]
    assert [order.only for order in alone] == [(0,)]
    assert {order.replica for order in orders} == {"fresh", "r1", "r2"}
    assert bench.queue.orders() == [], "the next suspect waits for the first"
    finish(bench, alone[0], (0, 1))
    assert [(order.replica, order.only) for order in bench.queue.orders()] == [("fresh", (1,))]


def test_the_replica_set_aside_joins_the_others_once_no_suspect_is_left():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    finish(bench, bench.order(), (0, 1))
    bench.add(1, 1, 2)
    assert bench.order().only is None


def test_a_suspect_that_has_a_row_by_the_time_its_replica_dies_again_is_not_read_again():
    for cause in (Cause.CRASH, Cause.NODE):
        bench = Bench()
        bench.add(0, 1, 1)
        bench.die(bench.order())
        alone = bench.order()
        bench.rows.add((0, 1))
        bench.die(alone, cause=cause)
        assert bench.queue.orders() == []
        assert bench.is_empty()


def kill_alone(bench: Bench, times: int = 2) -> None:
    for _ in range(times):
        bench.die(bench.order())


def test_two_deaths_alone_condemn_a_page_once_another_was_finished():
    bench = Bench()
    bench.add(0, 1, 2)
    bench.die(bench.order())
    kill_alone(bench, 3)  # page 1, its neighbour, page 1
    bench.queue.finished_before = 0
    assert bench.queue.condemned(nothing_else_left=False) == []
    finish(bench, bench.order(), (0, 2))
    bench.queue.finished_before = 0
    (killer,) = bench.queue.condemned(nothing_else_left=False)
    assert (killer.unit, killer.doc_index, killer.page) == (UNIT, 0, 1)
    assert killer.reason == "killed its engine: log_tail of r0"
    assert bench.is_empty()


def test_pages_finished_by_earlier_runs_prove_only_when_nothing_else_is_left():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    kill_alone(bench)
    assert bench.queue.only_unproven_left
    bench.queue.finished_before = 9
    assert bench.queue.condemned(nothing_else_left=False) == []
    bench.queue.finished_before = 9
    assert len(bench.queue.condemned(nothing_else_left=True)) == 1


def test_without_any_page_ever_finished_nothing_is_condemned():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    kill_alone(bench)
    bench.queue.finished_before = 0
    assert bench.queue.condemned(nothing_else_left=True) == []
    assert bench.queue.log_tail == "log_tail of r0"


def test_rows_a_replica_stored_before_it_died_prove_that_its_engine_can_read():
    bench = Bench()
    bench.add(0, 1, 3)
    order = bench.order()
    bench.rows |= {(0, 1), (0, 2)}
    bench.die(order)
    kill_alone(bench)
    bench.queue.finished_before = 0
    assert len(bench.queue.condemned(nothing_else_left=True)) == 1


def test_one_death_alone_is_not_enough_and_blameless_deaths_do_not_count():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    kill_alone(bench, 1)
    for cause in (Cause.NODE, Cause.MEMORY) * 3:
        bench.die(bench.order(), cause=cause)
    finish(bench, bench.order(), (0, 1))
    bench.queue.finished_before = 9
    assert bench.queue.condemned(nothing_else_left=True) == []
    assert bench.is_empty()


def test_deaths_before_any_page_stop_the_job_with_the_log_tail():
    bench = Bench(replicas=8)
    for doc in range(8):
        bench.add(doc, 1, 9)
    orders = bench.queue.orders()
    with pytest.raises(
        JobError, match=r"(?s)before any page was finished.*no page was condemned.*log_tail of r"
    ):
        for order in orders:
            bench.queue.lost(order.replica, Cause.CRASH, [order.number], f"log_tail of {order.replica}")


def test_blameless_deaths_in_a_row_stop_the_job_and_a_finished_page_starts_the_count_anew():
    bench = Bench()
    bench.add(0, 1, 2)
    for _ in range(2):
        for _ in range(MAX_BLAMELESS_DEATHS - 1):
            bench.die(bench.order(), cause=Cause.NODE)
        finish(bench, bench.order())
        bench.add(0, 1, 2)
    with pytest.raises(JobError, match="replicas in a row were lost"):
        for _ in range(MAX_BLAMELESS_DEATHS):
            bench.die(bench.order(), cause=Cause.NODE)


def test_starts_that_fail_stop_the_job_unless_another_replica_is_up_or_loading():
    bench = Bench(replicas=1)
    for _ in range(20):
        bench.queue.lost("broken card", Cause.START, [], "no CUDA")
    bench.queue.lost("r0", Cause.CRASH, [], "")
    for _ in range(20):
        bench.queue.lost("broken card", Cause.START, [], "no CUDA", loading=1)
    with pytest.raises(JobError, match=r"(?s)did not start.*no CUDA"):
        bench.queue.lost("broken card", Cause.START, [], "no CUDA", loading=0)


def test_replicas_that_die_idle_prove_nothing():
    bench = Bench(replicas=50)
    for i in range(50):
        bench.queue.lost(f"r{i}", Cause.NODE if i % 2 else Cause.CRASH, [], "")
    assert bench.is_empty()


def test_a_lost_chunk_is_rendered_again_without_the_pages_that_have_rows():
    bench = Bench()
    bench.add(4, 1, 3)
    order = bench.order()
    bench.rows.add((4, 2))
    assert bench.queue.chunk_lost(order.number) == (UNIT, [(4, 1), (4, 3)])
    assert bench.is_empty()


@pytest.mark.parametrize("how", ["done", "node", "crash", "lost"])
def test_a_dropped_unit_leaves_nothing_behind_when_its_reads_under_way_have_run_out(how):
    bench = Bench(replicas=2, window=2)
    bench.add(0, 1, 4)
    bench.add(1, 1, 4, unit=("other", 1))
    first, other = sorted(bench.queue.orders(), key=lambda order: order.chunk)
    bench.die(first)
    alone = bench.order()
    bench.queue.drop(UNIT)
    bench.rows |= {(0, page) for page in range(1, 5)}  # what the writer says of a unit it gave up
    if how == "done":
        bench.queue.done(alone.number, 1, 1)
    elif how == "lost":
        bench.queue.chunk_lost(alone.number)
    else:
        bench.die(alone, cause=Cause.NODE if how == "node" else Cause.CRASH)
    finish(bench, other, *((1, page) for page in range(1, 5)))
    assert bench.queue.orders() == []
    assert bench.is_empty()


def test_a_unit_that_was_dropped_and_comes_back_is_counted_from_nothing():
    bench = Bench(window=2)
    bench.add(0, 1, 2)
    late = bench.order()
    bench.queue.drop(UNIT)
    bench.add(0, 1, 2)
    bench.queue.done(late.number, 2, 2)
    assert bench.queue.outstanding[UNIT] == 1
    bench.queue.done(bench.order().number, 2, 2)
    assert bench.is_empty()
