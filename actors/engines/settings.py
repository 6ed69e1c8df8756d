"""What an engine can be told. Read without any model library, so that a laptop can plan a GPU job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from results.fingerprint import CHANGES_RESULT, changes_result_if

MODELS = ("vllm", "transformers", "openai")
OF_MODELS = changes_result_if({"engine.kind": MODELS})
OF_VLLM = changes_result_if({"engine.kind": ["vllm"]})
OF_OPENAI = changes_result_if({"engine.kind": ["openai"]})
NOT_IDENTIFIED = {"engine.model_identity": [""]}
"""Where nothing more is known of a model than its name."""
TABLE_TOKENS = ("<table>", "</table>", "<tr>", "</tr>", "<th>", "</th>", "<td>", "</td>")


class Sampling(BaseModel):
    """How the model's answer is drawn and when it ends. Temperatures belong to the retry ladder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(4096, ge=1, description="Tokens after which an answer is cut (truncated).")
    min_tokens: int = Field(0, ge=0, description="Tokens before which an answer may not end.")
    top_p: float = Field(1.0, gt=0, le=1, description="Only the likeliest tokens of this share are drawn.")
    repetition_penalty: float = Field(1.0, gt=0, description="Above 1 tokens that occurred are unlikelier.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Texts that end an answer.")
    skip_special_tokens: bool = Field(True, description="Leave special tokens out of the text.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the sampling.")
    ngram_size: int = Field(
        0, ge=0, description="No run of so many tokens comes twice within ngram_window; 0: no guard."
    )
    ngram_window: int = Field(90, ge=1, description="Tokens the n-gram guard looks back.")
    ngram_whitelist: tuple[str, ...] = Field(
        TABLE_TOKENS, description="Tokens the n-gram guard lets pass, by name; unknown ones are left out."
    )
    stop_repetition: bool = Field(
        True, description="End an answer whose tail repeats itself over and over (finish_reason repetition)."
    )

    def at_most(self, tokens: int) -> Sampling:
        """The same for an answer of so many tokens at most; 0: as it is."""
        if not 0 < tokens < self.max_tokens:
            return self
        return self.model_copy(update={"max_tokens": tokens, "min_tokens": min(self.min_tokens, tokens)})


class VllmSettings(BaseModel):
    """What only the vllm engine is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="Share of a GPU's memory vLLM takes.")
    max_model_len: int | None = Field(
        None, ge=16, description="Tokens of prompt, images and answer; default: the model's own."
    )
    max_num_seqs: int = Field(64, ge=1, description="Pages one replica works on at once.")
    max_num_batched_tokens: int = Field(8192, ge=64, description="Tokens of one step over all pages.")
    kv_cache_dtype: str = Field(
        "auto",
        description="auto: fp8 where the card computes in it, else that of the weights.",
        json_schema_extra=OF_VLLM,
    )
    fp8_weights: bool = Field(
        False, description="Quantise the weights to FP8 while loading.", json_schema_extra=OF_VLLM
    )
    enforce_eager: bool = Field(False, description="No CUDA graphs: starts faster, runs slower.")
    mm_encoder_tp_mode: Literal["auto", "weights", "data"] = Field(
        "auto", description="How a GPU group shares the image encoder; auto: data, where the model can."
    )
    enable_prefix_caching: bool = Field(False, description="Of no use where every page is seen once.")
    mm_processor_cache_gb: float = Field(0.0, ge=0, description="Cache of preprocessed images, in GiB.")
    model_runner: Literal["auto", "v1", "v2"] = Field(
        "auto", description="vLLM's model runner; auto: v1 where the n-gram guard is on (v2 refuses it)."
    )


class TransformersSettings(BaseModel):
    """What only the transformers engine is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int | Literal["auto"] = Field(
        "auto", description="Pages per batch; auto: estimated from model and memory, then corrected."
    )
    device_map: str = Field("auto", description="Where layers go: auto, balanced, sequential or a device.")
    max_memory: str = Field(
        "", description="Memory per device for weights: cuda:0=21GiB,cpu=96GiB; empty: found by itself."
    )
    offload_folder: str = Field("", description="Folder for layers that fit no memory.")
    attn_implementation: str = Field("", description="sdpa, eager, flash_attention_2; empty: the model's.")
    preprocess_threads: int = Field(2, ge=1, description="Threads that prepare the next batch's images.")

    @field_validator("batch_size", mode="before")
    @classmethod
    def _is_auto_or_pages(cls, value: Any) -> Any:
        """In one sentence, where pydantic would tell of a number and of a word."""
        digits = str(value).strip()
        if value != "auto" and (isinstance(value, bool) or not digits.isdecimal() or not int(digits)):
            raise ValueError("must be auto, or a number of pages from 1 on")
        return value


