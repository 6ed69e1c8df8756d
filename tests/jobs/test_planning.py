"""What is left to do after anything may have happened between two runs."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.config import InputConfig
from jobs.planning.output_listing import OutputListing, clear
from jobs.planning.planning import JobPlan, RunPlanner, cut_of, materialise
from jobs.planning.retry import plan_retry
from jobs.summary import total_up
from manifests.documents import Document
from manifests.inputs import InputSet, expand_inputs
from manifests.pages import plan_pages
from manifests.survey import survey
from manifests.units import UnitPlan, cut_units, first_generation, in_shard
from results.local_store import LocalStore
from results.rows import ResultRow, Status, rows_to_batch
from results.unit_files import encode_plan, list_sealed, plan_path, read_footer, read_plan, sealed_path
from results.writer import UnitWriter, WriterConfig

PAGES = 6


def everything(store: LocalStore) -> dict[str, str]:
    return {entry.path: entry.version for entry in store.list()}


TWO = {"unit_documents": 2}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are not what these tests are about."""
    monkeypatch.setattr("os.fsync", lambda fd: None)


class Corpus:
    """A folder of documents, an output, and runs between them. Every document has ``PAGES`` pages."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "in"
        self.folder.mkdir()
        self.store = LocalStore(root / "out")
        self.clock = 10**18
        self.fingerprint = "fp"
        self.plannings = 0
        self.pages: dict[str, int] = {}
        self.read: Counter[tuple[str, int]] = Counter()

    def put(self, *names: str, text: str = "x") -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            self.clock += 10**9
            os.utime(path, ns=(self.clock, self.clock))

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def inputs(self) -> InputSet:
        return expand_inputs([str(self.folder)], None)

    def plan(self, inputs: InputSet | None = None, stale: str = "", **config: Any) -> JobPlan:
        """What there is to do, by a look that changes nothing."""
        settings = InputConfig(**{**TWO, **config})
        overview = survey(inputs or self.inputs(), cut_of(settings))
        before = everything(self.store)
        plan = RunPlanner(overview, settings, self.store, stale).plan(OutputListing.take(self.store))
        assert everything(self.store) == before
        return plan

    def plans(self, inputs: InputSet | None = None, stale: str = "", **config: Any) -> list[UnitPlan]:
        """Plan and write down, as a run does that has the output's claim."""
        return self.written(self.plan(inputs, stale, **config), **config)

    def written(self, plan: JobPlan, **config: Any) -> list[UnitPlan]:
        self.plannings += 1
        clear(self.store, OutputListing.take(self.store).over)
        materialise(self.store, plan, InputConfig(**{**TWO, **config}), self.plannings, lambda: False)
        clear(self.store, plan.strays)
        return [unit.load() for unit in plan.units]

    def run(
        self, inputs: InputSet | None = None, stale: str = "", stop_after: int | None = None, **config: Any
    ) -> list[UnitPlan]:
        """Plan and read, as a run does; ``stop_after`` pages it is killed."""
        plan = self.plan(inputs, stale, **config)
        plans = self.written(plan, **config)
        self.carry_out(plans, stop_after)
        if stop_after is None:
            sealed = {unit_id for unit_id, _ in list_sealed(self.store)}
            assert plan.unit_ids <= sealed, "planned units without a sealed file"
        return plans

    def carry_out(
        self,
        plans: Sequence[UnitPlan],
        stop_after: int | None = None,
        failing: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Read what the plans say is missing, page by page."""
        self.read = Counter()
        writer = UnitWriter(self.store, WriterConfig("run", self.fingerprint, 3600.0))
        for plan in plans:
            states = writer.open(plan)
            for i in plan.wanted_indexes():
                document = plan.wanted(i)
                stored = {page for span in states[i].stored for page in span} if i in states else set()
                count = self.pages.get(document.doc_id, PAGES)
                for page in (
                    p for s in plan_pages(document.pages, document.max_pages, count).read for p in s
                ):
                    if page in stored:
                        continue
                    if stop_after is not None and self.read.total() == stop_after:
                        writer.close()
                        return
                    self.read[document.doc_id, page] += 1
                    failed = (document.doc_id, page) in failing
                    row = self.row(plan, plan.documents[i], page, count, failed)
                    writer.add(plan.unit_id, plan.generation, rows_to_batch([row]))
            report = writer.seal(plan.unit_id, plan.generation, {})
            assert report.sealed, report.missing
        writer.close()

    def row(self, plan: UnitPlan, document: Document, page: int, count: int, failed: bool) -> ResultRow:
        return ResultRow(
            document.doc_id,
            document.uri,
            page,
            Status.FAILED if failed else Status.OK,
            page_count=count,
            text="" if failed else f"{document.doc_id} {page} {self.fingerprint}",
            generation=plan.generation,
            fingerprint=self.fingerprint,
            source_version=document.version or "learned",
        )

    def rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """All sealed rows by document and page; fails when there is one twice."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for unit_id, _ in list_sealed(self.store):
            for row in pq.read_table(Path(self.store.root) / sealed_path(unit_id)).to_pylist():
                key = (row["doc_id"], row["page"])
                assert key not in found, f"{key} has two rows"
                found[key] = row
        return found

    def complete(self, *names: str, pages: int = PAGES) -> set[tuple[str, int]]:
        return {(name, page) for name in names for page in range(1, self.pages.get(name, pages) + 1)}

    def is_finished(self, **config: Any) -> bool:
        plan = self.plan(**config)
        return not plan.units and not list(plan.unwritten)

    def read_documents(self) -> set[str]:
        return {doc_id for doc_id, _ in self.read}

    def markdown_owners(self) -> list[str]:
        """The Markdown file of every document of every sealed unit, without regard to case."""
        footers = [read_footer(self.store, unit_id) for unit_id, _ in list_sealed(self.store)]
        return [s.document.markdown.lower() for f in footers for s in f.documents]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    made = Corpus(tmp_path)
    made.put("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    return made


def manifest(corpus: Corpus, *lines: str) -> InputSet:
    path = corpus.folder.parent / "manifest.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return expand_inputs([str(path)], None)


# The same input again


def test_a_first_run_reads_everything_and_a_second_nothing(corpus):
    assert [len(plan.documents) for plan in corpus.run()] == [2, 2, 1]
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    again = corpus.plan()
    assert (again.units, again.sealed_documents, again.unwritten) == ([], 5, ())
    assert len(again.unit_ids) == 3


@pytest.mark.parametrize("stop_after", [0, 1, 7, 13, 29])
def test_a_killed_run_goes_on_without_reading_a_stored_page_again(corpus, stop_after):
    corpus.run(stop_after=stop_after)
    corpus.run()
    assert corpus.read.total() == 5 * PAGES - stop_after
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


def test_a_moved_folder_resumes_with_its_new_place(corpus):
    corpus.run(stop_after=8)
    moved = corpus.folder.rename(corpus.folder.parent / "elsewhere")
    corpus.folder = moved
    plans = corpus.run()
    assert corpus.read.total() == 5 * PAGES - 8
    assert {Path(d.uri).parent for plan in plans for d in plan.documents} == {moved}
    assert corpus.is_finished()


def test_another_cut_of_the_same_input_reads_nothing_again(corpus):
    corpus.run(stop_after=15)
    corpus.run(unit_documents=3)
    assert corpus.read.total() == 5 * PAGES - 15
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")


# Inputs that change between runs


@pytest.mark.parametrize("stop_after", [None, 0, 3, 6, 8, 12, 20])
def test_a_file_added_in_the_middle_is_read_and_nothing_else_is_read_again(corpus, stop_after):
    """``stop_after`` None: the first run had finished; otherwise some unit is open, whichever."""
    corpus.run(stop_after=stop_after)
    had = corpus.read.total()
    corpus.put("bb.pdf")
    corpus.run()
    assert corpus.read.total() == 6 * PAGES - had
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "bb.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


def test_a_unit_left_open_is_finished_although_the_input_changed_elsewhere(corpus):
    """The first unit is open and still cut alike; a file added at the end makes a later unit foreign."""
    plans = corpus.plans(limit=3)
    assert [[document.doc_id for document in plan.documents] for plan in plans] == [
        ["a.pdf", "b.pdf"],
        ["c.pdf"],
    ]
    corpus.carry_out(plans[1:])
    corpus.run(limit=3, stop_after=3)
    corpus.run()
    assert corpus.read.total() == 4 * PAGES - 3
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")


@pytest.mark.parametrize("stop_after", [None, 8])
def test_a_removed_file_keeps_its_rows_and_nothing_is_read_again(corpus, stop_after):
    corpus.run(stop_after=stop_after)
    had = corpus.read.total()
    corpus.remove("a.pdf")
    corpus.run()
    assert corpus.read.total() == 5 * PAGES - had
    assert corpus.complete("a.pdf", "b.pdf", "c.pdf") <= set(corpus.rows())
    assert corpus.is_finished()


def test_a_removed_file_of_an_open_unit_counts_as_gone_unless_the_listing_was_cut(corpus):
    """A size says that it was listed: what cannot be found then is waited for, as a mount that is gone."""
    corpus.run(stop_after=3)
    corpus.remove("a.pdf")

    def sizes(**config: int) -> dict[str, int]:
        plans = corpus.plan(**config).unwritten
        return {d.doc_id: d.size for plan in plans for d in plan.documents if d.doc_id in ("a.pdf", "b.pdf")}

    assert sizes() == {"a.pdf": 0, "b.pdf": 1}
    assert sizes(limit=3) == {"a.pdf": 1, "b.pdf": 1}


def test_a_changed_file_is_read_again_from_page_1_and_reported_and_nothing_else(corpus):
    corpus.run()
    corpus.put("c.pdf", text="changed")
    plan = corpus.plan()
    assert [found.reread for found in plan.unwritten] == [{0: ""}]
    assert plan.changed == ["c.pdf"]
    corpus.pages["c.pdf"] = 2
    corpus.run()
    assert corpus.read == {("c.pdf", 1): 1, ("c.pdf", 2): 1}
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


@pytest.mark.parametrize("changed", ["a.pdf", "b.pdf"])
def test_a_file_that_changed_while_its_unit_was_open_is_read_in_its_new_version_only(corpus, changed):
    corpus.run(stop_after=8)
    had = corpus.read.copy()
    corpus.put(changed, text="changed")
    corpus.run()
    lost = sum(count for (doc_id, _), count in had.items() if doc_id == changed)
    assert corpus.read.total() == 5 * PAGES - had.total() + lost
    rows = corpus.rows()
    assert set(rows) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    today = {document.doc_id: document.version for document in corpus.inputs()}
    assert {row["source_version"] for (doc_id, _), row in rows.items() if doc_id == changed} == {
        today[changed]
    }
    assert corpus.is_finished()


def test_a_trial_of_the_first_pages_is_completed_by_a_full_run(corpus):
    corpus.run(max_pages=2)
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf", pages=2)
    corpus.run()
    assert corpus.read.total() == 5 * (PAGES - 2)
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()
    assert corpus.is_finished(max_pages=2), "a narrower wish asks for nothing that is not there"


def test_what_a_second_longer_trial_left_out_is_counted(corpus):
    for max_pages in (1, 2):
        corpus.run(max_pages=max_pages)
        totals = total_up(corpus.store)
        assert (totals.cut_pages, totals.cut_documents) == (5 * (PAGES - max_pages), 5)
    assert corpus.read.total() == 5
    assert corpus.is_finished(max_pages=2)
    assert corpus.is_finished(max_pages=1)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 9])
