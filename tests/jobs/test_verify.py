"""``pagefleet verify`` on outputs built by hand: clean ones are clean, every tampering is caught."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs.verify import format as verify_format
from jobs.verify import manifests as verify_manifests
from jobs.verify.check import Findings, Kind, VerifyS3Options, print_findings, verify
from jobs.verify.report import MAX_KEPT
from manifests.documents import Document
from manifests.errors import InputError, ManifestError
from manifests.pages import plan_pages
from manifests.reader import read_manifest
from manifests.units import UnitPlan
from results.assembly import IMAGE_FLAG, PageText, document_markdown, markdown_file, page_image_file
from results.beyond import beyond_pages
from results.rows import BLANK_TEXT, SCHEMA, SCHEMA_VERSION, ResultRow, Status, rows_to_batch
from results.unit_files import (
    FOOTER_KEY,
    Footer,
    SealedDocument,
    encode_plan,
    encode_table,
    plan_path,
    sealed_path,
)

JOB = json.dumps(
    {"fingerprint": "f1", "replaced": False, "inputs": ["in"], "config": {"input": {"max_pages": 0}}}
).encode()

Tamper = Callable[["Job"], None]


@dataclass
class Sealed:
    """A unit as it will be written; tests change it before ``Job.write``."""

    unit_id: str
    documents: list[SealedDocument]
    rows: list[ResultRow]
    generation: int = 1
    cut_pages: int = 0
    variants: tuple[str, ...] = ("",)
    counts: dict[str, int] | None = None
    fingerprints: dict[str, int] | None = None
    footer: bytes | None = None
    table: Callable[[pa.Table], pa.Table] = lambda table: table


@dataclass
class Job:
    """An output folder under construction, with sources beside it."""

    root: Path
    units: dict[str, Sealed] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.root / "out"

    def source(self, name: str) -> tuple[str, str]:
        path = self.root / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(name.encode())
        found = path.stat()
        return str(path), f"{found.st_size}-{found.st_mtime_ns}"

    def add(self, unit_id: str, doc_id: str, page_count: int, **wanted: Any) -> list[ResultRow]:
        """A document as a faultless job would leave it; page 2 is blank, page 3 has failed."""
        uri, version = self.source(doc_id)
        stem = doc_id.rpartition(".")[0]
        document = Document(doc_id, uri, version=version, **{"markdown": stem, **wanted})
        plan = plan_pages(document.pages, document.max_pages, page_count)
        row = ResultRow(doc_id, uri, 0, Status.OK, page_count=page_count, source_version=version)
        rows = [self.page(row, page) for span in plan.read for page in span]
        rows += [
            replace(row, page=page, status=Status.SKIPPED, reason=reason)
            for page, reason in beyond_pages(plan.beyond)
        ]
        if not page_count:
            rows = [replace(row, status=Status.FAILED, reason="not a PDF")]
        unit = self.units.setdefault(unit_id, Sealed(unit_id, [], []))
        unit.documents.append(SealedDocument(document, page_count, version))
        unit.rows += rows
        unit.cut_pages += plan.cut
        return rows

    def page(self, row: ResultRow, page: int) -> ResultRow:
        if page == 2:
            return replace(row, page=page, status=Status.BLANK, text=BLANK_TEXT)
        if page == 3:
            return replace(row, page=page, status=Status.FAILED, reason="killed\nits engine")
        return replace(row, page=page, text=f"  Text of {row.doc_id}, page {page}\n\nμῆνιν\n")

    def write(self) -> Path:
        totals: Counter[str] = Counter()
        if not (self.out / "job.json").exists():
            self.put("job.json", JOB)
        for unit in self.units.values():
            counts = Counter(str(row.status) for row in unit.rows)
            totals += counts
            made = dict(Counter(row.fingerprint for row in unit.rows))
            footer = Footer(
                unit.unit_id,
                unit.generation,
                "f1",
                dict(counts) if unit.counts is None else unit.counts,
                tuple(unit.documents),
                unit.cut_pages,
                fingerprints=made if unit.fingerprints is None else unit.fingerprints,
                variants=unit.variants,
            )
            data = unit.footer if unit.footer is not None else json.dumps(footer.to_json()).encode()
            table = unit.table(pa.Table.from_batches([rows_to_batch(unit.rows)]))
            metadata = {**(table.schema.metadata or {}), **({FOOTER_KEY: data} if data else {})}
            self.put(sealed_path(unit.unit_id), encode_table(table.replace_schema_metadata(metadata)))
            for document in (sealed.document for sealed in unit.documents):
                self.write_markdown(document, [row for row in unit.rows if row.doc_id == document.doc_id])
        self.put("summary.json", json.dumps({"pages": dict(totals)}).encode())
        failed = Counter(
            row.doc_id for unit in self.units.values() for row in unit.rows if row.status == Status.FAILED
        )
        lines = [json.dumps({"id": doc_id, "failed_pages": count}) for doc_id, count in failed.items()]
        self.put("failures.jsonl", "\n".join(lines).encode())
        return self.out

    def write_markdown(self, document: Document, rows: list[ResultRow]) -> None:
        if not document.markdown or document.markdown.startswith(".."):
            return
        pages = [PageText(r.page, r.status, r.reason, r.text, IMAGE_FLAG in r.flags) for r in rows]
        self.put(markdown_file(document.markdown), document_markdown(document.markdown, pages).encode())

    def put(self, path: str, data: bytes) -> None:
        target = self.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def manifest(self, rows: list[dict[str, str]]) -> str:
        path = self.root / "manifest.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        return str(path)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Two units that have everything: selections, cuts, pages past the end, a broken document, images."""
    job = Job(tmp_path)
    job.add("aa", "greek/one.pdf", 5)
    job.add("aa", "greek/two.pdf", 4, pages="2-3,6-7")
    job.add("aa", "greek/open.pdf", 6, pages="5-, 1")
    job.add("aa", "greek/cut.pdf", 9, max_pages=3)
    job.add("bb", "broken.pdf", 0)
    job.add("bb", "photo ü.png", 1)
    unit = job.units["bb"]
    unit.rows[1] = replace(unit.rows[1], flags=("dark", IMAGE_FLAG))
    job.put(page_image_file("photo ü", 1), b"JPEG")
    return job


