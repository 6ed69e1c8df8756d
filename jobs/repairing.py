"""``pagefleet verify --repair``: doubled rows taken away, and the reports made anew."""

from __future__ import annotations

import json
from typing import Any

from jobs.config import JobConfig
from jobs.factories import open_store
from jobs.interrupts import Interrupts
from jobs.job_file import read_job
from jobs.planning.session import Say, alone_in, new_run_id
from jobs.summary import SUMMARY_PATH, total_up, write_reports
from manifests.errors import InputError
from results.repair import RepairReport, repair
from results.store import Store


def repair_output(out: str, config: JobConfig, stop_asked: Interrupts, say: Say) -> RepairReport:
    """Take away what stands twice in an output. Raises OutputRefused while a job is at work on it."""
    store = open_store(out, config.s3)
    if read_job(store) is None:
        raise InputError(f"{out} holds no pagefleet job: nothing to repair")
    with alone_in(store, "repair", config.output.lease_s, stop_asked, say):
        report = repair(store, new_run_id())
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
