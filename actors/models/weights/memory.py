"""How much GPU memory a model wants, estimated from its headers and its config alone.

An estimate to plan by, from below: what an engine really takes it says when it loads. The weights and
the KV cache are arithmetic; what it needs besides is a rule, documented at ``overhead_bytes``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.engines.settings import EngineConfig
from actors.models.weights.cards import Card
from actors.models.weights.headers import Tensor
from actors.models.weights.report import GIB
from actors.models.weights.shape import ModelShape

CONTEXT_BYTES = GIB // 2
"""CUDA context, kernels, workspaces of cuBLAS: vLLM's "non-torch memory", mostly 0.1 to 0.6 GiB."""
NCCL_BYTES = GIB // 2
"""Buffers of a GPU group, on each of its GPUs."""
GRAPH_BYTES = GIB
"""CUDA graphs: "1~3 GiB" by vLLM's own log line at their capture; less for models of a few billions."""
ACTIVATION_BYTES = 2
LOGIT_BYTES = 4
LOGIT_COPIES = 3
"""Logits in float32, sorted, and as probabilities, while vLLM profiles its sampler."""
PATCHES_PER_TOKEN = 4
"""Patches the image encoder works on for one token of the prompt (2 × 2 merged, InternVL and Qwen)."""
VISION = re.compile(r"(^|\.)(vision|visual|sam_|image_|mlp1|projector|multi_modal)")
UNQUANTISED = re.compile(r"embed|lm_head|norm")
PAGE_TOKENS = 4096
"""A page by default: about 2,000 tokens of image (an A4 page at 150 dpi) and as many of text."""
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a model would be run: what changes its memory. Sizes as in ``VllmSettings``."""

    tensor_parallel: int = 1
    kv_bytes: int = 2
    fp8_weights: bool = False
    weight_dtype_bytes: int = 2
    max_len: int = 0
    """Tokens of the longest request; 0: the model's own."""
    batched_tokens: int = 8192
    max_seqs: int = 64
    eager: bool = False
    utilization: float = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on each GPU of a group, and what its KV cache can hold."""

    weights: int
    overhead: int
    budget: int
    """What the engine may take of the card."""
    kv_per_token: int
    needed_tokens: int
    """Tokens of the longest request, which must fit for an engine to start."""

    @property
    def kv_tokens(self) -> int:
        """Tokens the KV cache holds at once."""
        return max(0, self.budget - self.weights - self.overhead) // max(1, self.kv_per_token)

    @property
    def fits(self) -> bool:
        return self.kv_tokens >= max(1, self.needed_tokens)

    @property
    def needed(self) -> int:
        """Bytes that must be free for one request of full length."""
        return self.weights + self.overhead + self.needed_tokens * self.kv_per_token


def plan_of(config: EngineConfig, *, fp8_card: bool = False) -> MemoryPlan:
    """The plan of a configuration; ``fp8_card`` decides what an automatic KV cache type becomes."""
    settings = config.vllm
    fp8_cache = settings.kv_cache_dtype.startswith("fp8") or (
        settings.kv_cache_dtype == "auto" and fp8_card and config.kind == "vllm"
    )
    return MemoryPlan(
        tensor_parallel=config.tensor_parallel_size,
        kv_bytes=1 if fp8_cache else DTYPE_BYTES.get(config.dtype, 2),
        fp8_weights=settings.fp8_weights,
        weight_dtype_bytes=DTYPE_BYTES.get(config.dtype, 2),
        max_len=settings.max_model_len or 0,
        batched_tokens=settings.max_num_batched_tokens,
        max_seqs=settings.max_num_seqs,
        eager=settings.enforce_eager,
        utilization=settings.gpu_memory_utilization,
    )


def estimate(tensors: Iterable[Tensor], shape: ModelShape, plan: MemoryPlan, card_bytes: int) -> Estimate:
    """The memory of each GPU of a group, of cards with ``card_bytes``."""
    return Estimate(
        weights=weight_share(tensors, plan),
        overhead=overhead_bytes(shape, plan),
        budget=int(card_bytes * plan.utilization),
        kv_per_token=shape.kv_values_per_token(plan.tensor_parallel) * plan.kv_bytes,
        needed_tokens=plan.max_len or shape.max_len,
    )


def weight_share(tensors: Iterable[Tensor], plan: MemoryPlan) -> int:
    """Bytes of weights on each GPU of a group.

    Loading turns floating-point weights into the type the model runs in; packed ones stay as they are.
    The language model is divided; the image encoder stands whole on every GPU, as it does with
    ``mm_encoder_tp_mode`` data. FP8 quantisation while loading takes linear layers of the language
    model and leaves embeddings, head and norms.
    """
    total = 0.0
    for tensor in tensors:
        size = tensor.parameters * plan.weight_dtype_bytes if tensor.is_float else tensor.size
        if VISION.search(tensor.name):
            total += size
            continue
        if plan.fp8_weights and tensor.is_float and len(tensor.shape) > 1:
            size = size if UNQUANTISED.search(tensor.name) else tensor.parameters
        total += size / plan.tensor_parallel
    return int(total)


def overhead_bytes(shape: ModelShape, plan: MemoryPlan) -> int:
    """What a GPU needs besides weights and KV cache.

    vLLM measures it with one step at full width before it sizes the KV cache
    (``GPUWorker.determine_available_memory``). Of that step we count what is alive at its widest: two
    copies of the hidden state and gate, up and their product in the language model; likewise in the
    image encoder, which may have to fill a whole step with image tokens; the sampler's logits. To that
    come the CUDA context, the graphs and the group's buffers as constants.
    """
    alive = 2 * shape.hidden + 3 * shape.intermediate // plan.tensor_parallel
    seeing = 4 * shape.vision_hidden + 2 * shape.vision_intermediate
    text = plan.batched_tokens * alive * ACTIVATION_BYTES
    images = plan.batched_tokens * (PATCHES_PER_TOKEN * seeing + shape.hidden) * ACTIVATION_BYTES
    logits = plan.max_seqs * shape.vocab * LOGIT_BYTES * LOGIT_COPIES
    graphs = 0 if plan.eager else GRAPH_BYTES
    buffers = NCCL_BYTES if plan.tensor_parallel > 1 else 0
    return CONTEXT_BYTES + graphs + buffers + max(text, images) + logits


def divides(shape: ModelShape, tensor_parallel: int) -> bool:
    """Whether a group of this size can share the model: vLLM wants equal shares of attention heads."""
    return shape.heads % tensor_parallel == 0


def first_that_fits(
    tensors: Iterable[Tensor], shape: ModelShape, plan: MemoryPlan, cards: Sequence[Card]
) -> dict[str, str] | None:
    """Settings of the mildest change of a plan that fits these cards (alike); None where none does.

    Tried in this order, each with the ones before: shorter requests, a KV cache in FP8 where the cards
    compute in it, larger groups, weights in FP8. No settings: it fits as it is.
    """
    held = tuple(tensors)
    settings: dict[str, str] = {}
    for change, name, value in [({}, "", ""), *_changes(shape, plan, cards)]:
        plan = replace(plan, **change)
        if name:
            settings[name] = value
        if divides(shape, plan.tensor_parallel) and estimate(held, shape, plan, cards[0].total_bytes).fits:
            return settings
    return None


def _changes(
    shape: ModelShape, plan: MemoryPlan, cards: Sequence[Card]
) -> Iterator[tuple[dict[str, Any], str, str]]:
    longest = plan.max_len or shape.max_len
    for tokens in (4 * PAGE_TOKENS, 2 * PAGE_TOKENS):
        if tokens < longest or not longest:
            yield {"max_len": tokens}, "engine.vllm.max_model_len", str(tokens)
    if cards[0].computes_fp8 and plan.kv_bytes > 1:
        yield {"kv_bytes": 1}, "engine.vllm.kv_cache_dtype", "fp8"
    for group in (2, 4, 8):
        if plan.tensor_parallel < group <= len(cards) and divides(shape, group):
            yield {"tensor_parallel": group}, "engine.tensor_parallel_size", str(group)
    if cards[0].computes_fp8 and not plan.fp8_weights:
        yield {"fp8_weights": True}, "engine.vllm.fp8_weights", "true"