class OpenAiSettings(BaseModel):
    """What only the openai engine is told. The API key comes from the environment alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server_urls: tuple[str, ...] = Field(
        (), description="OpenAI-compatible servers, like http://localhost:8000/v1; several share the load."
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the API key.")
    max_concurrency: int = Field(256, ge=1, description="Requests in flight per server, at most.")
    connect_timeout_s: float = Field(10.0, gt=0, description="How long connecting to a server may take.")
    outage_s: float = Field(
        600.0, ge=0, description="How long to wait for a server to come back when none answers."
    )
    attempts: int = Field(6, ge=1, description="Attempts at one request that a server refuses for now.")
    extra_body: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="More fields of each request, for what a server takes beyond.",
        json_schema_extra=OF_OPENAI,
    )


class EngineConfig(BaseModel):
    """Which engine reads, and with what. What an engine takes beyond these is in ``engine_args``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(
        "rapidocr",
        description="rapidocr (embedded), tesseract or auto (both) on CPUs; vllm (implied by a model), "
        "transformers, or openai (implied by a server); scripted for tests.",
        json_schema_extra=CHANGES_RESULT,
    )
    model: str = Field(
        "",
        description="Preset (deepseek-ocr, internvl3.5:2b; see 'pagefleet models list'), folder or hub id; "
        "empty: the engine's own.",
        json_schema_extra=changes_result_if(NOT_IDENTIFIED),
    )
    model_identity: str = Field(
        "",
        description="What the model is: the commit of a hub model, a digest of a folder; found by itself.",
        json_schema_extra=OF_MODELS,
    )
    preset: str = Field(
        "",
        description="Preset the settings come from; empty: found by the model.",
        json_schema_extra=OF_MODELS,
    )
    revision: str = Field(
        "",
        description="Revision of a hub model; empty: the preset's, else the newest when the job began.",
        json_schema_extra=changes_result_if({"engine.kind": MODELS, **NOT_IDENTIFIED}),
    )
    mode: str = Field(
        "",
        description="What the model is asked, by the preset: clean, grounded, …; empty: its default.",
        json_schema_extra=CHANGES_RESULT,
    )
    size: str = Field(
        "",
        description="How large the model sees a page, by the preset: tiny … gundam; empty: its default.",
        json_schema_extra=OF_MODELS,
    )
    prompt: str = Field(
        "",
        description="Instead of the preset's; <image> stands for the page.",
        json_schema_extra=CHANGES_RESULT,
    )
    subject: str = Field("", description="What a locate prompt looks for.", json_schema_extra=OF_MODELS)
    dialect: str = Field(
        "",
        description="How answers are written: plain, markdown, grounded; empty: by the preset's mode.",
        json_schema_extra=OF_MODELS,
    )
    prompt_format: Literal["chat", "raw"] = Field(
        "chat",
        description="chat: the model's chat template is put around the prompt; raw: nothing is.",
        json_schema_extra=OF_MODELS,
    )
    lang: str = Field(
        "",
        pattern=r"^([A-Za-z_]+(\+[A-Za-z_]+)*)?$",
        description="Languages for Tesseract by its codes: ell, deu+eng; empty: detected. Implies auto.",
        json_schema_extra=CHANGES_RESULT,
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="auto: GPUs for models, cores for OCR engines; cpu: a model on cores, slowly."
    )
    gpus: str = Field(
        "",
        coerce_numbers_to_str=True,
        description="GPUs of a local run, by number: 0,1; empty: all.",
    )
    tensor_parallel_size: int = Field(
        1, ge=1, description="GPUs in one replica's group; 1: more where the model does not fit one."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="Type of the weights; auto: bfloat16, float16 on cards without it.",
        json_schema_extra=OF_MODELS,
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")
    images_per_prompt: int = Field(1, ge=1, description="Images one prompt may hold.")
    max_tiles: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Tiles a page is cut into, at most (InternVL).",
        json_schema_extra=OF_MODELS,
    )
    processor_args: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments of the model's image processor.",
        json_schema_extra=OF_MODELS,
    )
    sampling: Sampling = Field(default_factory=Sampling, json_schema_extra=OF_MODELS)
    page_timeout_s: float = Field(
        900.0, gt=0, description="A page that takes longer ends its replica and is then read alone."
    )
    engine_args: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Passed on to the engine, names checked there.",
        json_schema_extra=CHANGES_RESULT,
    )
    vllm: VllmSettings = Field(default_factory=VllmSettings)
    transformers: TransformersSettings = Field(default_factory=TransformersSettings)
    openai: OpenAiSettings = Field(default_factory=OpenAiSettings)

    @property
    def model_name(self) -> str:
        """What rows call the model: a folder by its name, wherever it lies."""
        folder = Path(self.model).expanduser()
        return folder.name if folder.is_dir() else self.model

    @field_validator("gpus")
    @classmethod
    def _are_numbers(cls, value: str) -> str:
        numbers = [part.strip() for part in value.split(",")] if value.strip() else []
        if not all(number.isdecimal() for number in numbers) or len({*map(int, numbers)}) < len(numbers):
            raise ValueError("must be numbers of GPUs, each once, like 0,1")
        return ",".join(numbers)

    @model_validator(mode="before")
    @classmethod
    def _what_others_imply(cls, values: Any) -> Any:
        """Languages want an engine that uses them, a server's address one that asks it, a model one
        that loads it."""
        if not isinstance(values, dict) or values.get("kind"):
            return values
        servers = values.get("openai")
        if isinstance(servers, dict) and servers.get("server_urls"):
            return {**values, "kind": "openai"}
        if values.get("model") or values.get("preset"):
            return {**values, "kind": "vllm"}
        return {**values, "kind": "auto"} if values.get("lang") else values
