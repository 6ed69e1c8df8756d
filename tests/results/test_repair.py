"""Rows that stand twice are taken away, whatever units they stand in, and ``verify`` is content again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from aws.config import S3Config
from jobs.cli.main import app
from jobs.repairing import repair_output
from jobs.summary import total_up, write_reports
from jobs.verify.check import verify
from manifests.documents import Document
from manifests.errors import InputError, OutputRefused
from manifests.units import UnitPlan
from results.assembly import IMAGE_FLAG, page_image_file
from results.claims import Claims, Owner
from results.local_store import LocalStore
from results.output import Output
from results.repair import repair
from results.rows import SCHEMA, ResultRow, Status, rows_to_batch
from results.unit_files import (
    FOOTER_KEY,
    encode_plan,
    encode_table,
    history_path,
    plan_path,
    read_footer,
    read_plan,
    sealed_path,
)
from results.writer import UnitWriter, WriterConfig

START = datetime(2026, 1, 1, tzinfo=UTC)
JOB = {
    "fingerprint": "fp",
    "replaced": False,
    "inputs": ["in"],
    "config": {"input": {"max_pages": 0}},
}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)


@dataclass
class Doubled:
    """An output in which two jobs did not know of each other."""

    root: Path

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.root / "out")

    def document(self, name: str, **fields: object) -> Document:
        source = self.root / "sources" / name
        source.parent.mkdir(exist_ok=True)
        if not source.exists():
            source.write_bytes(name.encode())
        found = source.stat()
        version = f"{found.st_size}-{found.st_mtime_ns}"
        return Document(name, str(source), **{"markdown": name, "version": version, **fields})

    def seal(self, unit_id: str, rows: Sequence[ResultRow], *documents: Document, **fields: object) -> None:
        plan = UnitPlan(unit_id, 1, documents, **fields)
        writer = UnitWriter(self.store, WriterConfig(unit_id, "fp", 3600.0))
        writer.open(plan)
        writer.add(unit_id, 1, rows_to_batch(rows))
        report = writer.seal(unit_id, 1, {})
        assert report.sealed, report
        writer.close()

    def finish(self) -> None:
        self.store.replace("job.json", json.dumps({**JOB, "replaced": False}).encode())
        write_reports(self.store, total_up(self.store), {})

    def append(self, unit_id: str, rows: Sequence[ResultRow]) -> None:
        """Rows put into a sealed file behind everybody's back, its footer counting them."""
        path = Path(self.store.root) / sealed_path(unit_id)
        table = pa.concat_tables([pq.read_table(path), pa.Table.from_batches([rows_to_batch(rows)])])
        footer = read_footer(self.store, unit_id)
        assert footer is not None
        counts: dict[str, int] = {}
        for status in table.column("status").to_pylist():
            counts[status] = counts.get(status, 0) + 1
        told = replace(footer, counts=counts, fingerprints={"fp": table.num_rows})
        metadata = {**(SCHEMA.metadata or {}), FOOTER_KEY: json.dumps(told.to_json())}
        self.store.replace(sealed_path(unit_id), encode_table(table.replace_schema_metadata(metadata)))

    def texts(self) -> dict[tuple[str, int, str], str]:
        found = [
            row
            for table in Output(self.store).rows(["doc_id", "page", "variant", "text"])
            for row in table.to_pylist()
        ]
        rows = {(row["doc_id"], row["page"], row["variant"]): row["text"] for row in found}
        assert len(rows) == len(found), "a row stands twice"
        return rows

    def repaired(self) -> str:
        assert not verify(str(self.root / "out")).ok
        told = str(repair_output(str(self.root / "out"), S3Config()))
        findings = verify(str(self.root / "out"))
        assert findings.ok, findings
        return told


@pytest.fixture
def output(tmp_path: Path) -> Doubled:
    return Doubled(tmp_path)


def row(document: Document, page: int, text: str = "", at: int = 0, **fields: object) -> ResultRow:
    fields = {"status": Status.OK, "page_count": 3, "source_version": document.version, **fields}
    if fields["status"] == Status.FAILED:
        text, fields = "", {"reason": "no luck", **fields}
    return ResultRow(
        document.doc_id,
        document.uri,
        page,
        text=text,
        fingerprint="fp",
        finished_at=START + timedelta(seconds=at),
        **fields,
    )


def pages(
    document: Document, text: str, at: int = 0, failed: Sequence[int] = (), count: int = 3
) -> list[ResultRow]:
    statuses = {page: Status.FAILED if page in failed else Status.OK for page in range(1, count + 1)}
    return [
        row(document, page, f"{text} {page}", at, page_count=count, status=status)
        for page, status in statuses.items()
    ]


