"""How long a finished output of a million rows takes to say that nothing is left to do."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.pipeline import instant_job
from benchmarks.report import Report
from benchmarks.session import scratch_folder
from jobs.flow import RunOptions, read_corpus
from jobs.job_file import PATH, Entering
from jobs.planning.output_listing import OutputListing
from jobs.planning.planning import RunPlanner
from jobs.summary import total_up
from manifests.inputs import expand_inputs
from manifests.survey import survey
from manifests.units import UnitPlan
from results.local_store import LocalStore
from results.rows import SCHEMA, Status
from results.unit_files import FOOTER_KEY, Footer, SealedDocument, sealed_path

ROWS = 1_000_000
PAGES_PER_DOCUMENT = (10, 1)
CONSTANTS = {
    "status": Status.OK,
    "variant": "",
    "text": "read before",
    "source_version": "1",
    "generation": 1,
}


def run(pairs: int, scale: float) -> Report:
    """``pairs`` is not used: there is no baseline."""
    report = Report(f"resume: an output with {int(ROWS * scale):,} rows, input a Parquet manifest")
    for each in PAGES_PER_DOCUMENT:
        with scratch_folder() as folder:
            figures = report.data[f"{each} pages each"] = _measure(Path(folder), int(ROWS * scale), each)
        documents = int(ROWS * scale) // each
        report.add(f"{documents:,} documents of {each}", f"{figures.pop('in all'):.1f} s", "seconds")
        for what, seconds in figures.items():
            report.add(f"  {what}", f"{seconds:.1f} s")
    return report


def _measure(folder: Path, rows: int, each: int) -> dict[str, float]:
    manifest, output = folder / "manifest.parquet", folder / "out"
    _write_manifest(manifest, rows // each)
    inputs, config, store = [str(manifest)], instant_job(), LocalStore(output)
    entering = Entering(store, config, tuple(inputs), new_generation=False)
    store.create(PATH, json.dumps(entering(None)).encode())
    planner = RunPlanner(survey(expand_inputs(inputs)), config.input, store)
    for planned in planner.plan(OutputListing.take(store)).units:
        _fabricate(store, planned.load(), each, entering.job.fingerprint)
    said: list[str] = []
    seconds = {"in all": _timed(lambda: read_corpus(inputs, str(output), config, RunOptions(), said.append))}
    if not said[0].startswith("nothing to read"):
        raise RuntimeError(f"the fabricated output is not complete: {said[0]}")
    found = expand_inputs(inputs)
    seconds["reading and checking the manifest once"] = _timed(lambda: sum(1 for _ in found))
    seconds["survey (reads the manifest)"] = _timed(lambda: survey(found))
    overview = survey(found)
    seconds["listing the output"] = _timed(lambda: OutputListing.take(store))
    seconds["planning"] = _timed(
        lambda: RunPlanner(overview, config.input, store).plan(OutputListing.take(store))
    )
    seconds["all footers, for the summary"] = _timed(lambda: total_up(store))
    return seconds


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _write_manifest(path: Path, documents: int) -> None:
    ids = [f"{number // 1000:05d}/{number:08d}.pdf" for number in range(documents)]
    columns = {
        "id": ids,
        "uri": [f"s3://benchmark/{doc_id}" for doc_id in ids],
        "size": pa.repeat(1000, documents),
        "version": pa.repeat("1", documents),
    }
    pq.write_table(pa.table(columns), path)


def _fabricate(store: LocalStore, plan: UnitPlan, each: int, fingerprint: str) -> None:
    """Seal a unit without reading it: rows and footer as the writer makes them, no Markdown."""
    documents = plan.documents
    rows = len(documents) * each
    columns = {
        "doc_id": pa.array([document.doc_id for document in documents]).take(_repeat(len(documents), each)),
        "uri": pa.array([document.uri for document in documents]).take(_repeat(len(documents), each)),
        "page": pa.array(np.tile(np.arange(1, each + 1, dtype=np.int32), len(documents))),
        "page_count": pa.repeat(pa.scalar(each, pa.int32()), rows),
        **{
            name: pa.repeat(pa.scalar(value, SCHEMA.field(name).type), rows)
            for name, value in CONSTANTS.items()
        },
    }
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA]
    sealed = tuple(SealedDocument(document, each, document.version) for document in documents)
    footer = Footer(plan.unit_id, 1, fingerprint, {Status.OK: rows}, sealed)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as parquet:
        parquet.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
        parquet.add_key_value_metadata({FOOTER_KEY: json.dumps(footer.to_json())})
    store.create(sealed_path(plan.unit_id), sink.getvalue())


def _repeat(documents: int, each: int) -> pa.Array:
    return pa.array(np.repeat(np.arange(documents), each))
