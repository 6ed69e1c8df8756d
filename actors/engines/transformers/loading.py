"""Loads a model with Transformers: arguments checked, layers placed, faults told in words of ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging

from actors.engines.settings import EngineConfig
from actors.engines.transformers.devices import pick_device, pick_dtype, ran_out_of_memory
from actors.engines.transformers.memory import Placement, parse_max_memory, place
from manifests.errors import ConfigError

OUR_SETTINGS = {
    "dtype": "engine.dtype",
    "torch_dtype": "engine.dtype",
    "revision": "engine.revision",
    "trust_remote_code": "engine.trust_remote_code",
    "device_map": "engine.transformers.device_map",
    "max_memory": "engine.transformers.max_memory",
    "offload_folder": "engine.transformers.offload_folder",
    "attn_implementation": "engine.transformers.attn_implementation",
}
ENGINE_ARGS: dict[str, type] = {
    "cache_dir": str,
    "code_revision": str,
    "experts_implementation": str,
    "force_download": bool,
    "gguf_file": str,
    "ignore_mismatched_sizes": bool,
    "key_mapping": dict,
    "local_files_only": bool,
    "offload_buffers": bool,
    "quantization_config": dict,
    "subfolder": str,
    "use_kernels": bool,
    "use_safetensors": bool,
    "variant": str,
}
"""What PreTrainedModel.from_pretrained takes beyond our settings (Transformers 5.19), less what is a
secret, runs code, or is for training. Most of it is not checked there: a wrong kind would be a failure
deep in the library, or pass for true."""
KINDS = {str: "a text", bool: "true or false", dict: "a mapping"}
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
REMEDIES = (
    (
        r"trust_remote_code|custom code",
        "the model brings code of its own: read it, then set engine.trust_remote_code=true",
    ),
    (
        r"Unrecognized model|does not recognize this architecture|Unrecognized configuration class"
        r"|should have a `model_type`|Unrecognized processing class",
        "this version of Transformers has no such model that sees images: upgrade it, choose another "
        "form of the checkpoint, or try --engine vllm",
    ),
    (
        r"preprocessor_config|processor_config|[Pp]rocessor|[Tt]okenizer|vocab",
        "the tokenizer or the processor is missing or damaged: pull the model again",
    ),
    (
        r"no file named|safetensors|HeaderTooLarge|InvalidHeader|deserializ|shard|state_dict|size mismatch"
        r"|mismatched_sizes",
        "weights are missing or damaged: 'pagefleet models check' names the files; 'git lfs pull' or "
        "'pagefleet models pull' brings them",
    ),
    (
        r"flash.attn|FlashAttention|attn_implementation|attention implementation",
        "see engine.transformers.attn_implementation",
    ),
    (r"quantiz|bitsandbytes", "see engine.engine_args.quantization_config"),
    (
        r"not a valid model identifier|not a local folder|Repo id must be|Repository Not Found"
        r"|couldn't connect|offline|gated|401|403|404",
        "check engine.model and engine.revision; 'pagefleet models pull' where the hub can be reached, and "
        "HF_TOKEN in the environment for a gated model",
    ),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its processor, ready to generate.

    ``device`` is where inputs go; ``gpus`` are the numbers of all that hold a part of the model.
    """

    model: Any
    processor: Any
    device: torch.device
    gpus: tuple[int, ...]
    dtype: torch.dtype
    revision: str


def load(config: EngineConfig) -> Loaded:
    """Load the model that a configuration names. Raises ConfigError with the remedy."""
    logging.disable_progress_bar()
    arguments = _checked_arguments(config)
    max_memory = parse_max_memory(config.transformers.max_memory)
    device = pick_device(config)
    dtype = pick_dtype(config, device)
    source = {"revision": config.revision or None, "trust_remote_code": config.trust_remote_code}
    source |= {name: arguments[name] for name in ("cache_dir", "local_files_only") if name in arguments}
    folder = Path(config.model).expanduser()
    name = str(folder) if folder.is_dir() else config.model
    try:
        described = AutoConfig.from_pretrained(name, **source)
        processor = AutoProcessor.from_pretrained(name, **source)
        placement = _placement(config, described, device, max_memory)
        if config.transformers.attn_implementation:
            arguments["attn_implementation"] = config.transformers.attn_implementation
        if placement is not None:
            arguments["device_map"] = placement.device_map
            arguments["max_memory"] = placement.max_memory
            arguments["offload_folder"] = config.transformers.offload_folder or None
        model, found = AutoModelForImageTextToText.from_pretrained(
            name, config=described, dtype=dtype, output_loading_info=True, **{**source, **arguments}
        )
        _check_whole(found["missing_keys"], config)
    except ConfigError:
        raise
    except Exception as error:  # the library raises nearly everything for what is wrong with a model
        raise _with_remedy(error, config) from error
    if not hasattr(processor, "tokenizer"):
        raise ConfigError(
            f"model {config.model}: its processor is a bare {type(processor).__name__}: tokenizer or image "
            "processor is missing: pull the model again"
        )
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    gpus = _gpus(model, device)
    where = torch.device("cuda", gpus[0]) if gpus else torch.device("cpu")
    return Loaded(model.eval(), processor, where, gpus, dtype, getattr(described, "_commit_hash", None) or "")


