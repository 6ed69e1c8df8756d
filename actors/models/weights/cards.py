"""GPUs: the ones people have, and the ones in this machine, asked of the driver without a model library."""

from __future__ import annotations

import csv
import os
import subprocess
from dataclasses import dataclass

MIB = 2**20
FP8_CAPABILITY = 8.9
PROGRAM = "nvidia-smi"
QUERY = ("index", "name", "memory.total", "memory.free", "compute_cap")
WITHIN_S = 20.0
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as the driver describes it. ``capability`` is CUDA's compute capability, ``number`` the one
    of several that it is in its machine."""

    name: str
    total_bytes: int
    capability: float
    free_bytes: int = 0
    number: int = 0

    @property
    def computes_fp8(self) -> bool:
        return self.capability >= FP8_CAPABILITY


COMMON_CARDS = (
    Card("T4 16 GB", 15_360 * MIB, 7.5),
    Card("A10G 24 GB", 23_028 * MIB, 8.6),
    Card("L4 24 GB", 23_034 * MIB, 8.9),
    Card("RTX 4090 24 GB", 24_564 * MIB, 8.9),
    Card("A100 40 GB", 40_960 * MIB, 8.0),
    Card("A100 80 GB", 81_920 * MIB, 8.0),
    Card("H100 80 GB", 81_559 * MIB, 9.0),
    Card("H200 141 GB", 143_771 * MIB, 9.0),
)
"""Memory as nvidia-smi reports it, which is what counts: a "24 GB" L4 has 22.5 GiB
(https://thundergolfer.com/blog/nvidia-gpu-memory-capacity); capabilities as in
https://developer.nvidia.com/cuda-gpus."""


def installed_cards() -> tuple[Card, ...]:
    """The GPUs of this machine; none where there is no driver, or it does not answer."""
    command = [PROGRAM, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(  # noqa: S603  # no shell, fixed words
            command, capture_output=True, text=True, timeout=WITHIN_S, check=True
        )
        return tuple(_card(row) for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True))
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def choose_gpus(numbers: str) -> None:
    """Let this process see the GPUs ``0,1`` alone; where Ray gave it some of these already, only those."""
    seen = os.environ.get(VISIBLE, "").split(",")
    if not set(seen) <= set(numbers.split(",")):
        os.environ[VISIBLE] = numbers


def _card(row: list[str]) -> Card:
    number, name, total, free, capability = row
    return Card(name, int(total) * MIB, float(capability), int(free) * MIB, int(number))
