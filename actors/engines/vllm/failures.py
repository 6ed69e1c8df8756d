"""Why vLLM does not start, told from what it and its processes say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

LARGER = "a larger engine.tensor_parallel_size, or engine.vllm.fp8_weights=true"
FAILURES = (
    (
        r"KV cache is needed, which is larger than the available KV cache memory \((?P<free>[\d.]+) GiB\)\. "
        r".*estimated maximum model length is (?P<fits>\d+)",
        "{free} GiB of GPU memory are left for the KV cache, too little for the longest page: "
        "--set engine.vllm.max_model_len={fits}, or raise engine.vllm.gpu_memory_utilization, or take "
        + LARGER,
    ),
    (
        r"KV cache is needed, which is larger than the available|No available memory for the cache blocks",
        "no GPU memory is left for the KV cache: raise engine.vllm.gpu_memory_utilization, lower "
        "engine.vllm.max_model_len, or take " + LARGER,
    ),
    (
        r"(?:Free|Available) memory on .{1,40} \((?P<free>[\d.]+)/(?P<all>[\d.]+) GiB\) on startup is less",
        "others hold its memory ({free} of {all} GiB are free): end them, choose other GPUs (--gpus), or "
        "lower engine.vllm.gpu_memory_utilization",
    ),
    (
        r"No valid attention backend found for .*kv_cache_dtype=fp8",
        "no attention kernel for this model and card takes an FP8 KV cache: "
        "--set engine.vllm.kv_cache_dtype=bfloat16",
    ),
    (
        r"out of memory|OutOfMemoryError",
        "the GPU's memory does not hold it: lower engine.vllm.max_num_batched_tokens or "
        "engine.vllm.max_num_seqs, set engine.vllm.enforce_eager=true, or take " + LARGER,
    ),
    (
        r"max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len "
        r"\(max_position_embeddings=(?P<most>\d+)",
        "engine.vllm.max_model_len is {asked}, the model has {most}: --set engine.vllm.max_model_len={most}",
    ),
    (
        r"Model architectures (?P<names>\[.*?\]) are not supported",
        "vLLM does not know the architecture {names}: try --engine transformers, or a newer vLLM",
    ),
    (
        r"model type `(?P<name>[^`]*)` but Transformers does not recognize",
        "the model's type {name!r} is not known: check config.json, set engine.trust_remote_code=true if you "
        "trust the model's own code, or install a newer vLLM",
    ),
    (
        r"trust_remote_code=True",
        "the model comes with code of its own: --set engine.trust_remote_code=true if you trust it",
    ),
    (
        r"Cannot find any model weights|[Nn]o .{0,40}weights.{0,20} found",
        "its weights are missing: 'pagefleet models check' tells which",
    ),
    (
        r"GatedRepo|gated repo|401 Client Error|Access to model",
        "the hub refuses access: accept the model's licence on its page and set HF_TOKEN",
    ),
    (
        r"Repository Not Found|Repo id must be|Invalid repository ID|is not a valid model identifier",
        "there is no such folder and no such model on the hub: check engine.model",
    ),
    (
        r"outgoing traffic has been disabled|couldn't connect to|Cannot find an appropriate cached snapshot",
        "the hub cannot be reached and the model is not here: 'pagefleet models pull', or name its folder",
    ),
    (
        r"[Cc]an't load tokenizer|[Cc]ouldn't instantiate the backend tokenizer",
        "its tokenizer is missing or broken: 'pagefleet models check' tells which file",
    ),
    (
        r"[Cc]an't load (?:image |feature )?(?:processor|extractor)|preprocessor_config\.json",
        "its image processor is missing (preprocessor_config.json): 'pagefleet models pull'",
    ),
    (
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<size>\d+)\)",
        "its {heads} attention heads cannot be shared by {size} GPUs: choose an engine.tensor_parallel_size "
        "that divides {heads}",
    ),
    (
        r"World size \((?P<size>\d+)\) is larger than the number of available GPUs",
        "engine.tensor_parallel_size={size} wants more GPUs than this machine has",
    ),
    (
        r"Bfloat16 is only supported on GPUs",
        "this card does not compute in bfloat16: --set engine.dtype=float16",
    ),
    (
        r"quantization method (?P<name>\S+) is not supported for the current GPU|FP8.{0,60}not supported",
        "this card does not compute in FP8: leave engine.vllm.fp8_weights and engine.vllm.kv_cache_dtype out",
    ),
    (
        r"V2.{0,80}does not yet support|not a subclass of vllm\.v1\.worker\.gpu\.sample\.logits_processor",
        "vLLM's second model runner does not take this: --set engine.vllm.model_runner=v1",
    ),
    (
        r"Failed to infer device type|No CUDA GPUs are available|no NVIDIA driver",
        "there is no GPU: --set engine.device=cpu with a vLLM built for CPUs, or another --engine",
    ),
)
"""Patterns in what vLLM 0.32 and 0.33 say, the most telling first; what we say, and what would work."""
COLLISION = re.compile(
    r"Address already in use|EADDRINUSE|Text file busy|FileExistsError|torch_compile_cache.*(?:Errno|JSON)"
)
CHATTER = re.compile(r"\b(?:DEBUG|INFO|WARNING) \d\d-\d\d ")
"""A line of vLLM's log that is no error: it names settings, and memory that is not exhausted."""
CAUSE = re.compile(r"(?:^|[\s:\]])((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt)\b: .+)")
UNTELLING = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "See root cause above",
    "EngineDeadError",
)
NO_REASON = "it gave no reason, as when the system kills a process for want of memory"
MAX_CAUSE = 300


def explain(log_tail: Iterable[str]) -> str:
    """What we know of this failure, remedy included; empty for one we do not know."""
    text = "\n".join(_complaints(log_tail))
    for pattern, remedy in FAILURES:
        if match := re.search(pattern, text):
            return remedy.format(**match.groupdict())
    return ""


def is_collision(log_tail: Iterable[str]) -> bool:
    """Whether another engine that started at the same time may be the cause."""
    text = "\n".join(_complaints(log_tail))
    return not explain([text]) and COLLISION.search(text) is not None


def root_cause(log_tail: Iterable[str]) -> str:
    """The first error that says something, of lines with tracebacks in them."""
    causes = [match.group(1) for line in _complaints(log_tail) if (match := CAUSE.search(line))]
    telling = [cause for cause in causes if not any(words in cause for words in UNTELLING)]
    return (telling or causes or [NO_REASON])[0][:MAX_CAUSE]


def _complaints(log_tail: Iterable[str]) -> list[str]:
    lines = "\n".join(log_tail).splitlines()
    return [line for line in lines if line.strip() and not CHATTER.search(line)]
