"""The writer on a real local store: rows in, partials, sealed units, generations."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.documents import Document
from manifests.errors import StoreError
from manifests.pages import PageSpan
from manifests.units import UnitPlan
from results import merging
from results.local_store import LocalStore
from results.rows import SCHEMA, ResultRow, Status, rows_to_batch
from results.store import Created
from results.unit_files import (
    history_path,
    list_partials,
    partial_prefix,
    read_footer,
    read_plan,
    sealed_path,
)
from results.writer import UnitWriter, WriterConfig

LONG_S = 3600.0
UNIT = "00000000000000aa"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are not what these tests are about."""
    monkeypatch.setattr("os.fsync", lambda fd: None)


class BreakableStore(LocalStore):
    """A store whose writes can be made to fail, or interrupted by a test."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.error: Exception | None = None
        self.before_create: Callable[[str], None] = lambda path: None
        self.before_delete: Callable[[str], None] = lambda path: None

    def create(self, path: str, data: bytes) -> Created:
        if self.error is not None:
            raise self.error
        self.before_create(path)
        return super().create(path, data)

    def create_file(self, path: str, file: Path) -> Created:
        if self.error is not None:
            raise self.error
        self.before_create(path)
        return super().create_file(path, file)

    def delete(self, path: str) -> None:
        self.before_delete(path)
        super().delete(path)


@pytest.fixture
def store(tmp_path: Path) -> BreakableStore:
    return BreakableStore(tmp_path / "out")


class Writers:
    """Makes writers that do not outlive their test."""

    def __init__(self, store: BreakableStore) -> None:
        self.store = store
        self.made: list[UnitWriter] = []

    def __call__(self, run_id: str = "run", flush_s: float = LONG_S, **options: int) -> UnitWriter:
        self.made.append(UnitWriter(self.store, WriterConfig(run_id, "fp", flush_s, **options)))
        return self.made[-1]


@pytest.fixture
def writers(store: BreakableStore) -> Iterator[Writers]:
    made = Writers(store)
    yield made
    for writer in made.made:
        die(writer)


def die(writer: UnitWriter) -> None:
    """The process is gone, and what it did not flush with it."""
    with writer._lock:
        writer._units.clear()
        writer._log.clear()
    writer._closed = True
    writer._due.set()
    writer._thread.join()


def document(name: str, **fields: object) -> Document:
    return Document(name, f"/in/{name}", markdown=name, **{"version": "v1", **fields})


def plan(*documents: Document, **fields: object) -> UnitPlan:
    return UnitPlan(UNIT, fields.pop("generation", 1), documents or (document("a"),), **fields)


def row(doc_id: str, page: int, **fields: object) -> ResultRow:
    fields = {
        "page_count": 3,
        "source_version": "v1",
        "text": f"{doc_id}:{page}",
        "status": Status.OK,
        "fingerprint": "fp",
        **fields,
    }
    return ResultRow(doc_id, f"/in/{doc_id}", page, finished_at=datetime.now(UTC), run_id="run", **fields)


def add(writer: UnitWriter, *rows: ResultRow, generation: int = 1) -> None:
    writer.add(UNIT, generation, rows_to_batch(rows))


def sealed(store: LocalStore) -> pa.Table:
    return pq.read_table(Path(store.root) / sealed_path(UNIT))


def keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table.column("doc_id").to_pylist(), table.column("page").to_pylist(), strict=True))


def markdown(store: LocalStore, name: str) -> str:
    return (Path(store.root) / "markdown" / f"{name}.md").read_text()


# Flushing


def test_rows_are_on_disk_after_a_flush_and_a_new_writer_knows_them(store, writers):
    first = writers()
    assert first.open(plan()) == {}
    add(first, row("a", 1), row("a", 3))
    first.flush()
    die(first)
    state = writers().open(plan())[0]
    assert (state.page_count, state.version) == (3, "v1")
    assert state.stored == (PageSpan(1, 1), PageSpan(3, 3))


def test_rows_that_were_not_flushed_when_the_writer_died_are_missing_and_nothing_else(store, writers):
    first = writers()
    first.open(plan())
    add(first, row("a", 1))
    first.flush()
    add(first, row("a", 2))
    die(first)
    second = writers()
    assert second.stored(UNIT, 1, [(0, 1), (0, 2), (0, 3)]) == [True, False, False]
    report = second.seal(UNIT, 1, {})
    assert (report.sealed, report.missing) == (False, {0: (PageSpan(2, 3),)})


def test_a_writer_that_replaces_a_dead_one_takes_rows_without_the_unit_being_opened_again(store, writers):
    first = writers()
    first.open(plan())
    add(first, row("a", 1))
    first.flush()
    die(first)
    second = writers()
    add(second, row("a", 1), row("a", 2), row("a", 3))
    assert second.seal(UNIT, 1, {}).sealed
    assert keys(sealed(store)) == [("a", 1), ("a", 2), ("a", 3)]


def test_rows_reach_the_store_by_themselves_once_they_are_many_bytes(store, writers):
    done = threading.Event()
    store.before_create = lambda path: done.set() if path.startswith("partial/") else None
    writer = writers(flush_bytes=1)
    writer.open(plan())
    add(writer, row("a", 1))
    assert done.wait(10.0)


def test_rows_reach_the_store_by_themselves_after_a_while(store, writers):
    done = threading.Event()
    store.before_create = lambda path: done.set() if path.startswith("partial/") else None
    writer = writers(flush_s=0.01)
    writer.open(plan())
    add(writer, row("a", 1))
    assert done.wait(10.0)


@pytest.mark.parametrize(
    "error", [StoreError("no space left on out"), OSError(5, "I/O error"), ValueError("bug")]
)
def test_a_flush_that_failed_in_the_background_is_raised_by_every_later_call(store, writers, error):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1))
    store.error = error
    writer._due.set()
    for _ in range(1000):
        if writer._error is not None or not writer._thread.is_alive():
            break
        writer._thread.join(0.01)
    store.error = None
    for call in (
        writer.check,
        writer.flush,
        lambda: add(writer, row("a", 2)),
        lambda: writer.seal(UNIT, 1, {}),
        lambda: writer.open(plan()),
    ):
        with pytest.raises(StoreError):
            call()


def test_a_flush_that_failed_loses_no_row(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1))
    store.error = StoreError("no space")
    with pytest.raises(StoreError, match="no space"):
        writer.flush()
    assert writer.stored(UNIT, 1, [(0, 1)]) == [True]
    store.error, writer._error = None, None
    writer.flush()
    die(writer)
    assert writers().stored(UNIT, 1, [(0, 1)]) == [True]


def test_closing_stores_what_was_not_flushed(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1))
    writer.close()
    assert writers().stored(UNIT, 1, [(0, 1)]) == [True]


# Admission


def test_a_page_that_comes_twice_has_one_row_the_first(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1, text="first"), row("a", 1, text="twin"))
    writer.flush()
    add(writer, row("a", 1, text="again"), row("a", 2), row("a", 3))
    assert writer.seal(UNIT, 1, {}).counts == {"ok": 3}
    assert sealed(store).column("text").to_pylist() == ["first", "a:2", "a:3"]


def test_rows_of_another_version_of_the_source_are_dropped(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1), row("a", 2, source_version="v0"))
    assert writer.stored(UNIT, 1, [(0, 1), (0, 2)]) == [True, False]


def test_a_restarted_document_forgets_its_rows_for_good(store, writers):
    first = writers()
    first.open(plan(document("a"), document("b")))
    add(first, row("a", 1), row("b", 1))
    first.flush()
    add(first, row("a", 2))
    first.restart_document(UNIT, 1, 0, "v2")
    assert first.stored(UNIT, 1, [(0, 1), (0, 2), (1, 1)]) == [False, False, True]
    add(first, row("a", 3))
    add(first, row("a", 1, source_version="v2", page_count=1, text="new"))
    first.flush()
    die(first)
    second = writers()
    assert second.stored(UNIT, 1, [(0, 1), (0, 2), (0, 3)]) == [True, False, False]
    assert second.seal(UNIT, 1, {}).missing == {1: (PageSpan(2, 3),)}
    add(second, row("b", 2), row("b", 3))
    assert second.seal(UNIT, 1, {}).sealed
    table = sealed(store)
    assert keys(table) == [("a", 1), ("b", 1), ("b", 2), ("b", 3)]
    assert table.column("text").to_pylist()[0] == "new"
    assert read_footer(store, UNIT).documents[0].version == "v2"


def test_a_row_the_driver_wrote_without_knowing_the_version_stands_beside_the_others(store, writers):
    """The version of a document may be unknown when it is planned (``version`` is ``''``)."""
    writer = writers()
    writer.open(plan(document("a", version="")))
    writer.add_rows(
        UNIT, 1, [row("a", 2, status=Status.FAILED, source_version="", reason="killed its engine")]
    )
    add(writer, row("a", 1), row("a", 3))
    assert writer.stored(UNIT, 1, [(0, 1), (0, 2), (0, 3)]) == [True, True, True]


# Sealing


def test_a_unit_is_sealed_only_when_every_planned_page_has_a_row(store, writers):
    writer = writers()
    writer.open(plan(document("a"), document("b", pages="2-3"), document("c")))
    add(writer, row("a", 2), row("b", 2))
    report = writer.seal(UNIT, 1, {1: 3})
    assert report.missing == {0: (PageSpan(1, 1), PageSpan(3, 3)), 1: (PageSpan(3, 3),), 2: ()}
    assert not (Path(store.root) / sealed_path(UNIT)).exists()


def test_sealed_rows_stand_in_document_and_page_order_whatever_order_they_came_in(store, writers):
    writer = writers()
    writer.open(plan(document("z"), document("a")))
    for name, page in (("a", 3), ("z", 2), ("a", 1), ("z", 3), ("a", 2), ("z", 1)):
        add(writer, row(name, page))
        writer.flush()
    writer.seal(UNIT, 1, {})
    assert keys(sealed(store)) == [(name, page) for name in ("z", "a") for page in (1, 2, 3)]
    assert sealed(store).schema.equals(SCHEMA)


def test_pages_past_the_end_become_skipped_rows(store, writers):
    writer = writers()
    writer.open(plan(document("a", pages="1,7-8")))
    add(writer, row("a", 1))
    assert writer.seal(UNIT, 1, {}).counts == {"ok": 1, "skipped": 2}
    assert sealed(store).column("reason").to_pylist()[1:] == ["beyond last page"] * 2
    assert keys(sealed(store)) == [("a", 1), ("a", 7), ("a", 8)]


def test_a_document_that_shrank_while_it_was_read_has_no_rows_past_its_end(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1), row("a", 2))
    writer.restart_document(UNIT, 1, 0, "v2")
    gone = {"source_version": "v2", "page_count": 1}
    add(writer, row("a", 3, status=Status.FAILED, reason="page 3 does not exist", **gone))
    add(writer, row("a", 1, **gone))
    report = writer.seal(UNIT, 1, {0: 1})
    assert (report.sealed, report.counts) == (True, {"ok": 1})


def test_a_document_that_cannot_be_opened_is_one_row_and_complete(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 0, status=Status.FAILED, page_count=0, reason="not a PDF", text=""))
    assert writer.seal(UNIT, 1, {}).counts == {"failed": 1}
    assert markdown(store, "a") == "[[Document could not be read: not a PDF]]\n"


def test_sealing_writes_markdown_and_footer_and_clears_the_partials(store, writers):
    writer = writers()
    writer.open(plan(document("x/a", max_pages=2)))
    add(writer, row("x/a", 1, prompt_tokens=5), row("x/a", 2, completion_tokens=7))
    writer.flush()
    report = writer.seal(UNIT, 1, {})
    assert markdown(store, "x/a") == "x/a:1\n\n----- Page 2 -----\n\nx/a:2\n"
    assert list(store.list("partial/")) == []
    footer = read_footer(store, UNIT)
    assert (footer.generation, footer.fingerprint, footer.counts) == (1, "fp", {"ok": 2})
    assert (footer.cut_pages, report.cut_pages) == (1, 1)
    assert footer.tokens == {"prompt_tokens": 5, "completion_tokens": 7}
    assert (footer.documents[0].page_count, footer.documents[0].version) == (3, "v1")


@pytest.mark.parametrize("group_rows", [1, 4, 7])
def test_sealing_in_groups_gives_the_same_file_as_sealing_at_once(tmp_path, monkeypatch, group_rows):
    now = datetime.now(UTC)
    tables, texts = [], []
    for rows_at_once in (20_000, group_rows):
        monkeypatch.setattr(merging, "STEP_BYTES", rows_at_once * merging.ROW_BYTES)
        monkeypatch.setattr(merging, "WAITING_BYTES", 3 * rows_at_once * merging.ROW_BYTES)
        monkeypatch.setattr(merging, "MIN_SLICE_BYTES", 1)
        store = BreakableStore(tmp_path / f"out-{rows_at_once}")
        writer = UnitWriter(store, WriterConfig("run", "fp", LONG_S))
        writer.open(plan(*(document(name) for name in "dacb")))
        for page in (3, 1, 2):
            add(writer, *(replace(row(name, page), finished_at=now, prompt_tokens=page) for name in "abcd"))
            if page != 2:
                writer.flush()
            add(writer, *(row(name, page, text="twin") for name in "abcd"))
        assert writer.seal(UNIT, 1, {}).sealed
        writer.close()
        tables.append(sealed(store))
        texts.append([markdown(store, name) for name in "abcd"] + [read_footer(store, UNIT)])
    assert tables[0].num_rows == 12
    assert tables[0].equals(tables[1])
    assert texts[0] == texts[1]


def test_rows_that_come_after_the_sealing_change_nothing(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, *(row("a", page) for page in (1, 2, 3)))
    writer.seal(UNIT, 1, {})
    before = store.read(sealed_path(UNIT))
    add(writer, row("a", 1, text="late"))
    writer.flush()
    assert writer.stored(UNIT, 1, [(0, 1)]) == [True]
    assert store.read(sealed_path(UNIT)) == before
    assert list(store.list("partial/")) == []


def test_a_writer_that_died_after_sealing_answers_the_same_question_again(store, writers):
    """Ray asks the new writer what the old one did not live to answer."""
    first = writers()
    first.open(plan())
    add(first, *(row("a", page) for page in (1, 2, 3)))
    told = first.seal(UNIT, 1, {})
    die(first)
    second = writers()
    assert second.seal(UNIT, 1, {}) == told
    add(second, row("a", 1, text="late"))
    assert second.stored(UNIT, 1, [(0, 1)]) == [True]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("deletes", [0, 1, 2])
def test_a_writer_killed_while_it_clears_partials_away_has_sealed_the_unit(store, writers, deletes):
    first = writers()
    first.open(plan())
    add(first, row("a", 1), row("a", 2))
    first.flush()
    add(first, row("a", 3))
    first.flush()
    left = [deletes]

    def kill(path: str) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1

    store.before_delete = kill
    with pytest.raises(Killed):
        first.seal(UNIT, 1, {})
    die(first)
    store.before_delete = lambda path: None
    report = writers().seal(UNIT, 1, {})
    assert (report.sealed, report.missing) == (True, {})
    assert keys(sealed(store)) == [("a", 1), ("a", 2), ("a", 3)]
    assert list(store.list("partial/")) == []


def test_two_writers_that_seal_the_same_unit_leave_one_file_and_markdown_that_matches_it(store, writers):
    mine, theirs = writers("mine"), writers("theirs")
    for name, writer in (("mine", mine), ("theirs", theirs)):
        writer.open(plan(document("a"), document("b")))
        add(writer, *(row(doc, page, text=f"{name} {doc}{page}") for doc in "ab" for page in (1, 2, 3)))

    def they_are_first(path: str) -> None:
        if path == sealed_path(UNIT):
            store.before_create = lambda path: None
            assert theirs.seal(UNIT, 1, {}).sealed

    store.before_create = they_are_first
    report = mine.seal(UNIT, 1, {})
    assert (report.sealed, report.counts) == (True, {"ok": 6})
    texts = sealed(store).column("text").to_pylist()
    assert texts == [f"theirs {doc}{page}" for doc in "ab" for page in (1, 2, 3)]
    assert (
        markdown(store, "b")
        == "theirs b1\n\n----- Page 2 -----\n\ntheirs b2\n\n----- Page 3 -----\n\ntheirs b3\n"
    )
    assert [entry.path for entry in store.list("pages/")] == [sealed_path(UNIT)]


def test_a_unit_that_was_abandoned_can_be_opened_and_completed_again(store, writers):
    writer = writers()
    writer.open(plan())
    add(writer, row("a", 1))
    writer.flush()
    writer.abandon(UNIT, 1)
    add(writer, row("a", 2))
    assert writer.open(plan())[0].stored == (PageSpan(1, 1),)
    assert writer.stored(UNIT, 1, [(0, 1), (0, 2)]) == [True, False]
    add(writer, row("a", 2), row("a", 3))
    assert writer.seal(UNIT, 1, {}).sealed
    assert keys(sealed(store)) == [("a", 1), ("a", 2), ("a", 3)]


def test_a_unit_without_a_plan_is_an_error_that_says_what_to_do(store, writers):
    with pytest.raises(StoreError, match=f"{UNIT} has no plan.*run"):
        add(writers(), row("a", 1))


# Generations


def seal_first(store: BreakableStore, writer: UnitWriter, *documents: Document, bad: int = 2) -> str:
    """Generation 1, in which page ``bad`` of the first document failed; returns its version."""
    kept = documents or (document("a"), document("b"))
    writer.open(plan(*kept))
    for known in kept:
        for page in (1, 2, 3):
            failed = known is kept[0] and page == bad
            status = {"status": Status.FAILED, "reason": "no luck", "text": ""} if failed else {}
            add(writer, row(known.doc_id, page, raw_text=f"raw {page}", render_s=0.25, **status))
    assert writer.seal(UNIT, 1, {}).sealed
    return store.read(sealed_path(UNIT))[1]


def test_the_next_generation_rereads_what_it_names_and_copies_the_rest_to_the_letter(store, writers):
    writer = writers()
    version = seal_first(store, writer)
    before, first_bytes = sealed(store), store.read(sealed_path(UNIT))[0]
    (Path(store.root) / "markdown/b.md").write_text("edited by hand")
    second = plan(document("a"), document("b"), generation=2, reread={0: "2"}, base_version=version)
    assert writer.open(second) == {}
    assert writer.seal(UNIT, 2, {0: 3}).missing == {0: (PageSpan(2, 2),)}
    add(writer, row("a", 2, text="better", generation=2), generation=2)
    report = writer.seal(UNIT, 2, {})
    assert (report.sealed, report.counts) == (True, {"ok": 6})
    after = sealed(store)
    untouched = [0, 2, 3, 4, 5]
    assert after.take(untouched).equals(before.take(untouched))
    assert after.column("text")[1].as_py() == "better"
    assert after.column("generation").to_pylist() == [1, 2, 1, 1, 1, 1]
    assert store.read(history_path(UNIT, 1))[0] == first_bytes
    assert (read_footer(store, UNIT).generation, list(store.list("partial/"))) == (2, [])
    assert "better" in markdown(store, "a")
    assert markdown(store, "b") == "edited by hand", "a document that was not read again is left alone"


def test_a_document_reread_as_a_whole_keeps_no_row_of_the_earlier_generation(store, writers):
    writer = writers()
    version = seal_first(store, writer)
    again = plan(
        document("a", version="v2"), document("b"), generation=2, reread={0: ""}, base_version=version
    )
    writer.open(again)
    add(writer, row("a", 1, text="short now", source_version="v2", page_count=1), generation=2)
    assert writer.seal(UNIT, 2, {}).sealed
    assert keys(sealed(store)) == [("a", 1), ("b", 1), ("b", 2), ("b", 3)]


def test_a_source_that_changed_during_a_retry_is_read_again_as_a_whole(store, writers):
    writer = writers()
    version = seal_first(store, writer)
    writer.open(plan(document("a"), document("b"), generation=2, reread={0: "2"}, base_version=version))
    writer.restart_document(UNIT, 2, 0, "v2")
    add(writer, row("a", 2, source_version="v2"), generation=2)
    assert writer.seal(UNIT, 2, {}).missing == {0: (PageSpan(1, 1), PageSpan(3, 3))}
    assert read_plan(store, UNIT, 2).reread == {0: ""}


def test_rows_of_documents_whose_version_was_unknown_survive_the_next_generation(store, writers):
    """What is not read again is copied, whatever the plan knows of its source."""
    writer = writers()
    unknown = document("a"), document("b", version="")
    version = seal_first(store, writer, *unknown)
    assert read_footer(store, UNIT).documents[1].version == "v1"
    writer.open(plan(*unknown, generation=2, reread={0: "2"}, base_version=version))
    add(writer, row("a", 2, generation=2), generation=2)
    writer.seal(UNIT, 2, {})
    assert keys(sealed(store)) == [(doc, page) for doc in "ab" for page in (1, 2, 3)]


def test_a_next_generation_killed_after_history_was_kept_ends_the_same(store, writers, monkeypatch):
    writer = writers()
    version = seal_first(store, writer)
    again = plan(document("a"), document("b"), generation=2, reread={0: "2"}, base_version=version)
    writer.open(again)
    add(writer, row("a", 2, text="better", generation=2), generation=2)
    writer.flush()
    history = store.read(history_path(UNIT, 1))
    assert history is None
    real = LocalStore.replace_file

    def die_here(self, path, file, if_match=None):
        if path == sealed_path(UNIT):
            raise Killed
        return real(self, path, file, if_match)

    monkeypatch.setattr(LocalStore, "replace_file", die_here)
    with pytest.raises(Killed):
        writer.seal(UNIT, 2, {})
    monkeypatch.undo()
    die(writer)
    other = writers()
    other.open(again)
    assert other.seal(UNIT, 2, {}).counts == {"ok": 6}
    assert read_footer(store, UNIT).generation == 2
    assert pq.read_metadata(Path(store.root) / history_path(UNIT, 1)).num_rows == 6


def test_a_base_that_was_replaced_by_another_job_meanwhile_is_not_overwritten(store, writers):
    writer = writers()
    version = seal_first(store, writer)
    writer.open(plan(document("a"), document("b"), generation=2, reread={0: "2"}, base_version=version))
    add(writer, row("a", 2, generation=2), generation=2)
    data, _ = store.read(sealed_path(UNIT))
    store.replace(sealed_path(UNIT), data)
    with pytest.raises(StoreError, match="replaced by another job"):
        writer.seal(UNIT, 2, {})
    assert store.read(sealed_path(UNIT))[0] == data


# The log


def test_every_page_has_one_line_in_the_log_of_the_run(store, writers):
    writer = writers("r7")
    writer.open(plan())
    add(writer, row("a", 1, completion_tokens=9, text="Dear  Miss\nAldous"))
    add(writer, row("a", 1), row("a", 2, status=Status.FAILED, reason="broken", text=""))
    writer.flush()
    lines = [
        line for entry in store.list("logs/r7/") for line in store.read(entry.path)[0].decode().splitlines()
    ]
    assert len(lines) == 2
    assert lines[0].endswith(' ok a p1 tokens=9 0.00s "Dear Miss Aldous"')
    assert lines[1].endswith(' failed a p2 tokens=0 0.00s "broken"')


def test_a_partial_that_is_not_parquet_is_an_error_that_names_it(store, writers):
    writers().open(plan())
    store.create(f"{partial_prefix(UNIT, 1)}x.parquet", b"PAR1 nonsense PAR1")
    with pytest.raises(StoreError, match=r"x\.parquet is not a Parquet file pagefleet wrote.*move it away"):
        writers().open(plan())
    assert json.loads(store.read(f"{partial_prefix(UNIT, 1)}unit.json")[0])["unit_id"] == UNIT
    assert len(list_partials(store, UNIT, 1)) == 1
