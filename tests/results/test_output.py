"""One way to walk an output: units, documents, rows, and the pages that a selection of rows is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest

from jobs.planning.output_listing import OutputListing
from jobs.planning.retry import plan_retry
from jobs.summary import total_up, was_ever_read, write_reports
from manifests.documents import Document
from manifests.units import UnitPlan
from results import output as walking
from results.leftovers import clear_leftovers, foreign_objects
from results.local_store import LocalStore
from results.output import Output
from results.reasons import alike
from results.rows import ResultRow, Status, rows_to_batch
from results.selection import EVERYTHING, FAILED, Selection
from results.unit_files import read_footer, sealed_path
from results.writer import UnitWriter, WriterConfig

UNITS = {"0" * 15 + str(i): (f"{i}a", f"{i}b") for i in range(3)}
FIRST, SECOND, _ = UNITS
RUN = "20260101T000000-abcdef"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """Three sealed units of two documents of four pages: some failed, some doubtful."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    store = LocalStore(tmp_path / "out")
    for unit_id, names in UNITS.items():
        write(store, UnitPlan(unit_id, 1, tuple(map(document, names))), make)
    return store


def document(name: str) -> Document:
    return Document(name, f"/in/{name}.pdf", markdown=name, version="v")


def make(name: str, page: int) -> ResultRow:
    """The pages of the third unit are all well."""
    row = ResultRow(
        name,
        f"/in/{name}.pdf",
        page,
        Status.OK,
        page_count=4,
        text=f"{name} {page}",
        source_version="v",
        fingerprint="fp",
        run_id=RUN,
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
        mean_confidence=page / 4,
    )
    if name == "0a" and page in (2, 3):
        return replace(
            row, status=Status.FAILED, reason=f"/in/{name}.pdf: took {page} s, and 'x{page}'", text=""
        )
    if name == "1b" and page == 4:
        return replace(
            row, status=Status.FALLBACK, reason="truncated", flags=("script_not_covered", "damaged")
        )
    return row


def write(
    store: LocalStore, plan: UnitPlan, row: Callable[[str, int], ResultRow], fingerprint: str = "fp"
) -> None:
    """Read what a plan wants, with one document after the other, and seal it."""
    writer = UnitWriter(store, WriterConfig(RUN, fingerprint, 3600.0))
    writer.open(plan)
    for i in plan.wanted_indexes():
        for span in writer._open_unit(plan.unit_id, plan.generation).unit.planned(i, 4).read:
            rows = [row(plan.documents[i].doc_id, page) for page in span]
            writer.add(plan.unit_id, plan.generation, rows_to_batch(rows))
    assert writer.seal(plan.unit_id, plan.generation, {}).sealed
    writer.close()


def keys(
    store: LocalStore, selection: Selection = EVERYTHING, *, open_units: bool = False
) -> list[tuple[str, int]]:
    tables = Output(store).rows(["doc_id", "page"], selection, open_units=open_units)
    return [(row["doc_id"], row["page"]) for table in tables for row in table.to_pylist()]


def test_units_documents_and_rows_come_in_order_all_of_them(store, monkeypatch):
    monkeypatch.setattr(walking, "AT_ONCE", 2)
    output = Output(store)
    assert [footer.unit_id for footer in output.units()] == list(UNITS)
    names = [name for both in UNITS.values() for name in both]
    assert [sealed.document.doc_id for _, sealed in output.documents()] == names
    assert keys(store) == [(name, page) for name in names for page in range(1, 5)]
    assert next(output.rows()).num_columns == 33


def test_no_more_footers_are_read_than_are_asked_for(store, monkeypatch):
    monkeypatch.setattr(walking, "AT_ONCE", 1)
    read = []
    real = walking.read_footer
    monkeypatch.setattr(walking, "read_footer", lambda store, unit: read.append(unit) or real(store, unit))
    assert was_ever_read(store)
    assert read == [FIRST]


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (FAILED, [("0a", 2), ("0a", 3)]),
        (Selection(statuses=("failed", "fallback")), [("0a", 2), ("0a", 3), ("1b", 4)]),
        (Selection(flags=("damaged", "unheard_of")), [("1b", 4)]),
        (Selection(reason="took 3"), [("0a", 3)]),
        (Selection(fingerprints=("another",)), []),
        (
            Selection(where=pc.field("mean_confidence") < 0.3, columns=("mean_confidence",)),
            [(name, 1) for both in UNITS.values() for name in both],
        ),
        (
            Selection(
                statuses=("ok",),
                where=(pc.field("mean_confidence") < 0.6) & (pc.field("doc_id") == "0a"),
                columns=("mean_confidence", "doc_id"),
            ),
            [("0a", 1)],
        ),
    ],
)
def test_a_selection_is_met_by_rows_that_meet_all_of_it(store, selection, found):
    assert keys(store, selection) == found
    pages = {footer.unit_id: pages for footer, pages in Output(store).select(selection)}
    by_document: dict[str, list[str]] = {}
    for name, page in found:
        by_document.setdefault(name, []).append(str(page))
    told = {
        footer.documents[i].document.doc_id: wanted
        for footer in Output(store).units()
        for i, wanted in pages.get(footer.unit_id, {}).items()
    }
    assert told == {name: "-".join(listed) for name, listed in by_document.items()}


def test_units_that_cannot_hold_a_row_meant_are_not_opened(store, monkeypatch):
    opened = []
    real = walking.row_groups
    monkeypatch.setattr(walking, "row_groups", lambda s, path, c: opened.append(path) or real(s, path, c))
    assert len(list(Output(store).select(FAILED))) == 1
    assert opened == [sealed_path(FIRST)]