def test_a_trial_of_the_first_pages_that_was_killed_is_completed_by_a_full_run(corpus, stop_after):
    corpus.run(max_pages=2, stop_after=stop_after)
    corpus.run()
    assert corpus.read.total() == 5 * PAGES - stop_after
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_trial_of_the_first_documents_is_completed_by_a_full_run(corpus, limit):
    plan = corpus.plan(limit=limit)
    assert (plan.documents, plan.limited_documents) == (limit, 5 - limit)
    corpus.run(limit=limit)
    corpus.run()
    assert corpus.read.total() == (5 - limit) * PAGES
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


@pytest.mark.parametrize("stop_after", [1, 7, 13])
@pytest.mark.parametrize("limit", [1, 3])
def test_a_trial_of_the_first_documents_that_was_killed_is_completed_by_a_full_run(corpus, limit, stop_after):
    corpus.run(limit=limit, stop_after=stop_after)
    had = corpus.read.total()
    corpus.run()
    assert corpus.read.total() == 5 * PAGES - had
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


def test_a_wider_selection_reads_what_it_adds(corpus):
    corpus.run(manifest(corpus, '{"uri": "in/a.pdf", "pages": "2-3"}', '{"uri": "in/b.pdf"}'))
    wider = manifest(corpus, '{"uri": "in/a.pdf", "pages": "3-5,9"}', '{"uri": "in/b.pdf"}')
    corpus.run(wider)
    assert corpus.read == {("in/a.pdf", 4): 1, ("in/a.pdf", 5): 1}
    assert {page for doc_id, page in corpus.rows() if doc_id == "in/a.pdf"} == {2, 3, 4, 5, 9}
    assert corpus.plans(wider) == []
    corpus.run(manifest(corpus, '{"uri": "in/a.pdf"}', '{"uri": "in/b.pdf"}'))
    assert corpus.read == {("in/a.pdf", 1): 1, ("in/a.pdf", 6): 1}


