"""Where a model is: a folder as named, or the snapshot of a hub id in the local Hugging Face cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from manifests.errors import ConfigError


def names_folder(model: str) -> bool:
    """Whether a model is meant as a folder: it is one here, or it is no ``owner/name`` of the hub."""
    path = Path(model).expanduser()
    return path.exists() or model.startswith(("/", "./", "../", "~")) or model.count("/") > 1


def cached_snapshot(hub_id: str, revision: str = "") -> Path | None:
    """The folder of a hub model in the local cache, None where it was never pulled. Asks no network.

    Raises ConfigError for what can be no hub id.
    """
    try:
        return Path(snapshot_download(hub_id, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise ConfigError(f"model {hub_id!r}: no such folder, and no hub id either: {error}") from error


def is_offline() -> bool:
    """Whether the hub may not be asked (``HF_HUB_OFFLINE``)."""
    return bool(constants.HF_HUB_OFFLINE)


def locate_model(model: str, revision: str = "") -> Path:
    """The folder of a model. Raises ConfigError naming ``pagefleet models pull`` where it is not here."""
    if names_folder(model):
        return Path(model).expanduser()
    if (folder := cached_snapshot(model, revision)) is not None:
        return folder
    raise ConfigError(
        f"model {model!r}: no such folder, and not in the local cache "
        f"({constants.HF_HUB_CACHE}): run 'pagefleet models pull {model}'"
    )
