"""A model by what it is: a folder by what it holds, wherever it lies; a hub model by its commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

from manifests.errors import ConfigError

CONTENT_SUFFIXES = (".json", ".jinja", ".model", ".py", ".tiktoken", ".txt")
"""Configuration, tokenizer and processor: small, and any byte of them can change an answer."""
WEIGHT_SUFFIXES = (".bin", ".gguf", ".pt", ".pth", ".safetensors")
WHOLE_BYTES = 256 * 2**20
"""Weight files up to this size count with every byte. Of larger ones a sample does, which takes a quarter
of a second: the head (all names, types and shapes) and pieces at even distances up to the end. No training,
merging or quantising leaves those as they were; a change of single values between them would go unnoticed."""
HEAD_BYTES = 8 * 2**20
PIECE_BYTES = 2**20
PIECES = 248
SCHEME = "content-"
COMMIT = re.compile(r"[0-9a-f]{40}")


def model_identity(folder: Path) -> str:
    """A short digest of what a model folder holds, whatever its path.

    Raises ConfigError when the folder cannot be read.
    """
    return SCHEME + _digest(folder, _weights_digest)


def identity_by_sizes(folder: Path) -> str:
    """The digest that outputs were begun with when weights counted by their names and sizes alone."""
    return _digest(folder, lambda path: str(path.stat().st_size))


def hub_commit(hub_id: str, revision: str = "") -> str:
    """The commit of a hub model by the local cache; '' where that does not know. Asks no network."""
    if COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import try_to_load_from_cache  # half a second

    try:
        found = try_to_load_from_cache(hub_id, "config.json", revision=revision or None)
    except ValueError:  # no hub id
        return ""
    commit = Path(found).parent.name if isinstance(found, str) else ""
    return commit if COMMIT.fullmatch(commit) else ""


def hub_commit_online(hub_id: str, revision: str, timeout_s: float) -> str:
    """The commit that the hub itself names; '' where it may not be asked, or does not answer in time."""
    import httpx
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return ""
    try:
        return HfApi().model_info(hub_id, revision=revision or None, timeout=timeout_s).sha or ""
    except (OSError, ValueError, httpx.HTTPError):
        return ""


def _digest(folder: Path, of_weights: Callable[[Path], str]) -> str:
    digest = blake2b(digest_size=8)
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.suffix in CONTENT_SUFFIXES:
                digest.update(f"{path.name}\0{blake2b(path.read_bytes()).hexdigest()}\n".encode())
            elif path.suffix in WEIGHT_SUFFIXES:
                digest.update(f"{path.name}\0{of_weights(path)}\n".encode())
    except OSError as error:
        raise ConfigError(f"engine.model: {error.filename or folder}: {error.strerror}") from error
    return digest.hexdigest()


def _weights_digest(path: Path) -> str:
    size = path.stat().st_size
    digest = blake2b(str(size).encode())
    with path.open("rb") as file:
        for start, length in _pieces(size):
            file.seek(start)
            digest.update(file.read(length))
    return digest.hexdigest()


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    if size <= WHOLE_BYTES:
        yield from ((start, PIECE_BYTES) for start in range(0, size, PIECE_BYTES))
        return
    yield 0, HEAD_BYTES
    room = size - HEAD_BYTES - PIECE_BYTES
    yield from ((HEAD_BYTES + room * piece // (PIECES - 1), PIECE_BYTES) for piece in range(PIECES))