def kinds(findings: Findings) -> dict[Kind, int]:
    return {kind: count for kind, count in findings.counts.items() if count}


def texts(findings: Findings) -> str:
    return "\n".join(str(defect) for named in findings.named.values() for defect in named)


def report(findings: Findings) -> str:
    sink = io.StringIO()
    print_findings(findings, Console(file=sink, width=80))
    return sink.getvalue()


def test_a_faultless_output_is_well(job: Job) -> None:
    findings = verify(str(job.write()))
    assert findings.ok, report(findings)
    assert not findings.warnings
    assert findings.statuses == {"ok": 8, "blank": 3, "failed": 4, "skipped": 2}
    assert (findings.pages, findings.documents, findings.units) == (17, 6, 2)
    assert report(findings).splitlines()[-1] == "verified: 17 pages in 6 documents, all well"


def test_a_job_that_never_came_to_its_end_is_not_well_even_without_a_unit(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.put("job.json", JOB)
    findings = verify(str(job.out))
    assert kinds(findings) == {Kind.UNFINISHED: 1}
    assert "summary.json: is not there" in texts(findings)


def tampering(value: object) -> str:
    """The name of a tampering as a test's id."""
    return getattr(value, "__name__", "")


def drop_page(job: Job) -> None:
    job.units["aa"].rows = [r for r in job.units["aa"].rows if (r.doc_id, r.page) != ("greek/one.pdf", 4)]


def drop_document(job: Job) -> None:
    job.units["aa"].rows = [row for row in job.units["aa"].rows if row.doc_id != "greek/one.pdf"]


def drop_row_of_page_0(job: Job) -> None:
    job.units["bb"].rows = job.units["bb"].rows[1:]


def drop_page_past_the_end(job: Job) -> None:
    job.units["aa"].rows = [row for row in job.units["aa"].rows if row.page != 7]


def repeat_row(job: Job) -> None:
    job.units["aa"].rows.append(job.units["aa"].rows[0])


def page_beside_page_0(job: Job) -> None:
    row = job.units["bb"].rows[0]
    job.units["bb"].rows.insert(1, replace(row, page=1))


def page_nobody_wanted(job: Job) -> None:
    row = next(row for row in job.units["aa"].rows if row.doc_id == "greek/two.pdf")
    job.units["aa"].rows.append(replace(row, page=4, status=Status.OK))


def cut_page_all_the_same(job: Job) -> None:
    job.units["aa"].rows.append(replace(job.units["aa"].rows[-1], page=4))


def page_past_an_open_end(job: Job) -> None:
    row = next(row for row in job.units["aa"].rows if row.doc_id == "greek/open.pdf")
    row = replace(row, page=7, status=Status.SKIPPED, reason="beyond last page", text="")
    job.units["aa"].rows.append(row)


def unknown_document(job: Job) -> None:
    job.units["aa"].rows.append(replace(job.units["aa"].rows[0], doc_id="stranger.pdf"))


def negative_page(job: Job) -> None:
    job.units["aa"].rows.append(replace(job.units["aa"].rows[0], page=-1))


def change_row(job: Job, index: int, **changes: Any) -> None:
    rows = job.units["aa"].rows
    rows[index] = replace(rows[index], **changes)


def unknown_status(job: Job) -> None:
    change_row(job, 0, status="done")


def failure_without_reason(job: Job) -> None:
    change_row(job, 2, reason="")


def blank_with_text(job: Job) -> None:
    change_row(job, 1, text="")


def failure_with_text(job: Job) -> None:
    change_row(job, 2, text="what was read of it")


def read_past_the_end(job: Job) -> None:
    rows = job.units["aa"].rows
    change_row(job, next(i for i, row in enumerate(rows) if row.page == 7), status=Status.OK, reason="")


def skipped_inside(job: Job) -> None:
    change_row(job, 0, status=Status.SKIPPED, reason="beyond last page", text="")


def ok_page_0(job: Job) -> None:
    job.units["bb"].rows[0] = replace(job.units["bb"].rows[0], status=Status.OK, reason="")


def null_variant(job: Job) -> None:
    def tampered(table: pa.Table) -> pa.Table:
        nulls = pa.nulls(table.num_rows, pa.string())
        return table.set_column(3, SCHEMA.field("variant"), nulls)

    job.units["bb"].table = tampered


def wrong_counts(job: Job) -> None:
    job.units["aa"].counts = {"ok": 1, "failed": 3}


def wrong_fingerprints(job: Job) -> None:
    job.units["aa"].fingerprints = {"": 13, "f2": 1}


def row_of_another_fingerprint(job: Job) -> None:
    job.units["aa"].fingerprints = {"": 15}
    change_row(job, 0, fingerprint="f2")


def row_of_another_place(job: Job) -> None:
    change_row(job, 0, uri="/elsewhere/one.pdf")


def wrong_cut(job: Job) -> None:
    job.units["aa"].cut_pages = 0


def wrong_page_count(job: Job) -> None:
    change_row(job, 0, page_count=50)


def wrong_generation(job: Job) -> None:
    change_row(job, 0, generation=2)


def no_footer(job: Job) -> None:
    job.units["bb"].footer = b""


def garbled_footer(job: Job) -> None:
    job.units["bb"].footer = b'{"unit_id": 7}'


def renamed_column(job: Job) -> None:
    names = [name if name != "flags" else "flag" for name in SCHEMA.names]
    job.units["bb"].table = lambda table: table.rename_columns(names)


def wider_column(job: Job) -> None:
    job.units["bb"].table = lambda table: table.set_column(
        2, pa.field("page", pa.int64()), table["page"].cast(pa.int64())
    )


def newer_version(job: Job) -> None:
    metadata = {"pagefleet.schema_version": str(SCHEMA_VERSION + 1)}
    job.units["bb"].table = lambda table: table.replace_schema_metadata(metadata)


def rows_of_another_version(job: Job) -> None:
    change_row(job, 0, source_version="1-1")


def escaping_markdown(job: Job) -> None:
    sealed = job.units["bb"].documents[0]
    document = replace(sealed.document, markdown="../../escaped")
    job.units["bb"].documents[0] = replace(sealed, document=document)


def same_page_in_two_units(job: Job) -> None:
    rows = [row for row in job.units["aa"].rows if row.doc_id == "greek/one.pdf" and row.page <= 2]
    sealed = job.units["aa"].documents[0]
    sealed = replace(sealed, document=replace(sealed.document, pages="1-2", markdown=""))
    job.units["cc"] = Sealed("cc", [sealed], rows)


BEFORE: list[tuple[Tamper, dict[Kind, int], str]] = [
    (drop_page, {Kind.MISSING: 1}, "greek/one.pdf page 4 in pages/aa.parquet: has no row"),
    (drop_document, {Kind.MISSING: 5}, "greek/one.pdf page 1-5 in pages/aa.parquet"),
    (drop_row_of_page_0, {Kind.MISSING: 1}, "broken.pdf page 0"),
    (drop_page_past_the_end, {Kind.MISSING: 1}, "greek/two.pdf page 7"),
    (repeat_row, {Kind.DOUBLED: 1}, "greek/one.pdf page 1 in pages/aa.parquet: has more than one row"),
    (page_beside_page_0, {Kind.DOUBLED: 1}, "broken.pdf page 1 in pages/bb.parquet: stands beside"),
    (
        same_page_in_two_units,
        {Kind.DOUBLED: 2},
        "page 2 in pages/cc.parquet: has a row in pages/aa.parquet too",
    ),
    (page_nobody_wanted, {Kind.ORPHAN: 1}, "greek/two.pdf page 4"),
    (cut_page_all_the_same, {Kind.ORPHAN: 1}, "greek/cut.pdf page 4"),
    (page_past_an_open_end, {Kind.ORPHAN: 1}, "greek/open.pdf page 7"),
    (unknown_document, {Kind.ORPHAN: 1}, "stranger.pdf page 1 in pages/aa.parquet: rows of a document"),
    (negative_page, {Kind.ORPHAN: 1}, "page -1"),
    (unknown_status, {Kind.INVALID: 1}, "page 1 in pages/aa.parquet: status must be one of ok, blank"),
    (failure_without_reason, {Kind.INVALID: 1}, "page 3 in pages/aa.parquet: gives no reason"),
    (blank_with_text, {Kind.INVALID: 1}, "page 2 in pages/aa.parquet: is blank but its text is not"),
    (failure_with_text, {Kind.INVALID: 1}, "page 3 in pages/aa.parquet: has a text, but its status says"),
    (read_past_the_end, {Kind.INVALID: 1}, "page 7 in pages/aa.parquet: must be skipped"),
    (skipped_inside, {Kind.INVALID: 1}, "page 1 in pages/aa.parquet: is skipped"),
    (ok_page_0, {Kind.INVALID: 1}, "broken.pdf page 0 in pages/bb.parquet: page 0 is a document"),
    (null_variant, {Kind.INVALID: 2}, "doc_id, page, variant or status is null"),
    (wrong_counts, {Kind.FOOTER: 3}, "pages/aa.parquet: its footer counts 1 ok rows, there are 7"),
    (wrong_fingerprints, {Kind.FOOTER: 2}, "counts 13 rows of fingerprint '', there are 15"),
    (row_of_another_fingerprint, {Kind.FOOTER: 2}, "counts 0 rows of fingerprint 'f2', there are 1"),
    (row_of_another_place, {Kind.FOOTER: 1}, "one.pdf page 1 in pages/aa.parquet: was not read from"),
    (wrong_cut, {Kind.FOOTER: 1}, "counts 0 pages cut by max_pages, there are 6"),
    (wrong_page_count, {Kind.FOOTER: 1}, "greek/one.pdf page 1 in pages/aa.parquet: page_count differs"),
    (wrong_generation, {Kind.FOOTER: 1}, "rows of a later generation"),
    (no_footer, {Kind.FOOTER: 1, Kind.MARKDOWN: 3}, "pages/bb.parquet: has no pagefleet.unit"),
    (garbled_footer, {Kind.FOOTER: 1, Kind.MARKDOWN: 3}, "pages/bb.parquet: is not as documented: counts"),
    (renamed_column, {Kind.SCHEMA: 2, Kind.SUMMARY: 3}, "column flag is not part of the format"),
    (wider_column, {Kind.SCHEMA: 1}, "column page is int64, not int32"),
    (newer_version, {Kind.SCHEMA: 1}, "use a newer pagefleet"),
    (rows_of_another_version, {Kind.CHANGED: 1}, "rows were read from source version 1-1"),
    (escaping_markdown, {Kind.MARKDOWN: 1}, "its path leaves the output folder"),
]


@pytest.mark.parametrize(("tamper", "found", "named"), BEFORE, ids=tampering)
def test_rows_and_footers_that_are_wrong_are_caught(
    job: Job, tamper: Tamper, found: dict[Kind, int], named: str
) -> None:
    tamper(job)
    findings = verify(str(job.write()))
    assert kinds(findings) == found, report(findings)
    assert named in texts(findings)
    assert not findings.ok
    assert report(findings).splitlines()[-1].startswith("NOT well: ")


def truncate(job: Job) -> None:
    path = job.out / "pages/bb.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def damage_an_unchecked_column(job: Job) -> None:
    path = job.out / "pages/aa.parquet"
    with pq.ParquetFile(str(path)) as file:
        column = file.metadata.row_group(0).column(SCHEMA.names.index("raw_text"))
        at = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[at : at + 12] = b"\xff" * 12
    path.write_bytes(bytes(data))


def forget_to_seal(job: Job) -> None:
    plan = UnitPlan("dd", 1, (Document("late.pdf", "/late.pdf", markdown="late"),))
    job.put(plan_path("dd", 1), encode_plan(plan))
    job.put("markdown/late.md", b"written before its unit is sealed\n")


def begin_a_generation(job: Job) -> None:
    documents = tuple(sealed.document for sealed in job.units["aa"].documents)
    plan = UnitPlan("aa", 2, documents, {0: "3", 1: ""}, "v")
    job.put(plan_path("aa", 2), encode_plan(plan))


def lose_a_plan(job: Job) -> None:
    job.put("partial/ee/g0001/run-1.parquet", b"")


def garble_a_plan(job: Job) -> None:
    job.put(plan_path("dd", 1), b"[]")


def edit_markdown(job: Job) -> None:
    path = job.out / "markdown/greek/one.md"
    path.write_text(path.read_text().replace("page 4", "page four"))


def lose_markdown(job: Job) -> None:
    (job.out / "markdown/greek/two.md").unlink()


def lose_an_image(job: Job) -> None:
    (job.out / page_image_file("photo ü", 1)).unlink()


def strange_markdown(job: Job) -> None:
    job.put("markdown/greek/three.md", b"?\n")
    job.put("markdown/three_assets/page-00001.jpg", b"?")


def wrong_summary(job: Job) -> None:
    job.put("summary.json", b'{"pages": {"ok": 8, "blank": 3, "failed": 5}}')


def garbled_summary(job: Job) -> None:
    job.put("summary.json", b'{"pages": 18}')


def lose_failures(job: Job) -> None:
    (job.out / "failures.jsonl").unlink()


def old_failures(job: Job) -> None:
    path = job.out / "failures.jsonl"
    path.write_text(path.read_text().replace("broken.pdf", "mended.pdf"))


def touch_source(job: Job) -> None:
    os.utime(job.root / "sources/greek/one.pdf", ns=(1, 1))


AFTER: list[tuple[Tamper, dict[Kind, int], str]] = [
    (truncate, {Kind.UNREADABLE: 1, Kind.MARKDOWN: 3, Kind.SUMMARY: 3}, "pages/bb.parquet: cannot be read"),
    (
        damage_an_unchecked_column,
        {Kind.UNREADABLE: 1, Kind.MARKDOWN: 4, Kind.SUMMARY: 5},
        "pages/aa.parquet: cannot be read",
    ),
    (forget_to_seal, {Kind.UNFINISHED: 1}, "unit dd is unfinished: 1 documents (resume the job)"),
    (begin_a_generation, {Kind.UNFINISHED: 1}, "unit aa is unfinished: 2 documents (resume the job)"),
    (lose_a_plan, {Kind.UNFINISHED: 1}, "unit ee is unfinished"),
    (garble_a_plan, {Kind.UNFINISHED: 1, Kind.UNREADABLE: 1}, "g0001/unit.json: is not a unit's plan"),
    (
        edit_markdown,
        {Kind.MARKDOWN: 1},
        "greek/one.pdf in markdown/greek/one.md: differs from the document's",
    ),
    (lose_markdown, {Kind.MARKDOWN: 1}, "greek/two.pdf in markdown/greek/two.md: is missing"),
    (lose_an_image, {Kind.MARKDOWN: 1}, "page image photo ü_assets/page-00001.jpg is missing"),
    (strange_markdown, {Kind.MARKDOWN: 2}, "markdown/greek/three.md: belongs to no document"),
    (wrong_summary, {Kind.SUMMARY: 2}, "summary.json: says 5 failed pages, there are 4"),
    (garbled_summary, {Kind.SUMMARY: 1}, "summary.json: holds no totals"),
    (lose_failures, {Kind.SUMMARY: 1}, "failures.jsonl: names 0 failed pages, there are 4"),
    (old_failures, {Kind.SUMMARY: 1}, "failures.jsonl: names other documents than those with failed pages"),
    (touch_source, {Kind.CHANGED: 1}, "greek/one.pdf in pages/aa.parquet: its source"),
]


@pytest.mark.parametrize(("tamper", "found", "named"), AFTER, ids=tampering)
def test_files_that_are_wrong_are_caught(
    job: Job, tamper: Tamper, found: dict[Kind, int], named: str
) -> None:
    job.write()
    tamper(job)
    findings = verify(str(job.out))
    assert kinds(findings) == found, report(findings)
    assert named in texts(findings)
    assert not findings.ok


def test_leftovers_and_sources_that_are_gone_are_warnings_only(job: Job) -> None:
    job.write()
    job.put("partial/aa/g0001/unit.json", b"{}")
    job.put("partial/aa/g0001/run-1.parquet", b"")
    job.put(".tmp/1-2", b"")
    job.put(".tmp/lock", b"")
    job.put("pages/notes.txt", b"")
    job.put("claims/aa.json", b"{}")
    (job.root / "sources/greek/one.pdf").unlink()
    findings = verify(str(job.out))
    assert findings.ok, report(findings)
    warnings = "\n".join(findings.warnings)
    assert findings.warning_count == 5, warnings
    for part in ("2 files left over", "1 temporary", "pages/notes.txt", "claims/aa.json", "no longer there"):
        assert part in warnings


def test_a_source_is_hashed_only_when_asked_to(job: Job) -> None:
    job.add("bb", "hashed.pdf", 1)
    sealed = job.units["bb"].documents[-1]
    job.units["bb"].documents[-1] = replace(sealed, version="sha256:" + "0" * 64)
    job.units["bb"].rows[-1] = replace(job.units["bb"].rows[-1], source_version="sha256:" + "0" * 64)
    out = str(job.write())
    assert verify(out).ok
    assert kinds(verify(out, check_hashes=True)) == {Kind.CHANGED: 1}


def test_a_source_whose_name_is_not_utf8_is_found(job: Job) -> None:
    path = os.fsencode(job.root) + b"/caf\xe9.pdf"
    Path(os.fsdecode(path)).write_bytes(b"x")
    found = os.stat(path)  # noqa: PTH116
    job.add("bb", "caf.pdf", 1)
    sealed = job.units["bb"].documents[-1]
    uri = f"file://{job.root}/caf%E9.pdf"
    version = f"{found.st_size}-{found.st_mtime_ns}"
    job.units["bb"].documents[-1] = replace(
        sealed, document=replace(sealed.document, uri=uri), version=version
    )
    job.units["bb"].rows[-1] = replace(job.units["bb"].rows[-1], uri=uri, source_version=version)
    out = str(job.write())
    assert verify(out).ok
    assert not verify(out).warnings
    os.utime(path, ns=(1, 1))
    assert kinds(verify(out)) == {Kind.CHANGED: 1}


def test_captions_of_one_image_in_two_styles_are_two_rows(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.add("aa", "photo.png", 1, markdown="")
    unit = job.units["aa"]
    unit.variants = ("short", "long")
    unit.rows = [replace(unit.rows[0], variant=style) for style in unit.variants]
    assert verify(str(job.write())).ok
    del unit.rows[1]
    assert "photo.png page 1 in pages/aa.parquet: has no row" in texts(verify(str(job.write())))
    unit.rows += [replace(unit.rows[0], variant=style) for style in ("long", "longer")]
    findings = verify(str(job.write()))
    assert kinds(findings) == {Kind.ORPHAN: 1}
    assert "is in variant 'longer', owed are 'short', 'long'" in texts(findings)


def test_the_markdown_shows_one_variant_and_the_failure_of_a_document_counts_for_all(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.add("aa", "photo.png", 2)
    job.add("aa", "broken.png", 0)
    unit = job.units["aa"]
    unit.variants = ("short", "long")
    pages = [replace(row, page=page) for row in unit.rows[:1] for page in (1, 2)]
    short, long = ([replace(r, variant=v, text=f"{v} {r.page}") for r in pages] for v in ("short", "long"))
    unit.rows = [*short, *long, unit.rows[-1]]
    job.write()
    job.write_markdown(unit.documents[0].document, short)
    assert verify(str(job.out)).ok
    job.write_markdown(unit.documents[0].document, long)
    assert kinds(verify(str(job.out))) == {Kind.MARKDOWN: 1}


def test_a_folder_that_moved_between_two_runs_is_well(job: Job) -> None:
    change_row(job, 0, uri="/before/one.pdf")
    unit = job.units["aa"]
    assert kinds(verify(str(job.write()))) == {Kind.FOOTER: 1}
    unit.documents[0] = replace(unit.documents[0], uris=("/before/one.pdf",))
    assert verify(str(job.write())).ok


def test_many_pages_past_the_end_are_few_rows(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.add("aa", "one.pdf", 10, pages="1-9,20-900000,950000-999999")
    unit = job.units["aa"]
    assert len(unit.rows) == 9 + 1001
    findings = verify(str(job.write()))
    assert findings.ok, report(findings)
    unit.rows[-1] = replace(unit.rows[-1], reason="beyond last page")
    assert kinds(verify(str(job.write()))) == {Kind.INVALID: 1}
    del unit.rows[-1]
    assert kinds(verify(str(job.write()))) == {Kind.MISSING: 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        JOB[:-9],
        JOB.replace(b'"f1"', b"1"),
        JOB.replace(b'{"max_pages": 0}', b"7"),
        b"\xff",
    ],
)
def test_a_damaged_job_file_is_not_well(job: Job, data: bytes) -> None:
    job.write()
    job.put("job.json", data)
    findings = verify(str(job.out))
    assert kinds(findings) == {Kind.UNREADABLE: 1}
    assert "job.json: is not a job's file as documented" in texts(findings)


def test_different_pages_of_a_document_may_stand_in_two_units(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.add("aa", "one.pdf", 6, pages="1-3")
    job.add("bb", "one.pdf", 6, pages="4-", markdown="one-4")
    findings = verify(str(job.write()))
    assert findings.ok, report(findings)
    assert findings.documents == 1


def test_many_doubled_rows_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    job = Job(tmp_path)
    for unit in ("aa", "bb", "cc"):
        job.add(unit, "long.pdf", 1500)
    findings = verify(str(job.write()))
    assert findings.counts[Kind.DOUBLED] == 3000
    assert len(findings.named[Kind.DOUBLED]) == MAX_KEPT
    lines = report(findings).splitlines()
    assert "doubled: … and more of them, 3,000 in all" in lines
    assert lines[-1] == "NOT well: 3,000 doubled"


def test_documents_that_no_manifest_names_and_those_it_names_in_vain_are_told(job: Job) -> None:
    named = ["greek/one.pdf", "greek/two.pdf", "greek/open.pdf", "greek/cut.pdf", "broken.pdf"]
    job.put("job.json", JOB.replace(b'"max_pages": 0', b'"max_pages": 3'))
    pages = {"greek/one.pdf": "1-5", "greek/two.pdf": "2-3,6-7", "greek/open.pdf": "1,5-"}
    rows = [{"uri": "x", "id": name, "pages": pages.get(name, "")} for name in [*named, "lost.pdf"]]
    manifest = job.manifest(rows)
    findings = verify(str(job.write()), [manifest])
    assert kinds(findings) == {Kind.ORPHAN: 1, Kind.MISSING: 1}
    assert "photo ü.png in pages/bb.parquet: is in no manifest" in texts(findings)
    assert f"lost.pdf: is in no unit, but {manifest}:6 names it" in texts(findings)


def test_a_unit_that_read_other_pages_than_its_manifest_asks_is_told(job: Job) -> None:
    ids = [sealed.document.doc_id for unit in job.units.values() for sealed in unit.documents]
    pages = {"greek/two.pdf": "6,7,2-3", "greek/open.pdf": "1-3,5-", "greek/cut.pdf": "2"}
    manifest = job.manifest([{"uri": "x", "id": doc_id, "pages": pages.get(doc_id, "")} for doc_id in ids])
    findings = verify(str(job.write()), [manifest])
    assert kinds(findings) == {Kind.MISSING: 2}, report(findings)
    assert "greek/open.pdf page 2-3 in pages/aa.parquet: its manifest asks for it" in texts(findings)


def test_a_trial_run_owes_no_more_of_its_manifest_than_its_cut(job: Job) -> None:
    ids = [sealed.document.doc_id for unit in job.units.values() for sealed in unit.documents]
    pages = {"greek/two.pdf": "2-3,6-7", "greek/open.pdf": "1,5-"}
    manifest = job.manifest([{"uri": "x", "id": doc_id, "pages": pages.get(doc_id, "")} for doc_id in ids])
    out = str(job.write())
    assert kinds(verify(out, [manifest])) == {Kind.MISSING: 6}
    job.put("job.json", JOB.replace(b'"max_pages": 0', b'"max_pages": 3'))
    assert verify(out, [manifest]).ok


def test_default_ids_are_those_of_the_planner(tmp_path: Path) -> None:
    uris = [
        "a/b.pdf",
        "./a//c.pdf",
        "a/../d.pdf",
        str(tmp_path / "below" / "e.pdf"),
        "/elsewhere/f.pdf",
        "s3://bucket/key/g.pdf",
        f"file://{tmp_path}/caf%E9.pdf",
        f"file://{tmp_path}/h.pdf",
        "x" * 1100 + ".pdf",
        "...",
    ]
    jsonl, table, parquet = (tmp_path / f"m.{form}" for form in ("jsonl", "csv", "parquet"))
    jsonl.write_text("\ufeff" + "\n\n".join(json.dumps({"uri": uri}) for uri in uris))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["uri", "id", "note"], *([uri, "", "a\nb"] for uri in uris)])
    pq.write_table(pa.table({"uri": uris, "id": pa.nulls(len(uris), pa.string())}), parquet)
    for path in (jsonl, table, parquet):
        ours = [entry.doc_id for entry in verify_manifests.named_documents([str(path)])]
        assert ours == [document.doc_id for document in read_manifest(path)]


def test_the_format_is_the_one_that_is_written() -> None:
    assert [(f.name, f.type) for f in SCHEMA] == list(verify_format.COLUMNS.items())
    assert set(verify_format.STATUSES) == set(Status)


def test_wanted_pages_are_those_of_the_planner() -> None:
    dice = random.Random(7)
    for _ in range(500):
        parts = [
            dice.choice([str(a), f"{a}-", f"{a}-{a + dice.randint(0, 6)}"])
            for a in (dice.randint(1, 15) for _ in range(dice.randint(0, 4)))
        ]
        selection, max_pages, page_count = ", ".join(parts), dice.randint(0, 6), dice.randint(1, 12)
        plan = plan_pages(selection, max_pages, page_count)
        wanted = verify_format.wanted_pages(selection, max_pages, page_count)
        assert wanted.inside.tolist() == [page for span in plan.read for page in span], selection
        assert wanted.beyond.tolist() == [page for page, _ in beyond_pages(plan.beyond)], selection
        assert wanted.cut == plan.cut


def test_pages_past_the_end_of_one_selection_only_are_the_difference() -> None:
    dice = random.Random(7)
    for _ in range(500):
        first, second = (
            ",".join(
                f"{a}-{a + dice.randint(0, 6)}"
                for a in (dice.randint(1, 20) for _ in range(dice.randint(1, 4)))
            )
            for _ in "ab"
        )
        a, b = ({p for span in plan_pages(s, 0, 5).beyond for p in span} for s in (first, second))
        assert verify_format.past_the_end_of_one_only(first, second, 5).tolist() == sorted(a - b)


def test_a_manifest_may_ask_for_some_of_many_pages_past_the_end(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.add("aa", "one.pdf", 10, pages="1-900000")
    out = str(job.write())
    assert verify(out, [job.manifest([{"uri": "x", "id": "one.pdf", "pages": "2,5000-899999"}])]).ok
    findings = verify(out, [job.manifest([{"uri": "x", "id": "one.pdf", "pages": "1-900007"}])])
    assert kinds(findings) == {Kind.MISSING: 7}


def test_expected_markdown_is_what_assembly_writes() -> None:
    dice = random.Random(7)
    for _ in range(300):
        rows = [
            (
                page,
                dice.choice([*Status]),
                dice.choice(["", "why\n not"]),
                dice.choice(["", " a\n", "b  \n\nc"]),
                dice.random() < 0.3,
            )
            for page in dice.sample(range(9), dice.randint(0, 4))
        ]
        ours = verify_format.expected_markdown("a/sc an", [verify_format.PageRow(*row) for row in rows])
        assert ours.decode() == document_markdown("a/sc an", [PageText(*row) for row in rows])


def test_the_checker_shares_no_code_with_what_it_checks() -> None:
    allowed = {"manifests.errors", "numpy", "pyarrow", "rich"}
    for path in Path(verify_format.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert (
                    top in sys.stdlib_module_names
                    or top in allowed
                    or name in allowed
                    or name.startswith("jobs.verify.")
                ), f"{path.name} imports {name}"


def test_names_in_the_report_are_neither_markup_nor_control_codes(tmp_path: Path) -> None:
    job = Job(tmp_path)
    rows = job.add("aa", "one.pdf", 1)
    rows.append(replace(rows[0], doc_id="[bold]\x1b[31mred[/bold]"))
    job.units["aa"].rows = rows
    text = report(verify(str(job.write())))
    assert "[bold]\\x1b[31mred[/bold]" in text
    assert "\x1b" not in text


def test_what_is_no_output_is_refused_with_the_remedy(job: Job, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder: name the output folder"):
        verify(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no pagefleet job \(no job.json\)"):
        verify(str(tmp_path))
    out = str(job.write())
    with pytest.raises(InputError, match="no such manifest"):
        verify(out, [str(tmp_path / "nowhere.jsonl")])
    with pytest.raises(InputError, match="extension must be one of"):
        verify(out, [str(job.out / "markdown/greek/one.md")])
    with pytest.raises(ManifestError, match=r"manifest.jsonl:1: pages: must be like 1-10,15"):
        verify(out, [job.manifest([{"uri": "a.pdf", "pages": "x"}])])
    with pytest.raises(ManifestError, match=r"manifest.jsonl:2: uri: must be given"):
        verify(out, [job.manifest([{"uri": "a.pdf"}, {"prompt": "?"}])])


def test_an_output_and_sources_on_s3_are_verified(job: Job, s3: Any) -> None:
    client = s3.client()
    etag = client.put_object(Bucket=s3.bucket, Key="in/photo.png", Body=b"x")["ETag"].strip('"')
    for name, version in (("same", etag), ("changed", "another")):
        job.add("bb", f"{name}.png", 1)
        document = replace(job.units["bb"].documents[-1].document, uri=f"{s3.uri}/in/photo.png")
        job.units["bb"].documents[-1] = SealedDocument(document, 1, version)
        row = replace(job.units["bb"].rows[-1], uri=document.uri, source_version=version)
        job.units["bb"].rows[-1] = row
    job.write()
    for path in job.out.rglob("*"):
        if path.is_file():
            key = f"runs/one/{path.relative_to(job.out).as_posix()}"
            client.put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes())
    options = VerifyS3Options(endpoint=s3.moto_url, region="us-east-1")
    findings = verify(f"{s3.uri}/runs/one/", s3=options)
    assert kinds(findings) == {Kind.CHANGED: 1}, report(findings)
    assert "changed.png" in texts(findings)
    client.delete_object(Bucket=s3.bucket, Key="runs/one/pages/bb.parquet")
    assert kinds(verify(f"{s3.uri}/runs/one", s3=options)) == {Kind.MARKDOWN: 5, Kind.SUMMARY: 3}
    with pytest.raises(InputError, match="holds no pagefleet job"):
        verify(f"{s3.uri}/runs/two", s3=options)


MEASURE = """
import resource, sys
from jobs.verify.check import verify
findings = verify(sys.argv[1])
assert findings.ok, findings
print(findings.pages, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_is_that_of_one_unit_however_many_there_are(tmp_path: Path) -> None:
    peaks = []
    for units in (2, 24):
        job = Job(tmp_path / str(units))
        job.add("unit-00", "a.pdf", 4000, markdown="")
        sealed, rows = job.units["unit-00"].documents[0], job.units["unit-00"].rows
        rows = [replace(row, text="x" * 2000) if row.status == "ok" else row for row in rows]
        job.units["unit-00"].rows = rows
        job.write()
        data = pq.read_table(str(job.out / "pages/unit-00.parquet"))
        footer = json.loads(data.schema.metadata[FOOTER_KEY])
        for number in range(1, units):
            unit_id, doc_id = f"unit-{number:02}", f"{number}.pdf"
            ids = pa.array([doc_id] * data.num_rows)
            footer["unit_id"], footer["documents"][0]["document"]["doc_id"] = unit_id, doc_id
            table = data.set_column(0, "doc_id", ids)
            metadata = {**SCHEMA.metadata, FOOTER_KEY: json.dumps(footer)}
            job.put(sealed_path(unit_id), encode_table(table.replace_schema_metadata(metadata)))
        totals = Counter(str(row.status) for _ in range(units) for row in rows)
        job.put("summary.json", json.dumps({"pages": totals}).encode())
        ids = ["a.pdf", *(f"{number}.pdf" for number in range(1, units))]
        lines = [json.dumps({"id": doc_id, "failed_pages": 1}) for doc_id in ids]
        job.put("failures.jsonl", "\n".join(lines).encode())
        pages, peak = measured(job.out)
        assert pages == sealed.page_count * units
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 60, peaks  # 24 units hold 190 MB of text


def measured(out: Path) -> tuple[int, int]:
    """Pages verified and the peak of memory in MB, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, str(out)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    pages, peak = answer.stdout.split()
    return int(pages), int(peak)
