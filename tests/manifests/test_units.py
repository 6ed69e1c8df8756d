"""Units: how documents are cut, what names them, and plans for their generations."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.documents import Document
from manifests.units import UnitPlan, cut_units, first_generation, in_shard, make_unit


def documents(*sizes: int) -> list[Document]:
    return [Document(f"d{i}", f"/in/d{i}", size=size, version=f"v{size}") for i, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 30)), st.integers(1, 5), st.integers(1, 60))
def test_units_hold_every_document_once_in_order_within_both_limits(sizes, most, most_bytes):
    units = list(cut_units(documents(*sizes), most, most_bytes))
    assert [d for unit in units for d in unit.documents] == documents(*sizes)
    for unit in units:
        assert 1 <= len(unit.documents) <= most
        assert len(unit.documents) == 1 or sum(d.size for d in unit.documents) <= most_bytes
    for unit, following in itertools.pairwise(units):
        full = len(unit.documents) == most
        assert full or sum(d.size for d in unit.documents) + following.documents[0].size > most_bytes


def test_a_unit_id_depends_on_what_is_wanted_and_not_on_where_it_lies():
    first, second = documents(1, 2)
    name = make_unit([first, second]).unit_id
    moved = replace(first, uri="/elsewhere/d0", markdown="other", metadata='{"a": 1}')
    assert make_unit([moved, second]).unit_id == name
    for other in (
        [second, first],
        [first],
        [replace(first, version="new"), second],
        [replace(first, pages="1-2"), second],
        [replace(first, max_pages=2), second],
        [replace(first, prompt="read"), second],
        [replace(first, doc_id="other"), second],
    ):
        assert make_unit(other).unit_id != name


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_unit_is_in_exactly_one_shard_and_shards_are_alike(count):
    names = [make_unit([Document(f"d{i}", "/x")]).unit_id for i in range(700)]
    shares = Counter(i for name in names for i in range(count) if in_shard(name, i, count))
    assert sum(shares.values()) == len(names)
    assert min(shares.values()) > 0.6 * len(names) / count


def test_a_first_generation_reads_everything():
    plan = first_generation(make_unit(documents(1, 2, 3)))
    assert (plan.generation, plan.wanted_indexes(), plan.wanted(1)) == (1, [0, 1, 2], documents(1, 2, 3)[1])


def test_a_reread_of_pages_narrows_the_selection_and_lifts_the_cut():
    kept = tuple(replace(d, pages="1-9", max_pages=3) for d in documents(1, 2, 3))
    plan = UnitPlan("u", 2, kept, {2: "", 0: "4,6"}, "base")
    assert plan.wanted_indexes() == [0, 2]
    assert (plan.wanted(0).pages, plan.wanted(0).max_pages) == ("4,6", 0)
    assert plan.wanted(2) == kept[2]


def test_a_restarted_document_is_read_as_a_whole_in_its_new_version():
    plan = UnitPlan("u", 2, tuple(documents(1, 2)), {0: "4"}, "base")
    again = plan.restarted(0, "new")
    assert (again.reread, again.documents[0].version) == ({0: ""}, "new")
    assert again.restarted(1, "newer").reread == {0: "", 1: ""}
    assert first_generation(make_unit(documents(1))).restarted(0, "new").reread is None
    assert plan.reread == {0: "4"}


@pytest.mark.parametrize("reread", [None, {}, {0: "1-3,7", 11: ""}])
def test_a_plan_survives_json(reread):
    plan = UnitPlan("u", 3, tuple(documents(1, 2)), reread, "base")
    assert UnitPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