def test_units_that_overlap_are_left_with_each_document_once(output):
    a, b, c, d = map(output.document, "abcd")
    output.seal("x", pages(a, "x a") + pages(b, "x b") + pages(c, "x c"), a, b, c)
    output.seal("y", pages(b, "y b", 5) + pages(c, "y c", 5) + pages(d, "y d", 5), b, c, d)
    output.finish()
    told = output.repaired()
    assert "6 doubled rows of 2 documents taken away from 2 units" in told
    assert {key[0] + text[0] for key, text in output.texts().items()} == {"ax", "bx", "cx", "dy"}
    assert pq.read_metadata(Path(output.store.root) / history_path("y", 1)).num_rows == 9
    assert [s.document.doc_id for s in read_footer(output.store, "y").documents] == ["d"]
    assert json.loads(output.store.read("summary.json")[0])["pages"] == {"ok": 12}


def test_a_page_that_failed_in_one_unit_is_taken_from_the_other(output):
    a, b = map(output.document, "ab")
    output.seal("x", pages(a, "x a", failed=[2]) + pages(b, "x b"), a, b)
    output.seal("y", pages(a, "y a", 5, failed=[1, 3]) + pages(b, "y b", 5, failed=[1]), a, b)
    output.finish()
    output.repaired()
    assert [output.texts()["a", page, ""] for page in (1, 2, 3)] == ["x a 1", "y a 2", "x a 3"]
    assert read_footer(output.store, "y") is None, "nothing was left of it"


def test_rows_that_move_both_ways_between_two_units_survive(output):
    a, b, c = map(output.document, "abc")
    output.seal("x", pages(a, "x a", failed=[2]) + pages(b, "x b", failed=[1, 2]), a, b)
    output.seal("y", pages(b, "y b", failed=[3]) + pages(a, "y a", failed=[1, 3]) + pages(c, "y c"), b, a, c)
    output.finish()
    output.repaired()
    rows = output.texts()
    assert [rows["a", page, ""] for page in (1, 2, 3)] == ["x a 1", "y a 2", "x a 3"]
    assert [rows["b", page, ""] for page in (1, 2, 3)] == ["y b 1", "y b 2", "x b 3"]


def test_rows_twice_in_one_unit_are_left_once(output):
    a, b = map(output.document, "ab")
    output.seal("x", pages(a, "a", failed=[1, 3]) + pages(b, "b"), a, b)
    output.finish()
    output.append("x", [row(a, 1, "later", 9), row(a, 2, "newer", 9), row(a, 3, at=9, status=Status.FAILED)])
    assert "3 doubled rows of 1 documents" in output.repaired()
    assert [output.texts()["a", page, ""] for page in (1, 2, 3)] == ["later", "newer", ""]


def test_the_row_of_a_document_that_could_not_be_opened_goes_when_it_has_all_its_pages(output):
    a = output.document("a")
    output.seal("x", pages(a, "a"), a)
    output.seal("y", [row(a, 0, page_count=0, status=Status.FAILED)], a)
    output.finish()
    assert repair(output.store, "r").documents == 1
    output.finish()
    assert sorted(output.texts()) == [("a", page, "") for page in (1, 2, 3)]
    assert verify(str(output.root / "out")).ok


def test_selections_of_both_units_are_had_by_the_one_that_is_left(output):
    x, y = output.document("a", pages="1-4,12-13"), output.document("a", pages="3-7,13-20")
    output.seal("x", [row(x, page, "x", page_count=9) for page in (1, 2, 3, 4)], x)
    output.seal("y", [row(y, page, "y", page_count=9) for page in (3, 4, 5, 6, 7)], y)
    output.finish()
    output.repaired()
    (footer,) = Output(output.store).units()
    assert footer.documents[0].document.pages == "1-7,12-20"
    assert footer.counts == {"ok": 7, "skipped": 9}


def test_of_two_versions_of_a_source_the_one_read_last_is_left(output):
    now = output.document("a")
    then = replace(now, version="1-1")
    output.seal("x", pages(then, "then", count=4), then)
    output.seal("y", pages(now, "now", at=9, failed=[2]), now)
    output.finish()
    output.repaired()
    assert list(output.texts().values()) == ["now 1", "", "now 3"]


def test_markdown_of_another_name_and_its_images_go_with_their_unit(output):
    x, y, other = output.document("a"), output.document("a", markdown="a-pdf"), output.document("b")
    output.seal("x", pages(x, "x", failed=[2]), x)
    image = replace(row(y, 2, "y 2"), flags=(IMAGE_FLAG,))
    output.seal("y", [image, *pages(y, "y", failed=[1, 3])[::2], *pages(other, "b")], y, other)
    output.store.replace(page_image_file("a-pdf", 2), b"JPEG")
    output.finish()
    output.repaired()
    paths = [entry.path for entry in output.store.list("markdown/")]
    assert paths == ["markdown/a.md", page_image_file("a", 2), "markdown/b.md"]