@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_wider_selection_of_a_unit_that_is_open_is_read_with_it(corpus, stop_after):
    corpus.run(
        manifest(corpus, '{"uri": "in/a.pdf", "pages": "2-3"}', '{"uri": "in/b.pdf"}'), stop_after=stop_after
    )
    corpus.run(manifest(corpus, '{"uri": "in/a.pdf", "pages": "2-5"}', '{"uri": "in/b.pdf"}'))
    assert corpus.read.total() == 4 + PAGES - stop_after
    assert {page for doc_id, page in corpus.rows() if doc_id == "in/a.pdf"} == {2, 3, 4, 5}


def test_documents_of_unknown_version_keep_their_rows_when_a_neighbour_changes(corpus, tmp_path):
    """An ``s3://`` row without an ETag has no version until it is fetched."""
    lines = ['{"uri": "s3://bucket/far.pdf"}', '{"uri": "in/b.pdf"}']
    corpus.run(manifest(corpus, *lines))
    before = {key for key in corpus.rows() if key[0] != "in/b.pdf"}
    assert len(before) == PAGES
    corpus.put("b.pdf", text="changed")
    corpus.run(manifest(corpus, *lines))
    assert corpus.read_documents() == {"in/b.pdf"}
    assert before <= set(corpus.rows())


