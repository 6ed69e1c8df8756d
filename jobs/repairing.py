"""``pagefleet verify --repair``: doubled rows taken away, and the reports made anew."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aws.config import S3Config
from jobs.factories import open_store
from jobs.job_file import read_job
from jobs.summary import SUMMARY_PATH, total_up, write_reports
from manifests.errors import InputError, OutputRefused
from results.claims import at_work
from results.repair import RepairReport, repair
from results.store import Store


def repair_output(out: str, s3: S3Config) -> RepairReport:
    """Take away what stands twice in an output. Raises OutputRefused while a job is at work on it."""
    store = open_store(out, s3)
    if read_job(store) is None:
        raise InputError(f"{out} holds no pagefleet job: nothing to repair")
    if (owner := next(at_work(store), None)) is not None:
        raise OutputRefused(
            f"a job is at work on {out} ({owner}): wait for it to end, then repair. If it was killed on "
            "another machine, run it again first: it goes on where it stopped"
        )
    report = repair(store, f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}")
    if (run := _last_run(store)) is not None:
        write_reports(store, total_up(store), run)
    return report


def _last_run(store: Store) -> dict[str, Any] | None:
    """What ``summary.json`` tells of the last run; None when there is no summary to make anew."""
    found = store.read(SUMMARY_PATH)
    try:
        return None if found is None else dict(json.loads(found[0])["run"])
    except (ValueError, KeyError, TypeError):
        return {}
