"""A model folder by what it holds, so that a moved one is known again."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from manifests.errors import ConfigError

CONTENT_SUFFIXES = (".json", ".jinja", ".model", ".py", ".tiktoken", ".txt")
"""Configuration, tokenizer and processor: small, and any byte of them can change an answer."""
WEIGHT_SUFFIXES = (".bin", ".gguf", ".pt", ".pth", ".safetensors")


def model_identity(folder: Path) -> str:
    """A short digest of a model folder, whatever its path.

    Small files count with their bytes, weights with their names and sizes: reading those would take
    minutes. Raises ConfigError when the folder cannot be read.
    """
    digest = blake2b(digest_size=8)
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.suffix in CONTENT_SUFFIXES:
                digest.update(f"{path.name}\0{blake2b(path.read_bytes()).hexdigest()}\n".encode())
            elif path.suffix in WEIGHT_SUFFIXES:
                digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
    except OSError as error:
        raise ConfigError(f"engine.model: {error.filename or folder}: {error.strerror}") from error
    return digest.hexdigest()
