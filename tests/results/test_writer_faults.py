"""The writer under load and under faults: who waits for whom, what is read how often, what is counted."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.documents import Document
from manifests.errors import JobError, StoreError
from manifests.units import UnitPlan
from results import logs, merging
from results.beyond import MAX_ROWS
from results.local_store import LocalStore
from results.output import Output
from results.rows import BLANK_TEXT, ResultRow, Status, rows_to_batch
from results.store import Created
from results.unit_files import (
    GROUP_BYTES,
    encode_table,
    list_partials,
    partial_prefix,
    read_footer,
    sealed_path,
)
from results.writer import UnitWriter, WriterConfig

LONG_S = 3600.0
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)


class Gate:
    """Holds up whoever comes to it until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)


class WatchedStore(LocalStore):
    """Counts what is read, and holds up or refuses writes below a prefix."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()
        self.gates: dict[str, Gate] = {}
        self.refused: tuple[str, ...] = ()

    def _pass(self, path: str) -> None:
        for prefix, gate in self.gates.items():
            if path.startswith(prefix):
                gate()
        if path.startswith(self.refused):
            raise StoreError(f"{path}: S3 still answers 503")

    def read(self, path: str) -> tuple[bytes, str] | None:
        self.reads[path] += 1
        return super().read(path)

    def local_file(self, path: str) -> AbstractContextManager[Path | None]:
        self.reads[path] += 1
        return super().local_file(path)

    def create(self, path: str, data: bytes) -> Created:
        self._pass(path)
        return super().create(path, data)

    def create_file(self, path: str, file: Path) -> Created:
        self._pass(path)
        return super().create_file(path, file)

    def replace(self, path: str, data: bytes, if_match: str | None = None) -> str | None:
        self._pass(path)
        return super().replace(path, data, if_match)


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    return WatchedStore(tmp_path / "out")


@contextmanager
def writing(store: LocalStore, **options: object) -> Iterator[UnitWriter]:
    config = {"run_id": "run", "fingerprint": "fp", "flush_s": LONG_S, **options}
    writer = UnitWriter(store, WriterConfig(**config))  # type: ignore[arg-type]
    try:
        yield writer
    finally:
        with suppress(StoreError):  # of what a test broke
            writer.close()


def document(name: str, **fields: object) -> Document:
    return Document(name, f"/in/{name}", markdown=name, **{"version": "v1", **fields})


def plan(unit_id: str, *documents: Document, **fields: object) -> UnitPlan:
    return UnitPlan(unit_id, fields.pop("generation", 1), documents or (document(unit_id),), **fields)


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


def add(writer: UnitWriter, unit_id: str, *rows: ResultRow, generation: int = 1) -> None:
    writer.add(unit_id, generation, rows_to_batch(rows))


def sealed(store: LocalStore, unit_id: str) -> pa.Table:
    return pq.read_table(Path(store.root) / sealed_path(unit_id))


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


# Sealing beside other work


def test_rows_are_taken_flushed_and_sealed_while_another_unit_is_being_sealed(store):
    gate = store.gates[sealed_path("a")] = Gate()
    with writing(store) as writer:
        for unit_id in ("a", "b", "c"):
            writer.open(plan(unit_id))
        add(writer, "a", *(row("a", page) for page in (1, 2, 3)))
        sealing = in_thread(lambda: writer.seal("a", 1, {}))
        assert gate.reached.wait(PATIENCE_S)
        add(writer, "b", *(row("b", page) for page in (1, 2, 3)))
        writer.flush()
        assert len(list_partials(store, "b", 1)) == 1
        assert writer.seal("b", 1, {}).sealed
        add(writer, "a", row("a", 1, text="late"))
        add(writer, "c", row("c", 1))
        writer.flush()
        assert writer.stored("c", 1, [(0, 1), (0, 2)]) == [True, False]
        gate.opened.set()
        sealing.join(PATIENCE_S)
    assert sealed(store, "a").column("text").to_pylist() == ["a:1", "a:2", "a:3"]
    assert [e.path for e in store.list("partial/a/")] == [], "also what was flushed while it was sealed"


def test_a_unit_is_sealed_once_however_often_it_is_asked_for_at_a_time(store):
    gate = store.gates[sealed_path("a")] = Gate()
    with writing(store) as writer:
        writer.open(plan("a"))
        add(writer, "a", *(row("a", page) for page in (1, 2, 3)))
        reports: list[object] = []
        threads = [in_thread(lambda: reports.append(writer.seal("a", 1, {}))) for _ in range(3)]
        assert gate.reached.wait(PATIENCE_S)
        gate.opened.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(reports) == 3 and reports[0] == reports[1] == reports[2]


def test_sealing_reads_each_partial_once_and_never_holds_much_of_them(store, monkeypatch):
    monkeypatch.setattr(merging, "STEP_BYTES", 20_000)
    monkeypatch.setattr(merging, "WAITING_BYTES", 20_000)
    monkeypatch.setattr(merging, "MIN_SLICE_BYTES", 1000)
    largest = []
    real = merging._ordered
    monkeypatch.setattr(merging, "_ordered", lambda table: largest.append(table.nbytes) or real(table))
    names = [f"d{i:02}" for i in range(20)]
    rows = [
        row(name, page, text=f"{name} {page} " * 20, page_count=40) for name in names for page in range(1, 41)
    ]
    random.Random(3).shuffle(rows)
    with writing(store) as writer:
        writer.open(plan("u", *map(document, names)))
        for start in range(0, len(rows), 100):
            add(writer, "u", *rows[start : start + 100])
            writer.flush()
        partials = list_partials(store, "u", 1)
        store.reads.clear()
        assert writer.seal("u", 1, {}).counts == {"ok": 800}
    assert {store.reads[path] for path in partials} == {1}
    table = sealed(store, "u")
    assert table.column("doc_id").to_pylist() == [name for name in names for _ in range(40)]
    assert table.column("page").to_pylist() == list(range(1, 41)) * 20
    assert max(largest) < table.nbytes / 4
    text = (Path(store.root) / "markdown/d07.md").read_text()
    assert text.count("----- Page") == 39 and text.endswith(("d07 40 " * 20).strip() + "\n")


def test_row_groups_are_bounded_by_bytes_not_only_by_rows(store):
    big = 2 * GROUP_BYTES // 5
    with writing(store) as writer:
        writer.open(plan("a", document("a")))
        add(writer, "a", *(row("a", page, text="x" * big, page_count=5) for page in range(1, 6)))
        writer.flush()
        assert pq.ParquetFile(Path(store.root) / list_partials(store, "a", 1)[0]).num_row_groups == 3
        writer.seal("a", 1, {})
    file = pq.ParquetFile(Path(store.root) / sealed_path("a"))
    assert file.num_row_groups >= 3 and file.metadata.num_rows == 5


def test_who_brings_rows_waits_while_the_store_is_slow_and_no_longer(store):
    gate = store.gates["partial/a/g0001/run"] = Gate()
    with writing(store, flush_bytes=2000) as writer:
        writer.open(plan("a", document("a")))
        taken = []

        def bring() -> None:
            for page in range(1, 31):
                add(writer, "a", row("a", page, text="x" * 500, page_count=30))
                taken.append(page)

        bringing = in_thread(bring)
        assert gate.reached.wait(PATIENCE_S)
        bringing.join(0.5)
        assert 2 <= len(taken) < 15
        gate.opened.set()
        bringing.join(PATIENCE_S)
        assert len(taken) == 30
        assert writer.seal("a", 1, {}).counts == {"ok": 30}
        assert writer._buffered_bytes == 0


def test_who_waits_for_room_hears_of_a_store_that_failed(store):
    gate = store.gates["partial/a/g0001/run"] = Gate()
    with writing(store, flush_bytes=1) as writer:
        writer.open(plan("a", document("a")))
        errors: list[BaseException] = []

        def bring() -> None:
            try:
                for page in (1, 2, 3):
                    add(writer, "a", row("a", page))
            except StoreError as error:
                errors.append(error)

        bringing = in_thread(bring)
        assert gate.reached.wait(PATIENCE_S)
        store.refused = ("partial/a/g0001/run",)
        gate.opened.set()
        bringing.join(PATIENCE_S)
        assert "503" in str(errors[0])


# Writers that die of sealing


def test_a_unit_whose_writers_die_of_sealing_stops_the_job_after_a_few(store, monkeypatch):
    """The process is killed: nothing of its ``finally`` runs."""
    rows = [row("a", page) for page in (1, 2, 3)]
    monkeypatch.setattr(store, "delete", lambda path: None)
    monkeypatch.setattr("results.sealing.write_unit", lambda *args: pytest.fail("unreachable"))
    for _ in range(3):
        dying = UnitWriter(store, WriterConfig("run", "fp", LONG_S))
        dying.open(plan("a"))
        add(dying, "a", *rows)
        with pytest.raises(pytest.fail.Exception):
            dying.seal("a", 1, {})
        dying.close()
    monkeypatch.undo()
    monkeypatch.setattr("os.fsync", lambda fd: None)
    with writing(store) as writer:
        add(writer, "a", *rows)
        with pytest.raises(JobError, match=r"3 writers died while they sealed unit a .*more memory"):
            writer.seal("a", 1, {})
    with writing(store, run_id="next") as writer:
        assert writer.seal("a", 1, {}).sealed, "the next run begins to count anew"
    assert list(store.list("partial/")) == []


def test_sealing_that_failed_without_a_death_is_not_counted(store, monkeypatch):
    with writing(store) as writer:
        writer.open(plan("a"))
        add(writer, "a", *(row("a", page) for page in (1, 2, 3)))
        store.refused = (sealed_path("a"),)
        for _ in range(5):
            with pytest.raises(StoreError, match="503"):
                writer.seal("a", 1, {})
        store.refused = ()
        assert writer.seal("a", 1, {}).sealed


# Outputs and logs that go away


def test_an_output_deleted_in_mid_run_is_not_written_on(store):
    store.replace("job.json", b"{}")
    with writing(store, guard="job.json") as writer:
        writer.open(plan("a"))
        add(writer, "a", row("a", 1))
        writer.flush()
        store.delete("job.json")
        add(writer, "a", row("a", 2), row("a", 3))
        before = [entry.path for entry in store.list()]
        with pytest.raises(StoreError, match=r"job\.json is gone: the output was deleted or moved"):
            writer.flush()
        with pytest.raises(StoreError, match="is gone"):
            writer.check()
        assert [entry.path for entry in store.list()] == before


def test_an_output_deleted_while_a_unit_is_sealed_gets_no_sealed_file(store, monkeypatch):
    store.replace("job.json", b"{}")
    gate = store.gates["markdown/"] = Gate()
    errors: list[BaseException] = []
    with writing(store, guard="job.json") as writer:
        writer.open(plan("a"))
        add(writer, "a", *(row("a", page) for page in (1, 2, 3)))

        def seal() -> None:
            try:
                writer.seal("a", 1, {})
            except StoreError as error:
                errors.append(error)

        sealing = in_thread(seal)
        assert gate.reached.wait(PATIENCE_S)
        store.delete("job.json")
        gate.opened.set()
        sealing.join(PATIENCE_S)
    assert "is gone" in str(errors[0])
    assert read_footer(store, "a") is None


def test_a_log_that_cannot_be_written_ends_nothing(store, caplog, monkeypatch):
    store.refused = ("logs/",)
    with caplog.at_level(logging.WARNING), writing(store) as writer:
        writer.open(plan("a"))
        add(writer, "a", row("a", 1))
        writer.flush()
        add(writer, "a", row("a", 2), row("a", 3))
        assert writer.seal("a", 1, {}).sealed
        writer.check()
        assert "was not written, the run goes on without it: logs/run/pages-" in caplog.text
        store.refused = ()
        monkeypatch.setattr(writer._logs, "_again", 0.0)
        writer.flush()
    lines = b"".join(
        store.read(e.path)[0] for e in store.list("logs/") if e.path.endswith(".log")
    ).splitlines()
    assert [line.split()[3] for line in lines] == [b"p1", b"p2", b"p3"]


def test_a_log_that_is_down_is_not_asked_again_at_once(store):
    said: list[str] = []
    log = logs.BestEffortLog(store, said.append)
    store.refused = ("logs/",)
    assert [log.write("logs/run/a", b"1"), log.write("logs/run/a", b"2")] == [False, False]
    assert len(said) == 1
    store.refused = ()
    log._again = 0.0
    assert log.write("logs/run/a", b"3") and store.read("logs/run/a")[0] == b"3"


# Pages past the end


def test_a_million_pages_past_the_end_are_a_bounded_number_of_rows(store):
    documents = [document(name, pages="1-999999") for name in ("a", "b", "c")]
    with writing(store) as writer:
        writer.open(plan("u", *documents))
        for name in ("a", "b", "c"):
            add(writer, "u", *(row(name, page, page_count=10) for page in range(1, 11)))
        assert writer.seal("u", 1, {}).counts == {"ok": 30, "skipped": 3 * (MAX_ROWS + 1)}
    reasons = sealed(store, "u").filter(pa.compute.field("doc_id") == "b").column("reason").to_pylist()
    assert reasons[10:-1] == ["beyond last page"] * MAX_ROWS
    assert reasons[-1] == "beyond last page: 1011-999999, 998989 pages"


def test_a_selection_that_grows_past_the_end_is_told_anew(store):
    with writing(store) as writer:
        writer.open(plan("u", document("a", pages="1-5000")))
        add(writer, "u", *(row("a", page) for page in (1, 2, 3)))
        writer.seal("u", 1, {})
        version = store.read(sealed_path("u"))[1]
        wider = document("a", pages="1-6000")
        writer.open(plan("u", wider, generation=2, reread={0: "5001-6000"}, base_version=version))
        assert writer.seal("u", 2, {0: 3}).counts == {"ok": 3, "skipped": MAX_ROWS + 1}
    assert sealed(store, "u").column("reason").to_pylist()[-1] == "beyond last page: 1004-6000, 4997 pages"


# Variants


STYLES = ("short", "long")


def test_a_page_is_there_when_all_its_variants_are(store):
    with writing(store) as writer:
        assert writer.open(plan("a", variants=STYLES)) == {}
        add(writer, "a", *(row("a", page, variant="long") for page in (1, 2, 3)))
        assert writer.stored("a", 1, [(0, 1)]) == [False]
        assert writer.seal("a", 1, {}).missing != {}
        writer.flush()
    with writing(store) as writer:
        state = writer.open(plan("a", variants=STYLES))[0]
        assert (state.stored, state.answered) == ((), 3)
        add(writer, "a", *(row("a", page, variant="short") for page in (3, 1, 2)))
        add(writer, "a", row("a", 1, variant="long", text="again"))
        assert writer.stored("a", 1, [(0, 1), (0, 3)]) == [True, True]
        assert writer.seal("a", 1, {}).counts == {"ok": 6}
    table = sealed(store, "a")
    keys = list(zip(table.column("page").to_pylist(), table.column("variant").to_pylist(), strict=True))
    assert keys == [(page, style) for page in (1, 2, 3) for style in STYLES]
    assert "again" not in table.column("text").to_pylist()
    assert read_footer(store, "a").variants == STYLES
    assert (Path(store.root) / "markdown/a.md").read_text().startswith("a:1\n"), "the first variant's text"


def test_what_is_wrong_with_a_page_is_a_row_of_each_variant(store):
    with writing(store) as writer:
        writer.open(plan("a", document("a", pages="1-2,9"), document("b"), variants=STYLES))
        writer.add_rows("a", 1, [row("a", 1, status=Status.FAILED, reason="killed its engine", text="")])
        add(writer, "a", row("a", 2, status=Status.BLANK, text=BLANK_TEXT))
        add(writer, "a", row("b", 0, page_count=0, status=Status.FAILED, reason="not an image", text=""))
        assert writer.seal("a", 1, {}).counts == {"failed": 3, "blank": 2, "skipped": 2}
    table = sealed(store, "a")
    assert table.column("variant").to_pylist() == [*STYLES * 3, ""]


def test_an_answer_in_a_variant_nobody_asked_for_is_a_bug_that_is_told(store):
    with writing(store) as writer:
        writer.open(plan("a", variants=STYLES))
        with pytest.raises(JobError, match="came in variant 'tiny', owed are 'short', 'long'"):
            add(writer, "a", row("a", 1, variant="tiny"))


def test_a_page_read_again_is_read_in_all_variants(store):
    with writing(store) as writer:
        writer.open(plan("a", variants=STYLES))
        add(writer, "a", *(row("a", page, variant=style) for page in (1, 2, 3) for style in STYLES))
        writer.seal("a", 1, {})
        version = store.read(sealed_path("a"))[1]
        again = plan("a", generation=2, reread={0: "2"}, base_version=version, variants=STYLES)
        writer.open(again)
        add(writer, "a", row("a", 2, variant="long", text="new"), generation=2)
        assert not writer.seal("a", 2, {0: 3}).sealed
        add(writer, "a", row("a", 2, variant="short", text="new"), generation=2)
        assert writer.seal("a", 2, {0: 3}).counts == {"ok": 6}
    assert sealed(store, "a").column("text").to_pylist() == ["a:1", "a:1", "new", "new", "a:3", "a:3"]


# Settings that differ


def test_rows_of_several_fingerprints_stand_in_one_file_and_are_counted(store):
    with writing(store) as writer:
        writer.open(plan("a", document("a"), document("b")))
        add(writer, "a", *(row(name, page) for name in "ab" for page in (1, 2, 3)))
        writer.seal("a", 1, {})
    base = store.read(sealed_path("a"))[1]
    second = plan("a", document("a"), document("b"), generation=2, reread={0: "2"}, base_version=base)
    with writing(store, fingerprint="fp2") as writer:
        writer.open(replace(second, fingerprint="fp"))
        add(writer, "a", row("a", 2, text="not of these settings"), generation=2)
        writer.flush()
    with writing(store, fingerprint="fp2") as writer:
        writer.open(replace(second, fingerprint="fp"))
        assert writer.seal("a", 2, {0: 3}).missing != {}, "rows of other settings are not this generation's"
        add(writer, "a", row("a", 2, text="other", fingerprint="fp2"), generation=2)
        assert writer.seal("a", 2, {0: 3}).sealed
    footer = read_footer(store, "a")
    assert (footer.fingerprint, footer.fingerprints) == ("fp", {"fp": 5, "fp2": 1})
    assert sealed(store, "a").column("text").to_pylist()[1] == "other"


def test_a_page_read_again_that_killed_its_engine_is_told_even_where_no_version_is_known(store):
    with writing(store) as writer:
        writer.open(plan("a", document("a", version="")))
        add(writer, "a", *(row("a", page) for page in (1, 2, 3)))
        writer.seal("a", 1, {})
        base = store.read(sealed_path("a"))[1]
        writer.open(plan("a", document("a", version=""), generation=2, reread={0: "2"}, base_version=base))
        killer = row("a", 2, status=Status.FAILED, reason="killed its engine", source_version="", text="")
        writer.add_rows("a", 2, [killer])
        assert writer.seal("a", 2, {0: 3}).counts == {"ok": 2, "failed": 1}


# A document that can be opened no more


def test_a_document_that_cannot_be_opened_again_fails_in_the_pages_that_are_left(store):
    with writing(store) as writer:
        writer.open(plan("a"))
        add(writer, "a", row("a", 2))
        writer.flush()
    with writing(store) as writer:
        writer.open(plan("a"))
        gone = row(
            "a", 0, status=Status.FAILED, reason="no such file", page_count=0, source_version="", text=""
        )
        writer.add_rows("a", 1, [gone])
        assert writer.seal("a", 1, {}).counts == {"ok": 1, "failed": 2}
    table = sealed(store, "a")
    assert table.column("page").to_pylist() == [1, 2, 3]
    assert table.column("page_count").to_pylist() == [3, 3, 3]


def test_pages_that_come_after_their_document_failed_change_nothing(store):
    with writing(store) as writer:
        writer.open(plan("a"))
        add(writer, "a", row("a", 0, status=Status.FAILED, reason="not a PDF", page_count=0, text=""))
        add(writer, "a", row("a", 1))
        assert writer.seal("a", 1, {}).counts == {"failed": 1}


# Against a naive model


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_in_whatever_order_the_first_row_of_each_page_is_sealed(store, monkeypatch, seed):
    """Random units of both generations against a dictionary; slices of a few rows, writers that die."""
    dice = random.Random(seed)
    monkeypatch.setattr(merging, "STEP_BYTES", dice.choice([1, 3000, 10**9]))
    monkeypatch.setattr(merging, "WAITING_BYTES", 1000)
    monkeypatch.setattr(merging, "MIN_SLICE_BYTES", 500)
    variants = dice.choice([("",), STYLES])
    documents = [document(f"d{i}", pages=dice.choice(["", "1-2,8-9", "2-"])) for i in range(6)]
    counts = {d.doc_id: dice.randint(2, 6) for d in documents}
    model: dict[tuple[str, int, str], str] = {}
    writer = UnitWriter(store, WriterConfig("run", "fp", LONG_S))
    for generation in (1, 2):
        base = store.read(sealed_path("u"))[1] if generation == 2 else ""
        reread = {i: dice.choice(["", "2"]) for i in dice.sample(range(6), 3)} if generation == 2 else None
        current = UnitPlan("u", generation, tuple(documents), reread, base, variants)
        writer.open(current)
        wanted = {
            (current.documents[i].doc_id, page, variant)
            for i in current.wanted_indexes()
            for page in range(1, counts[current.documents[i].doc_id] + 1)
            if is_wanted(current.wanted(i).pages, page)
            for variant in variants
        }
        for i, pages in (reread or {}).items():
            if not pages:
                model = {k: v for k, v in model.items() if k[0] != documents[i].doc_id}
        model = {key: text for key, text in model.items() if key not in wanted}
        coming = [*wanted, *dice.sample(sorted(wanted), len(wanted) // 2)]
        dice.shuffle(coming)
        for number, (doc_id, page, variant) in enumerate(coming):
            text = f"g{generation} {number}"
            model.setdefault((doc_id, page, variant), text)
            made = row(doc_id, page, variant=variant, text=text, page_count=counts[doc_id])
            add(writer, "u", replace(made, generation=generation), generation=generation)
            if dice.random() < 0.3:
                writer.flush()
            if dice.random() < 0.1:
                writer.close()
                writer = UnitWriter(store, WriterConfig("run", "fp", LONG_S))
        assert writer.seal("u", generation, counts_by_index(documents, counts)).sealed
        rows = sealed(store, "u").to_pylist()
        order = [(int(r["doc_id"][1:]), r["page"], variants.index(r["variant"])) for r in rows]
        assert order == sorted(set(order))
        read = {(r["doc_id"], r["page"], r["variant"]): r["text"] for r in rows if r["status"] == "ok"}
        assert read == model
        skipped = {(r["doc_id"], r["page"]) for r in rows if r["status"] == "skipped"}
        assert skipped == {(d.doc_id, page) for d in documents if "8" in d.pages for page in (8, 9)}
    writer.close()
    walked = [r for table in Output(store).rows() for r in table.to_pylist()]
    assert walked == rows


def is_wanted(selection: str, page: int) -> bool:
    return {"": True, "2": page == 2, "2-": page >= 2, "1-2,8-9": page in (1, 2, 8, 9)}[selection]


def counts_by_index(documents: list[Document], counts: dict[str, int]) -> dict[int, int]:
    return {i: counts[document.doc_id] for i, document in enumerate(documents)}


def test_rows_in_a_partial_of_a_document_the_plan_does_not_have_any_more_are_nobodys(store):
    stray = pa.Table.from_batches([rows_to_batch([row("gone", 1)])])
    store.create(f"{partial_prefix('a', 1)}run-1.parquet", encode_table(stray))
    with writing(store) as writer:
        writer.open(plan("a"))
        add(writer, "a", *(row("a", page) for page in (1, 2, 3)))
        assert writer.seal("a", 1, {}).counts == {"ok": 3}