def test_rows_of_units_under_way_stand_in_for_the_generation_before(store):
    base = store.read(sealed_path(FIRST))[1]
    documents = tuple(map(document, UNITS[FIRST]))
    writer = UnitWriter(store, WriterConfig(RUN, "fp", 3600.0))
    writer.open(UnitPlan(FIRST, 2, documents, {0: "2-3"}, base))
    writer.add(FIRST, 2, rows_to_batch([replace(make("0a", 1), page=2, text="read again", generation=2)]))
    writer.open(UnitPlan("f" * 16, 1, (document("new"),)))
    writer.add("f" * 16, 1, rows_to_batch([make("new", 4), make("new", 1)]))
    writer.flush()
    writer.add("f" * 16, 1, rows_to_batch([make("new", 4)]))
    writer.close()
    assert ("new", 1) not in keys(store)
    walked = keys(store, open_units=True)
    assert len(walked) == len(set(walked)) == 24 + 2
    assert keys(store, FAILED, open_units=True) == [("0a", 3)]
    texts = [t for table in Output(store).rows(["text"], open_units=True) for t in table["text"].to_pylist()]
    assert "read again" in texts


# Reading a selection again


def test_a_second_phase_replaces_the_rows_meant_and_no_others(store):
    doubtful = Selection(statuses=("failed", "fallback"))
    plans = list(plan_retry(store, OutputListing.take(store), "fp", doubtful).unwritten)
    assert [(plan.unit_id, plan.reread) for plan in plans] == [(FIRST, {0: "2-3"}), (SECOND, {1: "4"})]

    def better(name: str, page: int) -> ResultRow:
        row = replace(
            make("x", 1), doc_id=name, uri=f"/in/{name}.pdf", page=page, text="better", generation=2
        )
        return replace(row, fingerprint="other")

    for plan in plans:
        write(store, plan, better, "other")
    footer = read_footer(store, FIRST)
    assert (footer.fingerprint, footer.fingerprints) == ("fp", {"fp": 6, "other": 2})
    assert keys(store, Selection(fingerprints=("other",))) == [("0a", 2), ("0a", 3), ("1b", 4)]
    assert keys(store, doubtful) == []
    assert list(plan_retry(store, OutputListing.take(store), "fp", doubtful).unwritten) == []
    assert len(keys(store)) == 24


# Reports


def test_the_summary_tells_the_most_frequent_reasons_made_alike(store):
    def fail(name: str, page: int) -> ResultRow:
        row = make("x", 1)
        reasons = [f"/in/{name}.pdf: took 4 s, and 'x'", "killed its engine", f"{name}: page {page} is gone"]
        reason = reasons[page % 3]
        return replace(
            row, doc_id=name, uri=f"/in/{name}.pdf", page=page, status=Status.FAILED, reason=reason, text=""
        )

    write(store, UnitPlan("a" * 16, 1, tuple(map(document, ("x1", "x2", "x3")))), fail)
    totals = total_up(store)
    expected = {"killed its engine": 6, "…: took N s, and '…'": 5, "…: page N is gone": 3}
    summary = write_reports(store, totals, {})
    assert summary["failure_reasons"] == expected
    lines = store.read("failures.jsonl")[0].decode().splitlines()
    assert len(lines) == 4
    assert '"pages": "2-3"' in lines[0] and '"failed_pages": 2' in lines[0] and "variants" not in lines[0]


def test_failures_name_variants_where_there_are_some(store):
    styles = ("long", "short")
    writer = UnitWriter(store, WriterConfig(RUN, "fp", 3600.0))
    writer.open(UnitPlan("b" * 16, 1, (document("photo"),), variants=styles))
    row = replace(make("x", 1), doc_id="photo", uri="/in/photo.pdf", page_count=1)
    bad = replace(row, variant="long", status=Status.FAILED, reason="no answer", text="")
    writer.add("b" * 16, 1, rows_to_batch([bad, replace(row, variant="short")]))
    assert writer.seal("b" * 16, 1, {}).sealed
    writer.close()
    write_reports(store, total_up(store), {})
    last = store.read("failures.jsonl")[0].decode().splitlines()[-1]
    assert '"variants": ["long"]' in last and '"pages": "1"' in last


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("s3://bucket/a b.pdf: access denied (403): allow", "…: access denied (403): allow"),
        ("rendering the page took longer than 30 s", "rendering the page took longer than N s"),
        ("cannot open /mnt/x/scan-001.pdf at 0x7f00aa12", "cannot open … at …"),
        ('the server answered 500: "id 77"\nTraceback', "the server answered 500: '…'"),
        ("", "no reason given"),
        ("x" * 500, "x" * 199 + "…"),
    ],
)
def test_reasons_are_made_alike(reason, kind):
    assert alike(reason, "s3://bucket/a b.pdf") == kind


# What a run leaves whose output was deleted


def left(store: LocalStore, fingerprint: str = "fp") -> list[str]:
    return list(foreign_objects(store, fingerprint))


def test_what_a_run_left_of_a_deleted_output_is_ours(store):
    for path in (
        "logs/20260101T000000-abcdef/pages-1.log",
        "partial/0123456789abcdef/g0001/unit.json",
        "claims/0123456789abcdef.json",
        "summary.json",
    ):
        store.replace(path, b"")
    assert left(store) == []
    assert left(store, "other settings")[:1] == [sealed_path(FIRST)]
    clear_leftovers(store)
    assert list(store.list("partial/")) == []
    store.replace("pages/notes.parquet", b"")
    assert left(store) == ["pages/notes.parquet"]


@pytest.mark.parametrize(
    "path", ["markdown/a.md", "logs/my.log", "partial/a.txt", "summary.json", "notes.txt"]
)
def test_what_anybody_might_have_there_is_not_ours(tmp_path, path):
    store = LocalStore(tmp_path / "out")
    store.replace(path, b"mine")
    assert left(store) == [path]
