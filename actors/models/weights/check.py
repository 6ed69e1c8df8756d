"""Whether a model folder is whole: configuration, weights, tokenizer, processor. Loads nothing.

The folder may be a git clone, a download, or a snapshot in the Hugging Face cache (links are followed).
Everything in it is somebody else's: sizes are capped, and what cannot be parsed is a finding.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.models.weights.files import WeightFiles, read_json
from actors.models.weights.headers import PULL, refuse_placeholder
from actors.models.weights.report import ModelFinding, ModelReport, Topic
from actors.models.weights.shape import sees_images
from manifests.errors import ConfigError

CONFIG = "config.json"
TOKENIZERS = ("tokenizer.json", "tekken.json")
"""Whole tokenizers in one file: Hugging Face's own, Mistral's."""
VOCABULARIES = ("vocab.json", "tokenizer.model", "spiece.model", "vocab.txt", "*.tiktoken")
"""What a ``tokenizer_config.json`` needs beside it where there is no ``tokenizer.json``."""
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")


def check_folder(folder: Path) -> ModelReport:
    """Look at everything a model folder should hold.

    Raises ConfigError where there is no folder, or something in it may not be read.
    """
    if not folder.is_dir():
        kind = "a file: name the folder it is in" if folder.exists() else "no such folder"
        raise ConfigError(f"model {str(folder)!r}: {kind}")
    try:
        return _look_at(folder)
    except OSError as error:
        raise ConfigError(f"model {str(folder)!r}: {error.filename or ''}: {error.strerror}") from error


def _look_at(folder: Path) -> ModelReport:
    config, findings = _read_config(folder)
    weights = WeightFiles(folder)
    tokenizer, tokenizer_findings = _tokenizer(folder)
    processor = _first(folder, PROCESSORS)
    template, template_findings = _template(folder)
    code = _code(config)
    findings += [*weights.findings, *tokenizer_findings, *template_findings]
    findings += [*_processor_findings(folder, processor, config), *_code_findings(folder, code)]
    return ModelReport(
        folder=folder,
        config=config,
        tensors=tuple(weights.tensors),
        weight_files=tuple(weights.names),
        weight_bytes=weights.bytes,
        tokenizer=tokenizer,
        processor=processor,
        chat_template=template,
        code=code,
        findings=tuple(sorted(findings, key=lambda finding: not finding.is_problem)),
    )


def _read_config(folder: Path) -> tuple[dict[str, Any], list[ModelFinding]]:
    if not _is_there(folder / CONFIG):
        snapshots = sorted(folder.glob(f"snapshots/*/{CONFIG}"))
        where = f"; did you mean {snapshots[-1].parent}?" if snapshots else f": {PULL}"
        return {}, [ModelFinding(Topic.CONFIG, f"no {CONFIG} in {folder}{where}")]
    try:
        config = read_json(folder / CONFIG)
    except ConfigError as error:
        return {}, [ModelFinding(Topic.CONFIG, str(error))]
    findings = []
    if not config.get("architectures"):
        findings.append(ModelFinding(Topic.CONFIG, f"{CONFIG} names no architectures", is_problem=False))
    if not sees_images(config):
        message = f"{CONFIG} speaks of no image encoder: a model for text alone cannot read pages"
        findings.append(ModelFinding(Topic.CONFIG, message, is_problem=False))
    return config, findings


def _tokenizer(folder: Path) -> tuple[str, list[ModelFinding]]:
    whole = _first(folder, TOKENIZERS)
    vocabulary = _first(folder, VOCABULARIES) if _is_there(folder / "tokenizer_config.json") else ""
    found = whole or vocabulary
    if not found:
        message = f"no tokenizer in {folder} (tokenizer.json, or tokenizer_config.json with its vocabulary): "
        return "", [ModelFinding(Topic.TOKENIZER, message + PULL)]
    return found, _damage(folder / found, Topic.TOKENIZER)


def _template(folder: Path) -> tuple[str, list[ModelFinding]]:
    if found := _first(folder, TEMPLATES):
        return found, []
    if (folder / "tokenizer_config.json").is_file():
        try:
            if read_json(folder / "tokenizer_config.json").get("chat_template"):
                return "tokenizer_config.json", []
        except ConfigError as error:
            return "", [ModelFinding(Topic.TOKENIZER, str(error))]
    message = "no chat template: a prompt can only be given as it is (engine.prompt_format=raw)"
    return "", [ModelFinding(Topic.TOKENIZER, message, is_problem=False)]


def _processor_findings(folder: Path, processor: str, config: Mapping[str, Any]) -> list[ModelFinding]:
    if processor:
        return _damage(folder / processor, Topic.PROCESSOR)
    if not sees_images(config):
        return []
    message = f"no image processor in {folder} ({' or '.join(PROCESSORS)}): {PULL}"
    return [ModelFinding(Topic.PROCESSOR, message, is_problem="auto_map" not in config)]


def _code(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Python files of the model's own that the config points to (``auto_map``)."""
    mapping = config.get("auto_map")
    targets = mapping.values() if isinstance(mapping, dict) else ()
    return tuple(sorted({f"{target.partition('.')[0]}.py" for target in targets if isinstance(target, str)}))


def _code_findings(folder: Path, code: tuple[str, ...]) -> list[ModelFinding]:
    if not code:
        return []
    message = (
        f"the model brings code of its own ({', '.join(code)}): Transformers needs "
        "engine.trust_remote_code=true for it, if it does not know the model itself; vLLM mostly does not"
    )
    findings = [ModelFinding(Topic.CODE, message, is_problem=False)]
    missing = [name for name in code if "--" not in name and not _is_there(folder / Path(name).name)]
    if missing:
        message = f"code that {CONFIG} names is missing ({', '.join(missing)}): {PULL}"
        findings.append(ModelFinding(Topic.CODE, message, is_problem=False))
    return findings


def _damage(path: Path, topic: Topic) -> list[ModelFinding]:
    """Whether a file stands for another one, or is JSON cut short."""
    try:
        if path.suffix == ".json":
            read_json(path)
        else:
            refuse_placeholder(path)
    except ConfigError as error:
        message = str(error)
        return [ModelFinding(topic, message if str(path.parent) in message else f"{path.parent}: {message}")]
    return []


def _first(folder: Path, patterns: tuple[str, ...]) -> str:
    """The first file there is, a broken link included (which ``glob`` leaves out)."""
    names = sorted(path.name for path in folder.iterdir())
    return next((name for pattern in patterns for name in fnmatch.filter(names, pattern)), "")


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
