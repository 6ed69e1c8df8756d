"""Which model an output goes on with: the one that it was begun with, though ``main`` has moved since."""

from __future__ import annotations

from pathlib import Path

from actors.engines.settings import EngineConfig
from actors.models.presets.identity import SCHEME, hub_commit_online, identity_by_sizes
from jobs.config import JobConfig

HUB_WITHIN_S = 5.0
LOADS_FROM_HUB = ("vllm", "transformers")


def identified(config: JobConfig) -> JobConfig:
    """With the commit of a hub model that the local cache does not know, if the hub names it."""
    engine = config.engine
    if engine.kind not in LOADS_FROM_HUB or engine.model_identity or not engine.model:
        return config
    return _with_identity(config, hub_commit_online(engine.model, engine.revision, HUB_WITHIN_S))


def as_begun(config: JobConfig, begun: JobConfig) -> JobConfig:
    """With the model's identity of the output that is gone on with, where both were asked for the same.

    A hub model stays at its commit. A folder counts by its content today, unless the output is from when
    weights counted by their sizes and those are what they were.
    """
    now, then = config.engine, begun.engine
    if now.kind not in LOADS_FROM_HUB or now.model_identity == then.model_identity:
        return config
    if now.model_identity.startswith(SCHEME):
        known_by_sizes = then.model_identity == identity_by_sizes(Path(now.model))
        return _with_identity(config, then.model_identity) if known_by_sizes else config
    if (now.model, now.revision) != (then.model, then.revision):
        return config
    return _with_identity(config, then.model_identity)


def pinned(engine: EngineConfig) -> EngineConfig:
    """For the workers: a hub model at the commit that was found, which they would find again."""
    if engine.kind not in LOADS_FROM_HUB or not engine.model_identity or Path(engine.model).is_absolute():
        return engine
    return engine.model_copy(update={"revision": engine.model_identity})


def _with_identity(config: JobConfig, identity: str) -> JobConfig:
    engine = config.engine.model_copy(update={"model_identity": identity})
    return config.model_copy(update={"engine": engine})
