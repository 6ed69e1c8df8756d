"""Who reads what, and how the page that kills its engine is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from cluster.fleet import Cause, ReplicaUp, UnitKey
from jobs.driver.read_parts import ReadOrder
from jobs.driver.read_queue import ReadQueue
from jobs.driver.suspects import CONTROL_DEATHS, MEMORY_KILLS_ALONE, MEMORY_KILLS_TOGETHER
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
    assert (bench.queue.replicas.in_flight, bench.queue.pages, bench.queue.replicas.window) == (8, 12, 8)
    assert bench.queue.replicas.per_replica == {"r0": 4, "r1": 4}


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
    assert bench.queue.finished_by["r0"] == 3, "an answer that comes twice counts once"


def test_pages_of_a_read_that_are_done_make_room_while_the_slow_one_goes_on():
    bench = Bench(window=4)
    bench.add(0, 1, 4)
    bench.add(1, 1, 3)
    slow = bench.order()
    assert bench.queue.orders() == []
    bench.rows.update({(0, 1), (0, 2), (0, 3)})
    bench.queue.progress(slow.number, 3, 3)
    assert (bench.queue.finished_by["r0"], bench.queue.replicas.in_flight) == (3, 1)
    finish(bench, bench.order(), (1, 1), (1, 2), (1, 3))
    assert bench.queue.image_bytes == 40, "its images stay until all of it is read"
    finish(bench, slow, (0, 4))
    assert bench.queue.finished_by["r0"] == 7
    assert bench.is_empty()
    bench.queue.progress(slow.number, 1, 1)
    assert bench.queue.finished_by["r0"] == 7, "what comes late of a read counts for nobody"


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


def kill_alone(bench: Bench, times: int = 2, cause: Cause = Cause.CRASH) -> None:
    for _ in range(times):
        bench.die(bench.order(), cause=cause)


def test_two_deaths_alone_condemn_a_page_once_another_was_answered():
    bench = Bench()
    bench.add(0, 1, 2)
    bench.die(bench.order())
    kill_alone(bench, 1)
    finish(bench, bench.order(), (0, 2))
    assert bench.queue.condemned(nothing_else=False) == []
    kill_alone(bench, 1)
    (killer,) = bench.queue.condemned(nothing_else=False)
    assert (killer.unit, killer.doc_index, killer.page) == (UNIT, 0, 1)
    assert killer.reason == "killed its engine: log_tail of r0"
    assert bench.is_empty()


def control(bench: Bench) -> ReadOrder:
    """The order to read the built-in page, rendered when it is asked for."""
    orders = bench.queue.orders()
    if not orders:
        assert bench.queue.control.must_be_rendered()
        assert not bench.queue.control.must_be_rendered(), "it is asked for once"
        bench.queue.control.rendered("control")
        orders = bench.queue.orders()
    (order,) = orders
    assert (order.chunk, order.only, order.number) == ("control", None, bench.queue.control.read)
    return order


def test_the_built_in_page_is_read_alone_where_no_other_page_can_tell():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    kill_alone(bench)
    assert bench.queue.condemned(nothing_else=True) == []
    control(bench)
    assert bench.queue.orders() == [], "nothing else meanwhile"
    bench.queue.control_done()
    bench.queue.suspects.control_answered()
    (killer,) = bench.queue.condemned(nothing_else=True)
    assert (killer.unit, killer.doc_index, killer.page) == (UNIT, 0, 1)
    assert killer.reason == "killed its engine: log_tail of r0"
    assert bench.queue.orders() == []
    assert bench.is_empty()


def test_an_engine_that_dies_of_the_built_in_page_is_the_environments_fault():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    kill_alone(bench)
    for _ in range(CONTROL_DEATHS):
        assert not bench.queue.suspects.fault
        bench.die(control(bench))
    assert "no page was condemned" in bench.queue.suspects.fault
    assert "log_tail of r0" in bench.queue.suspects.fault


def test_a_control_for_the_breaker_is_read_beside_others_and_its_death_tells_nothing():
    bench = Bench()
    bench.add(0, 1, 4)
    other = bench.order()
    bench.queue.control.ask("r0")
    bench.queue.control.rendered("control")
    bench.die(other, control(bench))
    assert bench.queue.control.read == 0
    assert [order.only for order in bench.queue.orders()] == [(0,)]
    assert not bench.queue.suspects.fault


def test_while_orders_are_held_back_only_the_control_is_read():
    bench = Bench()
    bench.add(0, 1, 4)
    bench.queue.control.ask("r0")
    assert bench.queue.orders({"r0"}) == []
    bench.queue.control.rendered("control")
    assert [order.chunk for order in bench.queue.orders({"r0"})] == ["control"]
    bench.queue.control_done()
    assert [order.chunk for order in bench.queue.orders()] == ["chunk-0-1"]


def test_a_page_whose_replicas_are_killed_for_memory_is_isolated_and_condemned_and_its_neighbours_are_read():
    bench = Bench()
    bench.add(0, 1, 3)
    for _ in range(MEMORY_KILLS_TOGETHER):
        order = bench.order()
        assert order.only in (None, (0, 1, 2))
        bench.die(order, cause=Cause.MEMORY)
    kills = 0
    while not (killers := bench.queue.condemned(nothing_else=False)):
        order = bench.order()
        assert len(order.only) == 1
        if order.only == (1,):
            kills += 1
            bench.die(order, cause=Cause.MEMORY)
        else:
            finish(bench, order, (0, order.only[0] + 1))
        if kills == MEMORY_KILLS_ALONE:
            control(bench)
            bench.queue.control_done()
            bench.queue.suspects.control_answered()
    assert kills <= MEMORY_KILLS_ALONE
    assert [killer.page for killer in killers] == [2]
    assert killers[0].reason.startswith("needs more memory than there is: its engine was killed for memory 3")
    assert bench.is_empty()


def test_losses_of_nodes_never_count_against_a_page():
    bench = Bench()
    bench.add(0, 1, 1)
    bench.die(bench.order())
    kill_alone(bench, 1)
    kill_alone(bench, 9, Cause.NODE)
    finish(bench, bench.order(), (0, 1))
    assert bench.queue.condemned(nothing_else=True) == []
    assert bench.is_empty()


def test_an_only_replica_reads_other_pages_between_suspects():
    bench = Bench(window=4)
    bench.add(0, 1, 12)
    first = bench.order()
    for doc in range(1, 4):
        bench.add(doc, 1, 2)
    bench.die(first)
    read = []
    for _ in range(40):
        for order in bench.queue.orders():
            alone = order.only is not None
            read.append("alone" if alone else "work")
            indexes = order.only if alone else (0, 1)
            doc = int(order.chunk.split("-")[1])
            finish(bench, order, *((doc, index + 1) for index in indexes))
    assert read.count("alone") == 12
    assert read.index("work") <= 4, "work goes on before all suspects are through"
    assert bench.is_empty()


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