def _checked_arguments(config: EngineConfig) -> dict[str, Any]:
    for name, value in config.engine_args.items():
        if name in OUR_SETTINGS:
            raise ConfigError(f"engine.engine_args.{name}: set {OUR_SETTINGS[name]} instead")
        if name not in ENGINE_ARGS:
            near = difflib.get_close_matches(name, (*ENGINE_ARGS, *OUR_SETTINGS), 1, 0.5)
            hint = f"it takes {', '.join(ENGINE_ARGS)}"
            if near:
                hint = f"did you mean {OUR_SETTINGS.get(near[0], near[0])}?"
            raise ConfigError(f"engine.engine_args.{name}: transformers takes no such argument; {hint}")
        if not isinstance(value, ENGINE_ARGS[name]):
            raise ConfigError(f"engine.engine_args.{name}: must be {KINDS[ENGINE_ARGS[name]]}, got {value!r}")
    return dict(config.engine_args)


def _placement(
    config: EngineConfig, described: Any, device: str, max_memory: dict[int | str, int]
) -> Placement | None:
    """Where layers go; None: all in main memory, without accelerate."""
    wanted = config.transformers.device_map
    if wanted not in DEVICE_MAPS:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
            raise ConfigError(
                f"engine.transformers.device_map must be one of {', '.join(DEVICE_MAPS)}, cpu, cuda:N; "
                f"got {wanted!r}"
            )
        if wanted.startswith("cuda") and device == "cpu":
            raise ConfigError(f"engine.transformers.device_map: {wanted}: the model is to run on the CPU")
        return Placement({"": wanted})
    there = torch.cuda.device_count() if device == "cuda" else 0
    if absent := [number for number in max_memory if isinstance(number, int) and number >= there]:
        raise ConfigError(
            f"engine.transformers.max_memory: cuda:{absent[0]}: the model is to run on "
            + (f"{there} GPU{'s' if there > 1 else ''}, which count from 0" if there else "the CPU")
        )
    if max_memory:
        return Placement(wanted, max_memory)
    if device == "cpu":
        return None
    gpus = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    folder = config.transformers.offload_folder
    found = place(_weight_bytes(config, described, device), gpus, psutil.virtual_memory().available, folder)
    return found if wanted == "auto" else Placement(wanted, found.max_memory)


def _gpus(model: Any, device: str) -> tuple[int, ...]:
    """The GPUs that hold layers, in the order the layers come; what is offloaded runs on the first."""
    if device == "cpu":
        return ()
    places = [
        torch.device(place) for place in getattr(model, "hf_device_map", {"": 0}).values() if place != "disk"
    ]
    found = dict.fromkeys(place.index or 0 for place in places if place.type == "cuda")
    return tuple(found) or (0,)


def _weight_bytes(config: EngineConfig, described: Any, device: str) -> int:
    """Bytes of the weights as they will be loaded, from an empty model."""
    with torch.device("meta"):
        empty = AutoModelForImageTextToText.from_config(described, trust_remote_code=config.trust_remote_code)
    values = sum(parameter.numel() for parameter in empty.parameters())
    return int(values * pick_dtype(config, device).itemsize)


def _check_whole(missing: Collection[str], config: EngineConfig) -> None:
    """Raise ConfigError where the library made up weights: it says so in a warning, and reads on."""
    if missing and not config.engine_args.get("ignore_mismatched_sizes"):
        names = ", ".join(sorted(missing)[:3]) + (", …" if len(missing) > 3 else "")
        raise ConfigError(
            f"model {config.model}: its weights lack {len(missing)} of the model's tensors ({names}), for "
            "which random numbers would stand: pull all of it again, or choose the form of the checkpoint "
            "that Transformers knows (engine.engine_args.ignore_mismatched_sizes=true reads nevertheless)"
        )


def _with_remedy(error: Exception, config: EngineConfig) -> ConfigError:
    """The error of a load, with what to do about it."""
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    if ran_out_of_memory(error):
        remedy = (
            "too little memory: free the device of other processes, set engine.transformers.max_memory and "
            "offload_folder, or use more GPUs"
        )
        return ConfigError(f"model {config.model}: {remedy} ({first})")
    whole = f"{type(error).__name__}: {error}"
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, whole)), "")
    return ConfigError(f"model {config.model}: {remedy or 'it cannot be loaded'} ({first})")
