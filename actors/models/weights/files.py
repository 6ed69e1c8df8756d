"""The weight files of a model folder: which there should be, and whether they are whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from actors.models.weights.headers import PULL, Tensor, read_tensors, refuse_placeholder
from actors.models.weights.report import ModelFinding, Topic
from manifests.errors import ConfigError

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
BIN_INDEX = "pytorch_model.bin.index.json"
MAX_JSON_BYTES = 64 * 2**20
MAX_NAMED = 5
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5,6})-of-(?P<count>\d{5,6})\.(safetensors|bin)")


class WeightFiles:
    """What a folder holds as weights; findings are collected while it is looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.findings: list[ModelFinding] = []
        self.tensors: list[Tensor] = []
        self.names: list[str] = []
        self.bytes = 0
        if safetensors := _named(folder, "*.safetensors"):
            self._look_at(safetensors, INDEX)
        elif (folder / INDEX).is_file():
            self._look_at([], INDEX)
        elif (folder / BIN_INDEX).is_file() or _named(folder, "pytorch_model*.bin"):
            self._warn("the weights are pickles (.bin): slower to load, and able to run code while they are")
            self._look_at(_named(folder, "pytorch_model*.bin"), BIN_INDEX)
        elif _named(folder, "*.gguf"):
            self._problem("the weights are GGUF files, for llama.cpp: take the model's safetensors")
        else:
            self._problem(f"no weights (*.safetensors) in {folder}: {PULL}")

    def _look_at(self, there: list[str], index: str) -> None:
        mapping = self._read_index(index)
        wanted = sorted(set(mapping.values())) or there
        self.names = [name for name in wanted if name in there]
        missing = [name for name in wanted if name not in there] or _missing_numbers(there)
        if missing:
            self._problem(f"{_count(missing, 'shard')} missing in {self._folder} ({_some(missing)}): {PULL}")
        if not mapping and len(there) > 1 and any(SHARD.fullmatch(name) for name in there):
            self._warn(f"{index} is missing: vLLM loads the shards without it, Transformers does not")
        elif not mapping and index == INDEX and WHOLE not in there:
            self._warn(f"no {WHOLE} among the weights ({_some(there)}): Transformers looks for no other name")
        faults = [fault for name in self.names if (fault := self._read(name))]
        for fault in faults[:MAX_NAMED]:
            self._problem(f"weights at {self._folder}: {fault}")
        if len(faults) > MAX_NAMED:
            self._problem(f"{len(faults) - MAX_NAMED} more weight files are like that")
        lost = sorted(mapping.keys() - {tensor.name for tensor in self.tensors})
        if index == INDEX and lost and not missing and not faults:
            self._problem(
                f"{index} names {_count(lost, 'tensor')} that no shard holds ({_some(lost)}): {PULL}"
            )

    def _read(self, name: str) -> str:
        """Count one file in; what is wrong with it, or ''."""
        path = self._folder / name
        try:
            if path.suffix == ".safetensors":
                self.tensors += read_tensors(path)
            else:
                refuse_placeholder(path)
            self.bytes += path.stat().st_size
        except ConfigError as error:
            return str(error)
        return ""

    def _read_index(self, name: str) -> dict[str, str]:
        """Tensor to file; empty without an index, or with one that is of no use."""
        path = self._folder / name
        if not path.is_symlink() and not path.exists():
            return {}
        try:
            mapping = read_json(path).get("weight_map")
        except ConfigError as error:
            self._problem(str(error))
            return {}
        if not isinstance(mapping, dict):
            self._problem(f"{name} holds no weight_map: {PULL}")
            return {}
        files = {str(tensor): str(file) for tensor, file in mapping.items()}
        if outside := sorted({file for file in files.values() if Path(file).name != file}):
            self._problem(f"{name} points outside its folder ({_some(outside)}): do not use this model")
            return {}
        return files

    def _problem(self, message: str) -> None:
        self.findings.append(ModelFinding(Topic.WEIGHTS, message))

    def _warn(self, message: str) -> None:
        self.findings.append(ModelFinding(Topic.WEIGHTS, message, is_problem=False))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder. Raises ConfigError that names the file and what to do."""
    refuse_placeholder(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size:,} bytes: too much for a {path.name}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid JSON ({error}): {PULL}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no JSON object: {PULL}")
    return value


def _named(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def _missing_numbers(there: list[str]) -> list[str]:
    """Shards that the names of the others promise (``…-00002-of-00004…``)."""
    missing: list[str] = []
    for name in there:
        if not (match := SHARD.fullmatch(name)) or int(match["count"]) > len(there) * 1000:
            continue
        digits, suffix = len(match["number"]), Path(name).suffix
        family = [
            f"{match['stem']}-{number:0{digits}}-of-{match['count']}{suffix}"
            for number in range(1, int(match["count"]) + 1)
        ]
        missing += [shard for shard in family if shard not in there and shard not in missing]
    return missing


def _count(things: Iterable[str], noun: str) -> str:
    number = len(list(things))
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
