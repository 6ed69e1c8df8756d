"""An output entered as a job enters it."""

from __future__ import annotations

from jobs.config import JobConfig
from jobs.job_file import Entering, JobFile, fingerprint_on
from results.job_claim import JobClaim
from results.owner import Owner
from results.participants import Purpose
from results.store import Store


def enter_output(store: Store, config: JobConfig, inputs: tuple[str, ...] = ("in",)) -> JobFile:
    """Enter, and leave again. Raises OutputRefused as a job would."""
    entering = Entering(store, config, inputs, new_generation=False)
    claim = JobClaim(store, Owner.this_process("run"), Purpose("ocr", "inputs", fingerprint_on(config, None)))
    try:
        assert claim.enter(entering, lambda seconds: False, print)
    finally:
        claim.leave()
    return entering.job