def test_plans_of_what_is_sealed_or_under_way_elsewhere_are_dropped(output):
    a, b, c, d = map(output.document, "abcd")
    store = output.store
    output.seal("x", pages(a, "a") + pages(b, "b"), a, b)
    for unit_id, documents in (("n1", (a, b)), ("n2", (b, c, d)), ("n3", (c,))):
        store.create(plan_path(unit_id, 1), encode_plan(UnitPlan(unit_id, 1, documents)))
    rows = pa.Table.from_batches([rows_to_batch([*pages(c, "stored")])])
    store.create("partial/n3/g0001/r-1.parquet", encode_table(rows))
    assert repair(store, "r").plans == 2
    assert read_plan(store, "n1", 1) is None
    assert read_plan(store, "n2", 1).documents == (d,)
    assert read_plan(store, "n3", 1).documents == (c,)
    assert str(repair(store, "r")) == "nothing stands twice: nothing to repair"


def test_variants_are_doubled_each_on_its_own(output):
    a = output.document("a")
    styles = ("short", "long")
    rows = [row(a, 1, f"{style} x", page_count=1, variant=style) for style in styles]
    output.seal("x", rows, a, variants=styles)
    rows = [row(a, 1, f"{style} y", page_count=1, variant=style, at=3) for style in styles]
    output.seal("y", rows, a, variants=styles)
    output.finish()
    output.repaired()
    assert output.texts() == {("a", 1, "long"): "long x", ("a", 1, "short"): "short x"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("seed", [0, 5])
def test_killed_at_any_write_the_same_repair_goes_on(tmp_path, monkeypatch, seed):
    """Random overlaps of three units; the repair dies at each of its writes in turn."""
    dice = random.Random(seed)
    writes = 0
    while True:
        output = Doubled(tmp_path / str(writes))
        output.root.mkdir()
        dice.seed(seed)
        documents = [output.document(name) for name in "abcde"]
        good: set[tuple[str, int, str]] = set()
        for unit_id in "xyz":
            chosen = dice.sample(documents, dice.randint(2, 4))
            rows = [
                row(
                    d,
                    page,
                    f"{unit_id} {page}",
                    dice.randint(0, 9),
                    status=dice.choice(["ok", "ok", "failed"]),
                )
                for d in chosen
                for page in (1, 2, 3)
            ]
            good |= {(r.doc_id, r.page, "") for r in rows if r.status == "ok"}
            output.seal(unit_id, rows, *chosen)
        output.finish()
        finished = killed_after(writes, monkeypatch, lambda store=output.store: repair(store, "r"))
        everywhere = {
            (r["doc_id"], r["page"], "")
            for table in Output(output.store).rows(["doc_id", "page", "status"])
            for r in table.to_pylist()
            if r["status"] == "ok"
        }
        assert everywhere == good, f"killed after {writes} writes a page that was read well is gone"
        repair_output(str(output.root / "out"), S3Config())
        findings = verify(str(output.root / "out"))
        assert findings.ok, findings
        assert {key for key, text in output.texts().items() if text} == good
        if finished:
            return
        writes += 1


def killed_after(count: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> bool:
    """Do the work, killed at the write after ``count`` of them; tells whether it came to its end."""
    left = [count]
    with monkeypatch.context() as patch:
        for name in ("create", "create_file", "replace", "replace_file", "delete"):
            real = getattr(LocalStore, name)

            def counted(self, *args, real=real, **options):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return real(self, *args, **options)

            patch.setattr(LocalStore, name, counted)
        try:
            work()
        except Killed:
            return False
    return True


def test_an_output_at_work_or_without_a_job_is_not_repaired(output):
    with pytest.raises(InputError, match="nothing to repair"):
        repair_output(str(output.root / "out"), S3Config())


def test_nothing_is_repaired_beside_a_job(output, monkeypatch):
    output.seal("x", pages(output.document("a"), "a"), output.document("a"))
    monkeypatch.setattr("jobs.repairing.read_job", lambda store: JOB)
    claims = Claims(output.store, Owner.this_process("run", "in"))
    claims.acquire("x")
    with pytest.raises(OutputRefused, match="a job is at work"):
        repair_output(str(output.root / "out"), S3Config())
    claims.release_all()
    repair_output(str(output.root / "out"), S3Config())


def test_the_command_repairs_and_then_says_whether_all_is_well(output):
    a = output.document("a")
    output.seal("x", pages(a, "x"), a)
    output.seal("y", pages(a, "y"), a)
    output.finish()
    out = str(output.root / "out")
    runner = CliRunner()
    assert runner.invoke(app, ["verify", out]).exit_code == 1
    answer = runner.invoke(app, ["verify", out, "--repair"])
    assert answer.exit_code == 0, answer.output
    assert "all well" in answer.output
    assert runner.invoke(app, ["verify", out]).exit_code == 0