def test_anything_at_all_between_runs_leaves_one_row_for_every_page(tmp_path):
    """Seeded sequences of changes, trials, kills and cuts; the last run is complete."""
    for seed in range(12):
        rng = random.Random(seed)
        root = tmp_path / str(seed)
        root.mkdir()
        corpus = Corpus(root)
        corpus.put(*(f"{name}.pdf" for name in rng.sample("abcdefgh", 4)))
        ever = {document.doc_id for document in corpus.inputs()}
        for _ in range(4):
            step = rng.choice(["add", "change", "remove", "nothing"])
            present = sorted(document.doc_id for document in corpus.inputs())
            if step == "add":
                corpus.put(f"{rng.choice('abcdefghijk')}{rng.randint(0, 9)}.pdf")
            elif step == "change":
                corpus.put(rng.choice(present), text="y" * rng.randint(1, 50))
            elif step == "remove" and len(present) > 2:
                corpus.remove(rng.choice(present))
            config = rng.choice([{}, {"limit": 2}, {"max_pages": 2}, {"unit_documents": 3}])
            corpus.run(stop_after=rng.choice([None, 0, 1, 5, 11]), **config)
            ever |= {document.doc_id for document in corpus.inputs()}
        corpus.run()
        present = [document.doc_id for document in corpus.inputs()]
        rows = corpus.rows()
        assert corpus.complete(*present) <= set(rows), seed
        assert {doc_id for doc_id, _ in rows} <= ever
        versions = {document.doc_id: document.version for document in corpus.inputs()}
        assert all(
            row["source_version"] == versions.get(key[0], row["source_version"]) for key, row in rows.items()
        )
        assert corpus.is_finished(), seed


# Another fingerprint


