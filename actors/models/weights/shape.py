"""What a model's config.json says that decides its memory, in whatever form the model was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT_SECTIONS = ("text_config", "llm_config", "language_config")
"""Where the language model stands: Transformers' own form, InternVL's custom code, DeepSeek's. Models
without such a section (Qwen2.5-VL as first published) have it at the top."""
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
"""By precedence, as in vLLM's ModelArchConfigConvertorBase.get_total_num_kv_heads."""
VISION_HIDDEN = ("embed_dim", "hidden_size", "width")
"""In the first Qwen2-VL ``hidden_size`` is what the encoder gives, ``embed_dim`` its own width."""
VIT_L_HIDDEN = 1024
"""Where the encoder's width is not told in numbers, as with DeepSeek-OCR, whose larger half is a ViT-L."""
LINEAR_ATTENTION = "linear_attention"


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a language model and of the image encoder before it.

    ``kv_layers`` are the layers whose KV cache grows with the text. ``latent_dim`` is what multi-head
    latent attention keeps of a token in place of keys and values; 0 for ordinary attention.
    """

    layers: int
    kv_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    latent_dim: int
    hidden: int
    intermediate: int
    vocab: int
    max_len: int
    vision_hidden: int
    vision_intermediate: int

    def kv_values_per_token(self, tensor_parallel: int) -> int:
        """Numbers one token leaves in the KV cache of each GPU of a group.

        Keys and values of each KV head and layer; heads are shared among the GPUs and repeated where
        there are fewer of them (vLLM's ModelConfig.get_num_kv_heads). Latent attention keeps one
        vector per token and layer, whole on every GPU (DeepSeek-V2, arXiv:2405.04434, 2.1).
        """
        if self.latent_dim:
            return self.kv_layers * self.latent_dim
        return 2 * self.kv_layers * max(1, self.kv_heads // tensor_parallel) * self.head_dim


def model_shape(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape in a parsed config.json; None where it names no layers or heads."""
    text = next((section for name in TEXT_SECTIONS if (section := _section(config, name))), config)
    vision = _section(config, "vision_config")
    layers, heads, hidden = (
        _size(text, name) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if not (layers and heads and hidden):
        return None
    kinds = text.get("layer_types")
    linear = kinds.count(LINEAR_ATTENTION) if isinstance(kinds, list) else 0
    vision_hidden = next((size for name in VISION_HIDDEN if (size := _size(vision, name))), VIT_L_HIDDEN)
    return ModelShape(
        layers=layers,
        kv_layers=max(0, layers - linear),
        heads=heads,
        kv_heads=next((size for name in KV_HEADS if (size := _size(text, name))), heads),
        head_dim=_size(text, "head_dim") or hidden // heads,
        latent_dim=_latent_dim(text),
        hidden=hidden,
        intermediate=_size(text, "intermediate_size") or 4 * hidden,
        vocab=_size(text, "vocab_size") or _size(config, "vocab_size"),
        max_len=_size(text, "max_position_embeddings") or _size(config, "max_position_embeddings"),
        vision_hidden=vision_hidden,
        vision_intermediate=_size(vision, "intermediate_size") or 4 * vision_hidden,
    )


def sees_images(config: Mapping[str, Any]) -> bool:
    """Whether the config speaks of an image encoder."""
    return any(name in config for name in ("vision_config", "vision_tower", "mm_vision_tower"))


def _latent_dim(text: Mapping[str, Any]) -> int:
    """DeepSeek-OCR is written in DeepSeek-V2's code with ``kv_lora_rank`` null: ordinary attention."""
    rank = _size(text, "kv_lora_rank")
    return rank + _size(text, "qk_rope_head_dim") if rank and text.get("use_mla", True) else 0


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _size(section: Mapping[str, Any], name: str) -> int:
    """A positive whole number, else 0: the file is somebody else's."""
    value = section.get(name)
    return value if type(value) is int and value > 0 else 0
