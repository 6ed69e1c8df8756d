"""Picklable recipes for what workers are made of: jobs composes, ``cluster`` only calls them."""

from __future__ import annotations

from dataclasses import dataclass

from actors.engines.load import footprint, load_engine
from actors.engines.prompts import Asking
from actors.models.presets.ladder import ladder_modes
from actors.page_reader import PageReader, ReaderConfig
from actors.render.renderer import Renderer
from actors.render.settings import TextLayerUse
from actors.sources.cache import SourceCache
from aws.s3_source import S3Source
from aws.s3_store import S3Store
from aws.settings import S3Config
from cluster.roles import RowSink
from cluster.settings import FleetSpec
from jobs.config import JobConfig
from manifests.identity import normal_uri
from results.job_claim import PATH
from results.local_store import LocalStore
from results.store import Store
from results.writer import UnitWriter, WriterConfig

IDLE_GPUS = (
    "{kind}, which nobody chose, would leave them idle: name a model (--model deepseek-ocr; "
    "'pagefleet models list' lists them), or say --engine {kind}"
)


def open_store(output: str, s3: S3Config) -> Store:
    """The store at a local folder or an ``s3://`` prefix. Connects when first used."""
    output = normal_uri(output)
    return S3Store(output, s3) if output.startswith("s3://") else LocalStore(output)


def asked_variants(config: JobConfig) -> dict[str, Asking]:
    """What each page is asked, by variant."""
    engine = config.engine
    prompts = config.variants or {"": engine.prompt}
    return {variant: Asking(prompt, engine.dialect) for variant, prompt in prompts.items()}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run's configuration, with a maker for each kind of worker."""

    config: JobConfig
    output: str
    run_id: str
    fingerprint: str
    engine_may_exit: bool = True
    """Whether the engine has a process of its own, which may end to stop a page that hangs."""

    def store(self) -> Store:
        return open_store(self.output, self.config.s3)

    def make_renderer(self) -> Renderer:
        render = self.config.render
        if self.config.variants:  # what a page's own text says is none of their answers
            render = render.model_copy(update={"text_layer": TextLayerUse.NEVER})
        sources = SourceCache(
            render.cache_dir, render.cache_bytes, {"s3": S3Source(self.config.s3)}, self.run_id
        )
        return Renderer(
            render,
            sources,
            keep_images=self.config.output.page_images,
            encode=footprint(self.config.engine).takes_jpeg,
        )

    def make_reader(self, sink: RowSink, replica: str) -> PageReader:
        config = self.config
        reader = ReaderConfig(
            run_id=self.run_id,
            fingerprint=self.fingerprint,
            mode=config.engine.mode,
            variants=asked_variants(config),
            other_modes=ladder_modes(config.engine, config.retry),
            retry=config.retry,
            page_timeout_s=config.engine.page_timeout_s,
            may_exit=self.engine_may_exit,
            image_store=self.store() if config.output.page_images else None,
        )
        return PageReader(load_engine(config.engine), reader, sink, replica)

    def make_writer(self) -> UnitWriter:
        writer = WriterConfig(self.run_id, self.fingerprint, self.config.output.flush_s, guard=PATH)
        return UnitWriter(self.store(), writer)

    def fleet_spec(self) -> FleetSpec:
        """The workers of this run, for Ray."""
        engine = self.config.engine
        one = footprint(engine)
        chosen = "kind" in engine.model_fields_set
        return FleetSpec(
            make_renderer=self.make_renderer,
            make_reader=self.make_reader,
            make_writer=self.make_writer,
            num_cpus=one.num_cpus,
            num_gpus=one.num_gpus,
            memory_bytes=one.memory_bytes,
            gpus=engine.gpus,
            idle_gpus="" if chosen else IDLE_GPUS.format(kind=engine.kind),
        )
