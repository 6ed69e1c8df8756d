"""What ``make run`` says of the sample corpus when it is done."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from benchmarks.quality.compare import compare, show
from benchmarks.quality.measure import sample_files
from benchmarks.samples.blocks import Block, Kind, KnownDocument, KnownPage
from results.local_store import LocalStore
from results.rows import ResultRow, Status, rows_to_batch
from results.unit_files import encode_table, sealed_path

TEXT = "The captain kept a careful record of every visitor."


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A corpus of a page of text, a page in Greek and an empty one."""
    text = KnownPage((Block(Kind.HEADING, "The Ferry"), Block(Kind.PARAGRAPH, TEXT)))
    greek = KnownPage((Block(Kind.PARAGRAPH, "ο παλιός καπετάνιος"),))
    known = {
        "documents/ferry.pdf": KnownDocument("clean_scan", "en", (text, KnownPage())),
        "documents/greek.jpg": KnownDocument("greek", "el", (greek,)),
        "documents/empty/back.jpg": KnownDocument("show_through", "en", (KnownPage(),)),
    }
    corpus = tmp_path / "samples"
    corpus.mkdir()
    named = {name: document.to_json() for name, document in known.items()}
    (corpus / "known_text.json").write_text(json.dumps(named), encoding="utf-8")
    return corpus


def row(path: Path, page: int, text: str, status: Status = Status.OK, *flags: str) -> ResultRow:
    return ResultRow(path.name, str(path), page, status, text=text, flags=flags)


def output(tmp_path: Path, *rows: ResultRow) -> LocalStore:
    store = LocalStore(tmp_path / "out")
    store.create(sealed_path("aa"), encode_table(pa.Table.from_batches([rows_to_batch(rows)])))
    return store


def shown(store: LocalStore, samples: Path) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show(compare(store, samples), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_each_document_shows_what_was_expected_and_what_came(tmp_path: Path, samples: Path) -> None:
    ferry, greek = samples / "documents/ferry.pdf", samples / "documents/greek.jpg"
    store = output(
        tmp_path,
        row(ferry, 1, f"# The Ferry\n\n{TEXT.replace('visitor', 'visltor')}"),
        row(ferry, 2, "[[Blank page]]", Status.BLANK),
        row(greek, 1, "o nalios", Status.OK, "script_not_covered"),
        row(samples / "documents/empty/back.jpg", 1, "~"),
    )
    text = shown(store, samples)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("The Ferry The captain" in line for line in lines) == 2
    for part in ("1.6%", "ok 1, blank 1", "script_not_covered", "(nothing)", "1 ch", "show through"):
        assert part in text
    closing = " ".join(text.rpartition("3 documents of known text, 4 pages. ")[2].split())
    assert closing == "Wrong: 2 of 61 characters (3.28%), 1 in an uncovered script left out."


def test_a_page_without_a_row_counts_as_not_read(tmp_path: Path, samples: Path) -> None:
    store = output(tmp_path, row(samples / "documents/ferry.pdf", 2, "", Status.BLANK))
    text = shown(store, samples)
    assert "no row 1" in text
    assert "100.0%" in text


def test_an_output_of_other_documents_or_none_has_nothing_to_compare(tmp_path: Path, samples: Path) -> None:
    store = output(
        tmp_path,
        row(tmp_path / "elsewhere/documents/ferry.pdf", 1, TEXT),
        ResultRow("x", "s3://bucket/ferry.pdf", 1, Status.OK, text=TEXT),
    )
    assert compare(store, samples) == []
    assert compare(LocalStore(tmp_path / "nowhere"), samples) == []


def test_the_committed_corpus_is_where_its_known_text_says() -> None:
    assert all(file.path.is_file() for file in sample_files())