def test_a_new_generation_reads_every_document_again_and_keeps_the_old_rows_as_history(corpus):
    corpus.run()
    corpus.fingerprint = "new"
    corpus.run(stale="new")
    assert corpus.read.total() == 5 * PAGES
    assert {row["fingerprint"] for row in corpus.rows().values()} == {"new"}
    assert len(list(corpus.store.list("history/"))) == 3
    assert corpus.plans(stale="new") == []


@pytest.mark.parametrize("stop_after", [3, 15])
def test_a_new_generation_that_was_killed_goes_on_without_reading_a_page_twice(corpus, stop_after):
    corpus.run()
    corpus.fingerprint = "new"
    corpus.run(stale="new", stop_after=stop_after)
    corpus.run(stale="new")
    assert corpus.read.total() == 5 * PAGES - stop_after
    assert {row["fingerprint"] for row in corpus.rows().values()} == {"new"}


@pytest.mark.parametrize("stop_after", [3, 15])
def test_a_unit_that_was_open_when_the_settings_changed_keeps_no_row_of_the_old_ones(corpus, stop_after):
    corpus.run(stop_after=stop_after)
    corpus.fingerprint = "new"
    corpus.run(stale="new")
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert {row["fingerprint"] for row in corpus.rows().values()} == {"new"}


# Retry


def fail(corpus: Corpus, *failing: tuple[str, int]) -> None:
    corpus.carry_out(corpus.plans(), failing=failing)


def planned_retry(corpus: Corpus, fingerprint: str = "fp") -> JobPlan:
    return plan_retry(corpus.store, OutputListing.take(corpus.store), fingerprint)


def retry(corpus: Corpus, **options: Any) -> list[UnitPlan]:
    plans = corpus.written(planned_retry(corpus))
    corpus.carry_out(plans, **options)
    return plans


def test_a_retry_reads_the_failed_pages_and_nothing_else(corpus):
    fail(corpus, ("a.pdf", 2), ("a.pdf", 3), ("d.pdf", 6))
    plans = retry(corpus)
    assert corpus.read == {("a.pdf", 2): 1, ("a.pdf", 3): 1, ("d.pdf", 6): 1}
    assert sorted((plan.generation, str(plan.reread)) for plan in plans) == [
        (2, "{0: '2-3'}"),
        (2, "{1: '6'}"),
    ]
    assert {row["status"] for row in corpus.rows().values()} == {"ok"}
    assert retry(corpus) == []
    assert corpus.is_finished()


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_retry_killed_half_way_goes_on_and_tries_no_page_twice(corpus, stop_after):
    bad = (("a.pdf", 2), ("c.pdf", 3), ("e.pdf", 6))
    fail(corpus, *bad)
    retry(corpus, stop_after=stop_after, failing=bad)
    tried = corpus.read.copy()
    retry(corpus, failing=bad)
    assert tried + corpus.read == Counter(bad)
    assert {read_footer(corpus.store, u).generation for u, _ in list_sealed(corpus.store)} == {2}


def test_a_retry_killed_while_it_was_writing_its_plans_still_takes_every_unit(corpus):
    fail(corpus, ("a.pdf", 2), ("c.pdf", 3), ("e.pdf", 6))
    plans = list(planned_retry(corpus).unwritten)
    corpus.written(JobPlan(1, unwritten=plans[:1]))
    assert {plan.unit_id for plan in retry(corpus)} == {plan.unit_id for plan in plans}
    assert {row["status"] for row in corpus.rows().values()} == {"ok"}


def test_a_second_retry_is_another_generation(corpus):
    fail(corpus, ("a.pdf", 2))
    retry(corpus, failing=(("a.pdf", 2),))
    (plan,) = retry(corpus)
    assert (plan.generation, plan.reread) == (3, {0: "2"})


def test_a_document_that_could_not_be_opened_is_retried_as_a_whole(corpus):
    plans = corpus.plans()
    writer = UnitWriter(corpus.store, WriterConfig("run", "fp", 3600.0))
    for plan in plans:
        writer.open(plan)
        rows = [corpus.row(plan, document, 0, 0, True) for document in plan.documents]
        writer.add(plan.unit_id, 1, rows_to_batch(rows))
        assert writer.seal(plan.unit_id, 1, {}).sealed
    writer.close()
    retry(corpus)
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")


