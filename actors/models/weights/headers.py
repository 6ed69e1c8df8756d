"""What a safetensors file says of itself. Reads its header and nothing else: no model library is needed.

The format: eight bytes with the header's length (little endian), the header in JSON, the tensors
(https://github.com/huggingface/safetensors#format). The file is exactly as long as its header says.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import ConfigError

MAX_HEADER_BYTES = 100_000_000
"""As in the safetensors library: a longer header is no header."""
POINTER_START = b"version https://git-lfs"
LENGTH_BYTES = 8
PULL = "run 'git lfs pull' or 'pagefleet models pull'"
PULL_AGAIN = "remove it and run 'pagefleet models pull'"
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its name, safetensors' name of its type, its shape and its bytes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether loading turns it into the type the model runs in; packed and FP8 weights stay."""
        return self.dtype in FLOATS


def refuse_placeholder(path: Path) -> None:
    """Raise ConfigError for a file that stands for another one, or for nothing."""
    if not path.exists():
        raise ConfigError(f"{path.name} is a link to a file that is gone: {PULL_AGAIN}")
    size = path.stat().st_size
    if size == 0:
        raise ConfigError(f"{path.name} is empty: {PULL_AGAIN}")
    with path.open("rb") as file:
        if file.read(len(POINTER_START)) == POINTER_START:
            raise ConfigError(f"{path.name} is a {size}-byte git-lfs pointer: {PULL}")


def read_tensors(path: Path) -> tuple[Tensor, ...]:
    """The tensors of a file. Raises ConfigError that names the file, what is wrong, and what to do."""
    refuse_placeholder(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or not 2 <= length <= MAX_HEADER_BYTES:
            raise ConfigError(f"{path.name} is no safetensors file ({size:,} bytes): {PULL_AGAIN}")
        header = file.read(length)
    if len(header) < length:
        raise _cut_short(path, size, LENGTH_BYTES + length)
    try:
        tensors = _parse(header)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path.name}: its header is damaged ({error}): {PULL_AGAIN}") from error
    expected = LENGTH_BYTES + length + sum(tensor.size for tensor in tensors)
    if size < expected:
        raise _cut_short(path, size, expected)
    if size > expected:
        raise ConfigError(f"{path.name} has {size:,} bytes, its header speaks of {expected:,}: {PULL_AGAIN}")
    return tensors


def _parse(header: bytes) -> tuple[Tensor, ...]:
    entries: dict[str, Any] = json.loads(header)
    return tuple(_tensor(name, entry) for name, entry in entries.items() if name != "__metadata__")


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    start, end = entry["data_offsets"]
    shape = tuple(int(side) for side in entry["shape"])
    tensor = Tensor(name, str(entry["dtype"]), shape, int(end) - int(start))
    if tensor.size < 0 or any(side < 0 for side in tensor.shape):
        raise ValueError(f"{name!r} has a negative size")
    return tensor


def _cut_short(path: Path, size: int, expected: int) -> ConfigError:
    return ConfigError(
        f"{path.name} is cut short: {size:,} of {expected:,} bytes or more are there: {PULL_AGAIN}"
    )
