"""One job from inputs to summary: plan, claim, drive, count. The command line is a shell over this."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

from actors.engines.load import check_taken
from actors.models.weights.guard import check_model
from aws.s3_source import list_documents
from cluster.fleet import Fleet
from jobs.config import JobConfig
from jobs.driver.driver import Driver, DriverConfig
from jobs.driver.plan_queue import QueuedUnit
from jobs.driver.watchdog import Stopped
from jobs.factories import Recipe, open_store
from jobs.final_report import exit_status, report_lines
from jobs.interrupts import EXIT_INTERRUPTED, Interrupts
from jobs.job_file import Entering, JobFile, Unchanged, fingerprint_on, read_job
from jobs.models.begun import as_begun, identified, pinned
from jobs.models.gpu_groups import on_enough_gpus, visible_cards
from jobs.planning.planning import JobPlan, RunPlanner, cut_of
from jobs.planning.retry import RetryPlanner
from jobs.planning.session import Planner, Say, Session, at_work, new_run_id
from jobs.progress import ProgressLog
from jobs.summary import check_against_plan, total_up, was_ever_read, write_reports
from manifests.errors import InputError, PagefleetError
from manifests.inputs import InputSet, expand_inputs
from manifests.survey import survey
from results.job_claim import JobClaim, Settle, Terms
from results.local_store import LocalStore
from results.owner import Owner
from results.participants import Purpose
from results.store import Store
from results.unit_files import list_sealed, read_footer


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How this run differs from others of the same job."""

    single_process: bool = False
    new_generation: bool = False
    resume_command: str = "the same command"
    stop: Interrupts = field(default_factory=Interrupts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the run ended."""

    exit_status: int
    summary: dict[str, Any]


def read_corpus(
    inputs: Sequence[str], output: str, config: JobConfig, options: RunOptions, say: Say
) -> Outcome:
    """Read what the inputs name into the output, or go on where an earlier run stopped."""
    check_taken(config.engine)
    check_model(config.engine, must_exist=options.single_process or not joins_a_cluster(config))
    found = expand_inputs(inputs, lambda uri: list_documents(uri, config.s3))
    # Before the output is touched: a malformed manifest must not bind it.
    overview = survey(found, cut_of(config.input))
    store = open_store(output, config.s3)
    stored = read_job(store)
    config = (
        identified(config) if stored is None or options.new_generation else as_begun(config, stored.config)
    )
    entering = Entering(store, config, tuple(inputs), options.new_generation)

    run = _Run(store, config, output, options, say)
    purpose = Purpose("ocr", overview.digest, fingerprint_on(config, stored))
    with run.enter(purpose, entering, len(overview.units)) as session:
        if session is None:
            return run.interrupted("stopped while waiting", 0)
        job = entering.job
        stale = job.fingerprint if job.replaced else ""
        return run.carry_out(
            session, job, RunPlanner(overview, config.input, store, stale, config.owed_variants()), found
        )


def joins_a_cluster(config: JobConfig) -> bool:
    """Whether workers may run on other machines, which may have what this one has not."""
    return bool(config.cluster.address or os.environ.get("RAY_ADDRESS"))


def retry_failed(output: str, config: JobConfig, options: RunOptions, say: Say) -> Outcome:
    """Read the failed pages of an output again, as the next generation of their units."""
    store = open_store(output, config.s3)
    stored = read_job(store)
    if stored is None:
        raise InputError(f"{output} holds no pagefleet job: nothing to retry")
    job = JobFile(config, stored.inputs, stored.fingerprint)
    run = _Run(store, config, output, options, say)
    purpose = Purpose("retry", settings=job.fingerprint)
    units = sum(1 for _ in list_sealed(store))
    with run.enter(purpose, Unchanged(store, job.fingerprint), units) as session:
        if session is None:
            return run.interrupted("stopped while waiting", 0)
        return run.carry_out(session, job, RetryPlanner(store, job.fingerprint), None)


class _Run:
    """One run of a job on an output."""

    def __init__(self, store: Store, config: JobConfig, output: str, options: RunOptions, say: Say) -> None:
        self._store = store
        self._config = config
        self._output = output
        self._options = options
        self._say = say
        self._run_id = new_run_id()
        self._started = time.monotonic()
        self._job: JobFile

    def enter(self, purpose: Purpose, settle: Settle, units: int) -> AbstractContextManager[Session | None]:
        """The output is ours, or shared with jobs of the same purpose, until the end. None when stopped
        while waiting for others; raises OutputRefused beside a job of another purpose."""
        if isinstance(self._store, LocalStore):
            self._store.sweep()
        owner = Owner.this_process(self._run_id)
        terms = Terms(self._config.output.lease_s, units, self._config.input.num_shards > 1)
        claim = JobClaim(self._store, owner, purpose, terms)
        return at_work(claim, self._store, settle, self._options.stop, self._say)

    def carry_out(self, session: Session, job: JobFile, planner: Planner, inputs: InputSet | None) -> Outcome:
        self._job = job
        plan = session.plan(planner, self._config.input)
        if plan is None:
            return self.interrupted("stopped while planning", 0)
        for warning in inputs.warnings if inputs else ():
            self._say(f"warning: {warning}")
        if not plan.units:
            self._say(f"nothing to read: {self._output} is complete")
            return self._finish(plan, None)
        self._say(f"{plan.documents:,} documents to {self._output} (run {self._run_id})")
        return self._drive(plan, session)

    def interrupted(self, why: str, pages: int) -> Outcome:
        """Say how to go on."""
        stored = f"what was finished ({pages:,} pages or more) is stored in {self._output}; " if pages else ""
        self._say(f"{why}; {stored}to go on, run again:\n  {self._options.resume_command}")
        return Outcome(EXIT_INTERRUPTED, {})

    def _drive(self, plan: JobPlan, session: Session) -> Outcome:
        config = self._config
        log = ProgressLog(self._store, self._run_id, config.run.progress_s, plan.documents, self._say)
        fleet = self._fleet()
        claims, units = session.claims(plan)
        driver = Driver(fleet, claims, self._driver_config(), log)
        driver.progress.documents_sealed = plan.sealed_documents
        try:
            fleet.start()
            with self._options.stop.polled():
                driver.run(units, self._is_done, self._options.stop.is_set)
                log.record(driver.snapshot())
                fleet.flush()
        except (Stopped, KeyboardInterrupt) as stopped:
            fleet.drain()
            return self.interrupted(str(stopped) or "interrupted", driver.progress.pages)
        except PagefleetError as error:
            with suppress(PagefleetError):  # the first error is the one to tell
                fleet.drain()
            if self._options.stop.is_set():  # what ends while we stop may do so in any way
                return self.interrupted(f"stopped ({error})", driver.progress.pages)
            raise
        finally:
            try:
                claims.release_all()
            finally:
                fleet.stop()
        plan.changed = list(dict.fromkeys([*plan.changed, *driver.progress.changed]))
        return self._finish(plan, driver)

    def _fleet(self) -> Fleet:
        recipe = Recipe(
            self._for_workers(),
            self._output,
            self._run_id,
            self._job.fingerprint,
            engine_may_exit=not self._options.single_process,
        )
        if self._options.single_process:
            from cluster.local_fleet import LocalFleet

            return LocalFleet(recipe.fleet_spec())
        from cluster.ray_fleet import RayFleet

        return RayFleet(recipe.fleet_spec(), self._config.cluster)

    def _for_workers(self) -> JobConfig:
        """The configuration with the model at its commit, and with the GPUs in a group that it needs on cards
        like this machine's."""
        engine = pinned(self._config.engine)
        if engine.kind == "vllm":
            asked = engine.tensor_parallel_size
            engine = on_enough_gpus(engine, visible_cards(engine))
            if (size := engine.tensor_parallel_size) > asked:
                self._say(f"the model does not fit one GPU: each replica takes {size} (tensor parallel)")
        return self._config.model_copy(update={"engine": engine})

    def _driver_config(self) -> DriverConfig:
        config = self._config
        return DriverConfig(
            run_id=self._run_id,
            fingerprint=self._job.fingerprint,
            window_bytes=config.cluster.window_bytes,
            stall_s=config.run.stall_s,
            page_timeout_s=config.render.page_timeout_s,
            open_timeout_s=config.render.open_timeout_s,
            deadline_s=config.run.deadline_s,
            start_timeout_s=config.cluster.start_timeout_s,
            source_outage_s=config.run.source_outage_s,
            was_ever_read=was_ever_read(self._store),
        )

    def _is_done(self, unit: QueuedUnit) -> bool:
        footer = read_footer(self._store, unit.unit_id)
        return footer is not None and footer.generation >= unit.generation

    def _finish(self, plan: JobPlan, driver: Driver | None) -> Outcome:
        totals = total_up(self._store)
        check_against_plan(totals, plan.unit_ids)
        elapsed_s = time.monotonic() - self._started
        pages = driver.progress.pages if driver else 0
        run = {
            "run_id": self._run_id,
            "elapsed_s": round(elapsed_s, 2),
            "pages_read": pages,
            "pages_per_s": round(pages / elapsed_s, 2),
            "replica_deaths": driver.progress.replica_deaths if driver else 0,
            "renderer_deaths": driver.progress.renderer_deaths if driver else 0,
            "documents_left_out_by_limit": plan.limited_documents,
            "changed_sources": plan.changed,
            "shard": f"{self._config.input.shard_index}/{self._config.input.num_shards}",
        }
        summary = write_reports(self._store, totals, run)
        may_fail = self._config.run.max_failed_share
        for line in report_lines(summary, self._output, may_fail):
            self._say(line)
        return Outcome(exit_status(summary, may_fail), summary)