def test_a_retry_leaves_units_of_other_settings_to_the_new_generation(corpus):
    fail(corpus, ("a.pdf", 2))
    assert list(planned_retry(corpus, "another").unwritten) == []


def test_a_retry_finishes_a_unit_that_an_unfinished_run_left_open(corpus):
    corpus.run(stop_after=8)
    assert [plan.generation for plan in planned_retry(corpus).unwritten] == [1]


@pytest.mark.parametrize("changed", ["a.pdf", "b.pdf"])
def test_a_source_that_changed_during_an_unfinished_retry_is_read_again_as_a_whole(corpus, changed):
    """Page 2 of a is being retried, the retry is killed, then a (or its neighbour b) changes."""
    fail(corpus, ("a.pdf", 2))
    retry(corpus, stop_after=0)
    corpus.put(changed, text="changed")
    corpus.run()
    rows = corpus.rows()
    assert set(rows) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    today = {document.doc_id: document.version for document in corpus.inputs()}
    assert rows[changed, 5]["source_version"] == today[changed]


def test_an_ordinary_run_finishes_a_retry_that_was_killed(corpus):
    fail(corpus, ("a.pdf", 2))
    retry(corpus, stop_after=0)
    corpus.run()
    assert corpus.read == {("a.pdf", 2): 1}


# Shards


def shards(corpus: Corpus, count: int, **config: Any) -> list[list[UnitPlan]]:
    """What each shard plans, one after another, none of them having read anything yet."""
    found = []
    for index in range(count):
        found.append(corpus.plans(shard_index=index, num_shards=count, **config))
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_disjoint_and_complete(corpus, count):
    corpus.put(*(f"x{i}.pdf" for i in range(20)))
    plans = shards(corpus, count)
    taken = [document.doc_id for shard in plans for plan in shard for document in plan.documents]
    assert sorted(taken) == sorted(document.doc_id for document in corpus.inputs())
    assert all(in_shard(plan.unit_id, i, count) for i, shard in enumerate(plans) for plan in shard)


@pytest.mark.parametrize("seed", range(8))
def test_shards_are_disjoint_and_complete_when_the_input_changed_since_an_earlier_run(tmp_path, seed):
    rng = random.Random(seed)
    corpus = Corpus(tmp_path)
    for i in range(6):
        corpus.put(f"m{i}.pdf", text="x" * rng.randint(1, 60))
    corpus.run()
    had = set(corpus.rows())
    for i in range(16):
        corpus.put(f"{rng.choice('abmz')}{i + 10}.pdf", text="x" * rng.randint(1, 60))
    plans = shards(corpus, 2, unit_documents=4, unit_bytes=100)
    taken = Counter(
        d.doc_id for shard in plans for plan in shard if plan.generation == 1 for d in plan.documents
    )
    wanted = {document.doc_id for document in corpus.inputs()} - {doc_id for doc_id, _ in had}
    assert taken == Counter(wanted)


# Markdown


def test_a_new_document_never_takes_the_markdown_file_of_an_earlier_one(corpus):
    corpus.run()
    corpus.remove("a.pdf")
    corpus.put("a.png")
    corpus.run()
    owners = corpus.markdown_owners()
    assert len(owners) == len(set(owners)) == 6


def test_two_new_documents_that_make_way_for_an_earlier_one_do_not_meet_each_other(corpus):
    corpus.run()
    corpus.remove("a.pdf")
    corpus.put("a.png", "a.png.pdf")
    corpus.run()
    owners = corpus.markdown_owners()
    assert len(owners) == len(set(owners)) == 7


def test_markdown_files_of_old_and_new_documents_differ_by_more_than_case(corpus):
    corpus.run()
    corpus.remove("a.pdf")
    corpus.put("A.pdf")
    corpus.run()
    owners = corpus.markdown_owners()
    assert len(owners) == len(set(owners)) == 6


