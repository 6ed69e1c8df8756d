"""What is rendered when and by whom, and how a page that kills its renderer is found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cluster.fleet import Cause
from jobs.driver.controls import ALONE, MAX_LOST_CONTROLS, TO_READ
from jobs.driver.render_calls import RenderOrder, Room
from jobs.driver.render_queue import CALLS_PER_RENDERER, RenderQueue
from jobs.driver.suspects import CONTROL_DEATHS, MEMORY_KILLS_ALONE, MEMORY_KILLS_TOGETHER
from manifests.documents import Document
from manifests.pages import DOCUMENT_PAGE, PageSpan, spans_of
from manifests.work import (
    PROBE_UNIT,
    OpenedDocument,
    RenderCall,
    RenderItem,
    RenderReport,
    UnavailableSource,
)
from tests.actors.render_samples import renderer, text_pdf

UNIT = ("u", 1)
WIDE = Room(pages=10_000, bytes=10**12, call_pages=8)


def item(index: int, *spans: PageSpan, pages: str = "") -> RenderItem:
    return RenderItem(index, Document(f"d{index}", f"/in/d{index}", pages=pages), spans)


def queue(*items: RenderItem, renderers: int = 1) -> RenderQueue:
    made = RenderQueue(page_timeout_s=60.0, open_timeout_s=120.0)
    for i in range(renderers):
        made.renderer_up(f"r{i}", "node")
    made.add(UNIT, items)
    return made


def answer(call: RenderCall, counts: dict[int, int], limit: int | None = None) -> RenderReport:
    """What a renderer says that renders ``limit`` pages at most."""
    limit = call.max_pages if limit is None else limit
    opened, covered, done = [], [], 0
    for one in call.items:
        count = counts[one.doc_index]
        opened.append(OpenedDocument(one.doc_index, count, "v"))
        wanted = [page for span in one.spans or (PageSpan(1, count),) for page in span][: limit - done]
        covered += [(one.doc_index, span) for span in spans_of(wanted)]
        done += len(wanted)
        if done >= limit:
            break
    return RenderReport(tuple(opened), tuple(covered), done, 100 * done)


def pages_of(call: RenderCall) -> list[tuple[int, int]]:
    return [(one.doc_index, page) for one in call.items for span in one.spans for page in span]


def run_to_the_end(made: RenderQueue, counts: dict[int, int], limit: int | None = None) -> Counter:
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(1000):
        orders = made.orders(WIDE, {"node"})
        if not orders and not made.pages_reserved:
            return seen
        for order in orders:
            report = answer(order.call, counts, limit)
            seen.update((i, page) for i, span in report.covered for page in span)
            made.done(order.number, report)
    raise AssertionError("does not end")


@pytest.mark.parametrize("limit", [1, 3, None])
@pytest.mark.parametrize("renderers", [1, 3])
def test_every_page_is_rendered_once_however_little_a_call_achieves(limit, renderers):
    counts = {0: 20, 1: 1, 2: 7}
    made = queue(item(0), item(1), item(2, PageSpan(2, 3), PageSpan(6, 7)), renderers=renderers)
    expected = {(0, page): 1 for page in range(1, 21)} | {(1, 1): 1} | {(2, page): 1 for page in (2, 3, 6, 7)}
    assert run_to_the_end(made, counts, limit) == expected
    assert (len(made), made.pages_reserved, made.outstanding[UNIT]) == (0, 0, 0)
    assert made.page_counts[UNIT] == counts


def test_a_long_document_is_shared_by_all_renderers_once_its_length_is_known():
    made = queue(item(0, PageSpan(1, 100)), renderers=4)
    orders = made.orders(WIDE, {"node"})
    assert {order.renderer for order in orders} == {"r0", "r1", "r2", "r3"}
    pages = [page for order in orders for page in pages_of(order.call)]
    assert len(pages) == len(set(pages)) == 4 * CALLS_PER_RENDERER * WIDE.call_pages


def test_a_call_never_mixes_units():
    made = queue(item(0, PageSpan(1, 1)))
    made.add(("other", 1), [item(0, PageSpan(1, 1))])
    assert sorted(order.call.unit_id for order in made.orders(WIDE, {"node"})) == ["other", "u"]


def test_nothing_is_ordered_without_room_while_something_is_on_its_way():
    made = queue(item(0, PageSpan(1, 100)), renderers=2)
    assert len(made.orders(Room(8, 10**9, 8), {"node"})) == 1
    assert made.orders(Room(0, 10**9, 8), {"node"}) == []
    assert made.orders(Room(8, 0, 8), {"node"}) == []


def test_pages_travel_as_jpeg_only_where_no_replica_is_on_the_node():
    for nodes, encode in (({"node"}, False), ({"far"}, True), (set(), False)):
        made = queue(item(0, PageSpan(1, 1)))
        (order,) = made.orders(WIDE, nodes)
        assert order.call.encode is encode


def test_work_put_first_goes_before_what_waits():
    made = queue(item(0, PageSpan(1, 50)))
    made.add(UNIT, [item(7, PageSpan(3, 3)), item(8, PageSpan(4, 4))], first=True)
    assert [one.doc_index for one in made.orders(WIDE, {"node"})[0].call.items][:1] == [7]


@pytest.mark.parametrize("cause", [Cause.NODE, Cause.MEMORY])
def test_what_a_lost_node_was_rendering_is_rendered_again_together(cause):
    made = queue(item(0, PageSpan(1, 16)))
    orders = made.orders(WIDE, {"node"})
    made.lost("r0", cause, tuple(order.number for order in orders), "")
    assert made.condemned(nothing_else=False) == []
    made.renderer_up("r1", "node")
    again = made.orders(WIDE, {"node"})
    assert sorted(pages_of(order.call) for order in again) == [pages_of(order.call) for order in orders]


def die(made: RenderQueue, order: RenderOrder, name: str = "r0") -> list:
    made.lost(name, Cause.CRASH, (order.number,), "log_tail")
    made.renderer_up(name, "node")
    return made.condemned(nothing_else=False)


def test_after_a_crash_each_page_is_rendered_alone_and_the_killer_is_condemned_by_its_second_death():
    made = queue(item(0, PageSpan(1, 3)))
    (order,) = made.orders(WIDE, {"node"})
    assert die(made, order) == []
    rendered = []
    condemned = []
    for _ in range(20):
        orders = made.orders(WIDE, {"node"})
        if not orders:
            break
        (order,) = orders
        assert len(pages_of(order.call)) == 1
        if pages_of(order.call) == [(0, 2)]:
            condemned += die(made, order)
        else:
            rendered += pages_of(order.call)
            made.done(order.number, answer(order.call, {0: 3}))
    assert sorted(rendered) == [(0, 1), (0, 3)]
    (killer,) = condemned
    assert (killer.unit, killer.doc_index, killer.page) == (UNIT, 0, 2)
    assert killer.reason == "rendering the page crashed the renderer twice"
    assert made.outstanding[UNIT] == 0


def test_a_document_whose_opening_kills_is_one_page_0():
    made = queue(item(0))
    (order,) = made.orders(WIDE, {"node"})
    die(made, order)
    for _ in range(2):
        (order,) = made.orders(WIDE, {"node"})
        assert order.call.max_pages == 0, "a suspect of unknown length is only opened"
        assert die(made, order) == [], "nothing was ever rendered: that may be the environment's fault"
    (control,) = made.orders(WIDE, {"node"})
    assert made.control_kind(control.number) == ALONE
    assert control.call.unit_id == PROBE_UNIT
    assert made.control_done(control.number, answer(control.call, {0: 1}))
    (killer,) = made.condemned(nothing_else=False)
    assert killer.reason == "opening the document crashed the renderer twice"
    assert killer.page == 0
    assert made.outstanding[UNIT] == 0


def test_a_suspect_that_opens_well_is_rendered_from_its_first_page_alone():
    made = queue(item(0))
    die(made, made.orders(WIDE, {"node"})[0])
    (opening,) = made.orders(WIDE, {"node"})
    made.done(opening.number, RenderReport((OpenedDocument(0, 30, "v"),)))
    (first,) = made.orders(WIDE, {"node"})
    assert first.call.max_pages == 1
    made.done(first.number, answer(first.call, {0: 30}))
    assert len(pages_of(made.orders(WIDE, {"node"})[0].call)) > 1, "cleared by its first page"


def test_what_waited_behind_the_call_that_died_is_not_suspected():
    made = queue(item(0, PageSpan(1, 32)))
    first, second = made.orders(WIDE, {"node"})
    made.lost("r0", Cause.CRASH, (first.number, second.number), "")
    made.renderer_up("r1", "node")
    seen = run_to_the_end(made, {0: 32})
    assert seen == {(0, page): 1 for page in range(1, 33)}
    assert made.outstanding[UNIT] == 0


def test_a_page_that_hangs_alone_is_condemned_at_once_with_the_limit(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("jobs.driver.render_queue.time.monotonic", lambda: clock[0])
    made = queue(item(0, PageSpan(4, 4)))
    die(made, made.orders(WIDE, {"node"})[0])
    (alone,) = made.orders(WIDE, {"node"})
    clock[0] = 60.0
    (killer,) = die(made, alone)
    assert (killer.page, killer.reason) == (4, "rendering the page took longer than 60 s")


def test_renderers_that_never_come_up_are_the_environments_fault():
    made = queue(item(0), renderers=0)
    for _ in range(8):
        assert not made.suspects.fault
        made.lost("r0", Cause.START, (), "no such library")
    assert "the renderer did not start, 8 times in a row" in made.suspects.fault
    assert "no such library" in made.suspects.fault


def test_a_renderer_that_dies_of_the_built_in_page_is_the_environments_fault():
    made = queue(item(0, PageSpan(1, 1)))
    while not made.suspects.fault:
        (order,) = made.orders(WIDE, {"node"})
        die(made, order)
    assert f"{CONTROL_DEATHS} of them with a built-in page" in made.suspects.fault
    assert "no page was condemned" in made.suspects.fault


def test_other_renderers_go_on_at_full_width_while_suspects_are_tried_on_one():
    made = queue(item(0, PageSpan(1, 8)), renderers=3)
    first, *_ = made.orders(WIDE, {"node"})
    made.add(UNIT, [item(1, PageSpan(1, 500))])
    die(made, first, first.renderer)
    orders = made.orders(WIDE, {"node"})
    alone = [order for order in orders if pages_of(order.call) == [(0, 1)]]
    assert len(alone) == 1
    others = Counter(order.renderer for order in orders if order not in alone)
    assert set(others) == {"r0", "r1", "r2"} - {alone[0].renderer}
    assert all(len(pages_of(order.call)) > 1 for order in orders if order not in alone)


def test_a_page_whose_renderers_are_killed_for_memory_is_isolated_and_its_neighbours_are_rendered():
    made = queue(item(0, PageSpan(1, 3)))
    kills = together = 0
    seen: set[tuple[int, int]] = set()
    killers = []
    for _ in range(60):
        orders = made.orders(WIDE, {"node"})
        for order in orders:
            if made.control_kind(order.number):
                made.control_done(order.number, answer(order.call, {0: 1}))
            elif (0, 2) in pages_of(order.call):
                together += len(pages_of(order.call)) > 1
                kills += 1
                made.lost("r0", Cause.MEMORY, (order.number,), "")
                made.renderer_up("r0", "node")
            else:
                seen |= set(pages_of(order.call))
                made.done(order.number, answer(order.call, {0: 3}))
        killers += made.condemned(nothing_else=False)
    assert (together, kills) == (MEMORY_KILLS_TOGETHER, MEMORY_KILLS_TOGETHER + MEMORY_KILLS_ALONE)
    assert seen == {(0, 1), (0, 3)}
    assert [killer.page for killer in killers] == [2]
    assert killers[0].reason.startswith("needs more memory than there is: rendering the page")
    assert made.outstanding[UNIT] == 0


def test_the_page_for_engines_is_rendered_on_demand_and_given_up_after_a_few_losses():
    made = queue()
    for _ in range(MAX_LOST_CONTROLS):
        if not made.gave_up_control():
            made.want_control()
        (order,) = made.orders(WIDE, {"node"})
        assert made.control_kind(order.number) == TO_READ
        made.lost("r0", Cause.CRASH, (order.number,), "")
        made.renderer_up("r0", "node")
    assert [made.gave_up_control(), made.gave_up_control()] == [True, False]
    assert made.orders(WIDE, {"node"}) == []
    assert not made.suspects.is_active


# Sources that do not answer


def unavailable(call: RenderCall, *indexes: int) -> RenderReport:
    return RenderReport(unavailable=tuple(UnavailableSource(i, "HTTP 503") for i in indexes))


def test_what_is_unavailable_comes_back_later_and_once_its_place_is_down_nothing_else_is_asked(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("jobs.driver.render_queue.time.monotonic", lambda: clock[0])
    made = queue(*(item(i, PageSpan(1, 1)) for i in range(40)), renderers=2)
    asked = 0
    for _ in range(100):
        clock[0] += 1.0
        for order in made.orders(WIDE, {"node"}):
            asked += 1
            made.done(order.number, unavailable(order.call, order.call.items[0].doc_index))
    assert asked <= 2 * CALLS_PER_RENDERER + 12
    assert (len(made), made.outstanding[UNIT]) == (0, 40)
    assert made.waits_for_sources
    clock[0] += 30.0
    seen = run_to_the_end(made, dict.fromkeys(range(40), 1))
    assert seen == {(i, 1): 1 for i in range(40)}
    assert (made.outstanding[UNIT], len(made.sources)) == (0, 0)


def test_one_document_that_is_unavailable_does_not_hold_up_the_others(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("jobs.driver.render_queue.time.monotonic", lambda: clock[0])
    made = queue(*(item(i, PageSpan(1, 1)) for i in range(10)))
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(30):
        clock[0] += 0.1
        for order in made.orders(WIDE, {"node"}):
            indexes = [one.doc_index for one in order.call.items]
            if 0 not in indexes:
                report = answer(order.call, dict.fromkeys(range(10), 1))
            else:
                before = tuple((i, PageSpan(1, 1)) for i in indexes[: indexes.index(0)])
                opened = tuple(OpenedDocument(i, 1, "v") for i, _ in before)
                report = RenderReport(opened, before, len(before), 9, (UnavailableSource(0, "HTTP 500"),))
            seen.update((i, page) for i, span in report.covered for page in span)
            made.done(order.number, report)
    assert seen == {(i, 1): 1 for i in range(1, 10)}
    assert made.outstanding[UNIT] == 1
    assert made.waits_for_sources


def test_a_closed_document_is_neither_rendered_nor_waited_for():
    made = queue(item(0, PageSpan(1, 40)), item(1, PageSpan(1, 3)))
    orders = made.orders(WIDE, {"node"})
    made.close_document(UNIT, 0)
    made.lost("r0", Cause.CRASH, tuple(order.number for order in orders), "")
    made.renderer_up("r0", "node")
    assert run_to_the_end(made, {0: 40, 1: 3}) == {(1, page): 1 for page in (1, 2, 3)}
    assert made.outstanding[UNIT] == 0


@pytest.mark.parametrize("how", ["done", "lost"])
def test_nothing_of_a_dropped_unit_is_ever_ordered_again(how):
    made = queue(item(0), item(1, PageSpan(1, 50)))
    orders = made.orders(WIDE, {"node"})
    made.drop(UNIT)
    if how == "done":
        for order in orders:
            made.done(order.number, answer(order.call, {0: 90, 1: 50}, limit=1))
    else:
        made.lost("r0", Cause.NODE, tuple(order.number for order in orders), "")
        made.renderer_up("r1", "node")
    assert made.orders(WIDE, {"node"}) == []
    assert (len(made), made.outstanding[UNIT]) == (0, 0)


def test_a_document_that_could_not_be_opened_is_not_asked_for_again():
    made = queue(item(0))
    (order,) = made.orders(WIDE, {"node"})
    failed = OpenedDocument(0, 0, "", "not a PDF")
    made.done(order.number, RenderReport((failed,), ((0, PageSpan(DOCUMENT_PAGE, DOCUMENT_PAGE)),)))
    assert (made.orders(WIDE, {"node"}), made.outstanding[UNIT]) == ([], 0)


def test_a_report_tells_of_pages_in_the_order_in_which_the_chunk_holds_them(tmp_path: Path):
    """The driver knows pages of a chunk by their place. Two parts of a document can come back in line
    in the wrong order, and then are rendered in one call."""
    made = queue(item(0, PageSpan(1, 16)))
    first, second = made.orders(Room(10_000, 10**12, 4), {"node"})
    made.done(first.number, answer(first.call, {0: 16}, limit=1))
    made.done(second.number, answer(second.call, {0: 16}, limit=1))
    call = next(o.call for o in made.orders(WIDE, {"node"}) if len(o.call.items) > 1)
    path = text_pdf(tmp_path / "a.pdf", 16)
    document = Document("a", str(path))
    items = tuple(RenderItem(0, document, one.spans) for one in call.items)
    real = RenderCall("u", 1, items, 64, 10**9, 60.0)
    report, chunk = renderer(tmp_path).render(real)
    told = [(i, page) for i, span in report.covered for page in span]
    assert told == [(page.doc_index, page.page) for page in chunk.pages]
