"""``pagefleet models pull``: a model's files from the hub, no more than engines load."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath

import httpx
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from actors.models.presets.choice import Choice, choose
from actors.models.presets.identity import CONTENT_SUFFIXES
from actors.models.presets.library import presets
from manifests.errors import ConfigError, InputError, JobError, PagefleetError

WHOLE_WEIGHTS = "consolidated."
"""Some makers store their weights twice: in shards, and so named in one file."""

LOG_IN = "then give your token by HF_TOKEN or 'hf auth login'"


@dataclass(frozen=True, slots=True)
class Pulled:
    """Where a model's files are now, and which revision they are."""

    hub_id: str
    revision: str
    folder: Path


def hub_model(model: str, engine: str = "") -> Choice:
    """The hub model behind a preset's name or a hub id. Raises ConfigError for anything else."""
    if model.startswith((".", "/", "~")) and not Path(model).expanduser().is_dir():
        raise ConfigError(f"{model} is a folder's name, and the hub has none: a preset's name or a hub id")
    preset = presets().get(model.partition(":")[0])
    first = next(iter(preset.engines), "vllm") if preset else "vllm"
    choice = choose(model, engine or ("openai" if "/" in model else first))
    if Path(choice.model).is_absolute():
        raise ConfigError(f"{choice.model} is a folder on this machine: nothing to pull")
    return choice


def pull(choice: Choice, revision: str, to: Path | None, say: Callable[[str], None]) -> Pulled:
    """Fetch what is not here yet, into the hub's cache or the folder ``to``.

    Raises InputError for a model or revision that cannot be had, JobError when the way there fails.
    """
    try:
        info = HfApi().model_info(choice.model, revision=revision or choice.revision or None)
        files = needed_files(file.rfilename for file in info.siblings or [])
        if not files or info.sha is None:
            raise InputError(f"{choice.model} on the hub holds no config.json with weights")
        say(f"{choice.model} at revision {info.sha}")
        return Pulled(choice.model, info.sha, _fetch(choice.model, info.sha, files, to, say))
    except (OSError, httpx.HTTPError, HFValidationError) as error:
        raise _as_error(error, choice.model, revision or choice.revision) from error


def needed_files(names: Iterable[str]) -> list[str]:
    """The files of a hub model that engines load: configuration, tokenizer, code, one set of weights."""
    top = [PurePosixPath(name) for name in names if "/" not in name]
    small = [path.name for path in top if path.suffix in CONTENT_SUFFIXES]
    for suffix in (".safetensors", ".bin"):
        weights = [path.name for path in top if path.suffix == suffix]
        if parts := [name for name in weights if not name.startswith(WHOLE_WEIGHTS)] or weights:
            other = [name for name in small if name.endswith(".index.json") and f"{suffix}." not in name]
            return sorted({*small, *parts} - set(other)) if "config.json" in small else []
    return []


def _fetch(hub_id: str, sha: str, files: list[str], to: Path | None, say: Callable[[str], None]) -> Path:
    patterns = [escape(name) for name in files]
    planned = snapshot_download(hub_id, revision=sha, local_dir=to, allow_patterns=patterns, dry_run=True)
    missing = sum(file.file_size or 0 for file in planned if file.will_download)
    home = (to or Path(constants.HF_HUB_CACHE)).absolute()
    free = shutil.disk_usage(next(path for path in (home, *home.parents) if path.exists())).free
    if missing > free:
        raise JobError(
            f"{hub_id} needs {missing / 1e9:.1f} GB more, and {home} has {free / 1e9:.1f} GB left: "
            "make room, or name another folder by --to"
        )
    say(f"{len(files)} files, {missing / 1e9:.1f} GB to fetch, to {home}")
    return Path(snapshot_download(hub_id, revision=sha, local_dir=to, allow_patterns=patterns))


def _as_error(error: Exception, hub_id: str, revision: str) -> PagefleetError:
    """What went wrong on the way to the hub, and what to do."""
    page = f"{constants.ENDPOINT}/{hub_id}"
    if isinstance(error, GatedRepoError):
        return InputError(f"{hub_id} is gated: accept its terms at {page}, {LOG_IN}")
    if isinstance(error, RevisionNotFoundError):
        return InputError(f"{hub_id} has no revision {revision!r}: {page}/commits/main lists them")
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        return InputError(
            f"there is no model {hub_id!r} at {constants.ENDPOINT}, or none you may see: check the "
            f"name; for a private one, {LOG_IN}"
        )
    if isinstance(error, HfHubHTTPError):
        return JobError(f"{hub_id}: the hub answers {error}: run the command again to go on")
    if isinstance(error, OfflineModeIsEnabled):
        return JobError(f"{hub_id} is not fetched: HF_HUB_OFFLINE forbids it; unset it")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return JobError(f"{hub_id}: no space left: make room, or name another folder by --to")
    return JobError(
        f"{hub_id}: {constants.ENDPOINT} cannot be reached or read ({error}): run the command again to go "
        "on, or copy the model's folder here and give it by --model FOLDER"
    )