def test_a_document_keeps_its_markdown_file_when_a_namesake_comes(corpus):
    corpus.run()
    before = (Path(corpus.store.root) / "markdown/a.md").read_text()
    corpus.put("a.png")
    corpus.run()
    assert (Path(corpus.store.root) / "markdown/a.md").read_text() == before
    assert (Path(corpus.store.root) / "markdown/a.png.md").exists()


@pytest.mark.parametrize("while_listing", [True, False], ids=["while we list", "before its plan is read"])
def test_a_unit_that_another_process_seals_while_we_look_is_not_read_again(
    corpus, monkeypatch, while_listing
):
    corpus.run(limit=1)
    theirs = plans_of_another_cut(corpus, 4)[1]
    corpus.store.create(plan_path(theirs.unit_id, 1), encode_plan(theirs))
    list_output = corpus.store.list

    def sealed_between(prefix: str = "") -> Any:
        listed = list(list_output(prefix))
        if while_listing and prefix in ("pages/", "partial/"):
            monkeypatch.undo()
            corpus.carry_out([theirs])
        return iter(listed)

    monkeypatch.setattr(corpus.store, "list", sealed_between)
    listing = OutputListing.take(corpus.store)
    if not while_listing:
        monkeypatch.undo()
        corpus.carry_out([theirs])
    overview = survey(corpus.inputs(), cut_of(InputConfig(**TWO)))
    plan = RunPlanner(overview, InputConfig(**TWO), corpus.store).plan_against(listing)
    found = [document.doc_id for unit in plan.unwritten for document in unit.documents]
    assert sorted(found) == ["b.pdf", "c.pdf", "d.pdf"]


# Writing plans down


def test_plans_are_written_down_as_todays_input_wants_them(corpus):
    first, *others = list(corpus.plan().units)
    plan = first.load()
    corpus.written(JobPlan(1, unwritten=[plan]))
    assert read_plan(corpus.store, plan.unit_id, 1) == replace(plan, planning=1)
    wider = replace(plan, documents=(replace(plan.documents[0], pages="1-2"), *plan.documents[1:]))
    assert corpus.written(JobPlan(1, unwritten=[wider, *(unit.load() for unit in others)]))
    assert read_plan(corpus.store, plan.unit_id, 1) == replace(wider, planning=2)
    assert all(corpus.store.read(plan_path(unit.unit_id, 1)) is not None for unit in others)


def test_an_equal_plan_that_is_there_is_left_alone(corpus):
    plan = corpus.plan().units[0].load()
    corpus.written(JobPlan(1, unwritten=[plan]))
    before = everything(corpus.store)
    corpus.written(JobPlan(1, unwritten=[plan]))
    assert everything(corpus.store) == before


def test_partials_of_a_generation_that_was_sealed_are_cleared_away_but_not_by_a_look(corpus):
    (plan, *_) = corpus.run()
    corpus.store.create(plan_path(plan.unit_id, 1), encode_plan(plan))
    assert corpus.is_finished()
    assert list(corpus.store.list("partial/"))
    clear(corpus.store, OutputListing.take(corpus.store).over)
    assert list(corpus.store.list("partial/")) == []


def test_a_plan_that_was_written_after_its_job_had_lost_the_output_is_nobodys(corpus):
    """The documents are in the units of who came next; the late plan would double their rows."""
    late = plans_of_another_cut(corpus, 3)[0]
    corpus.run(stop_after=8)
    corpus.store.create(plan_path(late.unit_id, 1), encode_plan(late))
    had = corpus.read.total()
    corpus.run()
    assert corpus.read.total() == 5 * PAGES - had
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert list(corpus.store.list("partial/")) == []
    assert corpus.is_finished()


def test_a_late_plan_beside_sealed_units_is_nobodys_and_its_other_documents_are_read(corpus):
    corpus.run(limit=2)
    late = plans_of_another_cut(corpus, 3)[0]
    corpus.store.create(plan_path(late.unit_id, 1), encode_plan(late))
    corpus.run()
    assert set(corpus.rows()) == corpus.complete("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf")
    assert corpus.is_finished()


def plans_of_another_cut(corpus: Corpus, unit_documents: int) -> list[UnitPlan]:
    """First generations of another cut of the same input."""
    return [first_generation(unit) for unit in cut_units(corpus.inputs(), unit_documents)]
