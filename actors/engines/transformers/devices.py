"""The memory of the devices a model runs on: what is free, what was taken at most, and running out of it."""

from __future__ import annotations

import gc
import os
import re
import resource
from collections.abc import Sequence
from typing import Protocol

import psutil
import torch

from actors.engines.settings import EngineConfig
from actors.models.weights.cards import choose_gpus
from manifests.errors import ConfigError

NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|bad_alloc", re.IGNORECASE)
DEAD = re.compile(r"CUDA error|device-side assert|illegal memory access|unspecified launch failure")


class Memory(Protocol):
    """What a batch has to live in."""

    def free(self) -> int:
        """Bytes for batches on the fullest device."""

    def watch(self) -> None:
        """Measure the peak from here on."""

    def peak(self) -> int | None:
        """Bytes taken at most since ``watch``, beyond what was taken then; None where nobody can tell."""


class GpuMemory:
    """The GPUs, by number, that hold a part of the model."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._before = [0 for _ in numbers]

    def free(self) -> int:
        return min(self._free(number) for number in self._numbers)

    def _free(self, number: int) -> int:
        """What the driver has left, and what our allocator holds unused."""
        unused = torch.cuda.memory_reserved(number) - torch.cuda.memory_allocated(number)
        return int(torch.cuda.mem_get_info(number)[0] + unused)

    def watch(self) -> None:
        for number in self._numbers:
            torch.cuda.reset_peak_memory_stats(number)
        self._before = [torch.cuda.memory_allocated(number) for number in self._numbers]

    def peak(self) -> int | None:
        peaks = (torch.cuda.max_memory_allocated(number) for number in self._numbers)
        return int(max(peak - before for peak, before in zip(peaks, self._before, strict=True)))


class MainMemory:
    """Main memory. The process's high-water mark tells a peak only when a batch raises it."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before, self._mark = 0, 0

    def free(self) -> int:
        return int(psutil.virtual_memory().available)

    def watch(self) -> None:
        self._before, self._mark = self._process.memory_info().rss, _high_water()

    def peak(self) -> int | None:
        mark = _high_water()
        return mark - self._before if mark > self._mark else None


def _high_water() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def pick_device(config: EngineConfig) -> str:
    """``cuda`` or ``cpu``. Raises ConfigError for GPUs that are not there.

    The GPUs of a local run are chosen here, before torch looks at any; Ray has chosen for its workers.
    """
    if config.gpus and config.device != "cpu" and not torch.cuda.is_initialized():
        choose_gpus(config.gpus)
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # batches vary in size
    if config.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if config.device == "cuda" or config.gpus:
        raise ConfigError(
            f"engine.{'gpus' if config.gpus else 'device'}: torch {torch.__version__} sees no GPU here: "
            "see 'nvidia-smi', install a torch built for its driver, or set engine.device=cpu"
        )
    return "cpu"


def pick_dtype(config: EngineConfig, device: str) -> torch.dtype:
    """The type of weights and arithmetic.

    On cores float32: without AMX bfloat16 is emulated there, several times slower, and its rounding
    differs with the shape of a batch.
    """
    if config.dtype != "auto":
        chosen: torch.dtype = getattr(torch, config.dtype)
        return chosen
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this is a lack of memory: torch has an error for GPUs, and but words for cores."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None


def has_killed_the_gpu(error: BaseException) -> bool:
    """Whether no further call of this process to its GPU can succeed."""
    if ran_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or DEAD.search(str(error)) is not None


def release() -> None:
    """Give back what a failed batch left behind."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
