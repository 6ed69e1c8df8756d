"""What vLLM is told, and what is refused before it is started."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from vllm.tokenizers import cached_tokenizer_from_config

from actors.engines.settings import EngineConfig, Sampling
from actors.engines.vllm import start as vllm_start
from actors.engines.vllm.arguments import NGRAM_GUARD, check_engine_args, engine_arguments
from actors.engines.vllm.engine import VllmEngine
from actors.engines.vllm.failures import explain, is_collision, root_cause
from actors.engines.vllm.prompts import PromptWriter
from actors.engines.vllm.sampling import sampling_params
from actors.engines.vllm.start import create_config
from manifests.errors import ConfigError, EngineDead, EngineError
from tests.engines.tiny_reader.model import MODEL

INTERNVL = ("InternVLForConditionalGeneration",)


def config(**fields: Any) -> EngineConfig:
    return EngineConfig.model_validate({"kind": "vllm", "model": str(MODEL), "device": "cpu", **fields})


def test_every_setting_of_ours_reaches_vllm() -> None:
    given = config(
        revision="abc",
        tensor_parallel_size=2,
        dtype="float16",
        max_tiles=6,
        images_per_prompt=3,
        processor_args={"min_patches": 2},
        sampling={"ngram_size": 30, "seed": 5},
        vllm={
            "max_num_seqs": 200,
            "max_num_batched_tokens": 100,
            "kv_cache_dtype": "fp8",
            "fp8_weights": True,
            "mm_processor_cache_gb": 1.5,
        },
        engine_args={"block_size": 32, "limit_mm_per_prompt": {"video": 1}},
    )
    found = engine_arguments(given, INTERNVL)
    expected = {
        "model": str(MODEL),
        "revision": "abc",
        "tensor_parallel_size": 2,
        "distributed_executor_backend": "mp",
        "mm_encoder_tp_mode": "data",
        "dtype": "float16",
        "max_model_len": None,
        "max_num_seqs": 200,
        "max_num_batched_tokens": 200,
        "kv_cache_dtype": "fp8",
        "quantization": "fp8_per_channel",
        "mm_processor_kwargs": {"min_patches": 2, "max_patches": 6},
        "limit_mm_per_prompt": {"image": 3, "video": 1, "audio": 0},
        "logits_processors": [NGRAM_GUARD],
        "mm_processor_cache_gb": 1.5,
        "enable_prefix_caching": False,
        "seed": 5,
        "block_size": 32,
        "trust_remote_code": False,
    }
    assert {name: getattr(found, name) for name in expected} == expected


def test_one_card_without_wishes_gets_defaults_of_its_own() -> None:
    found = engine_arguments(config(), INTERNVL)
    assert found.mm_encoder_tp_mode == "weights" and found.distributed_executor_backend is None
    assert found.kv_cache_dtype == "auto" and found.quantization is None and found.logits_processors is None
    assert found.gpu_memory_utilization == 0.5  # of a machine without a GPU


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("block_sise", 16, "vLLM has no such argument; did you mean block_size?"),
        ("max_num_seqs", 8, "set engine.vllm.max_num_seqs in its place"),
        ("mm_processor_kwargs", {}, "set engine.processor_args in its place"),
        ("cpu_offload_gb", "4", "must be a valid number, got '4'"),
        ("async_scheduling", "no", "must be a valid boolean, got 'no'"),
        ("compilation_config", {"moed": 3}, "unexpected keyword argument, got 3"),
        ("logits_processors", ["no.such.module:Guard"], "No module named 'no'"),
        ("logits_processors", ["json:Guard"], "must be like package.module:ClassName"),
        ("limit_mm_per_prompt", {"image": 2}, "set engine.images_per_prompt in its place"),
    ],
)
def test_an_argument_vllm_would_not_take_or_ignore_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_engine_args(config(engine_args={name: value}))
    assert str(caught.value).startswith(f"engine.engine_args.{name}")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("attention_backend", "FLASH_ATTN"), ("cpu_offload_gb", 4), ("hf_overrides", {"a": {"b": 1}})],
)
def test_an_argument_vllm_takes_is_left_alone(name: str, value: Any) -> None:
    check_engine_args(config(engine_args={name: value}))


def test_quantization_is_vllms_business_until_ours_asks_for_it() -> None:
    check_engine_args(config(engine_args={"quantization": "awq"}))
    with pytest.raises(ConfigError, match=r"set engine\.vllm\.fp8_weights in its place"):
        check_engine_args(config(engine_args={"quantization": "awq"}, vllm={"fp8_weights": True}))


def test_tiles_are_for_models_that_cut_images() -> None:
    with pytest.raises(ConfigError, match=r"engine\.max_tiles: Qwen3VLForConditionalGeneration cuts no"):
        engine_arguments(config(max_tiles=6), ("Qwen3VLForConditionalGeneration",))


def test_the_second_model_runner_refuses_the_guard() -> None:
    with pytest.raises(ConfigError, match=r"engine\.vllm\.model_runner: v2 takes no n-gram guard"):
        VllmEngine(config(vllm={"model_runner": "v2"}, sampling={"ngram_size": 30}))


def test_a_gpu_must_be_there_unless_cores_are_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"vLLM finds no GPU here: --set engine\.device=cpu"):
        VllmEngine(config(device="auto"))


@pytest.mark.parametrize(
    ("changed", "settings", "message"),
    [
        ({"architectures": ["FooForBar"]}, {}, r"does not know the architecture \['FooForBar'\]"),
        ({"model_type": "foo_bar"}, {}, "the model's type 'foo_bar' is not known"),
        ({}, {"max_model_len": 99_999}, "engine.vllm.max_model_len is 99999, the model has"),
    ],
)
def test_a_model_vllm_cannot_load_is_told_before_a_process_starts(
    changed: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changed))
    with pytest.raises(ConfigError, match=message):
        VllmEngine(config(model=str(folder), vllm=settings))


STRING_TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
PART_TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<IMG_CONTEXT>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}[assistant]"
)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a writer for the tiny reader with another chat template."""

    def make(template: str, prompt_format: str = "chat") -> PromptWriter:
        folder = tmp_path_factory.mktemp("model") / "model"
        shutil.copytree(MODEL, folder)
        (folder / "chat_template.jinja").unlink()
        if template:
            (folder / "chat_template.jinja").write_text(template)
        model = create_config(engine_arguments(config(model=str(folder)), INTERNVL)).model_config
        return PromptWriter(model, cached_tokenizer_from_config(model), prompt_format)

    return make


@pytest.mark.parametrize(
    ("template", "prompt_format", "prompt", "text"),
    [
        (PART_TEMPLATE, "chat", "<image>\nRead.", "[user]<IMG_CONTEXT>\nRead.[assistant]"),
        (PART_TEMPLATE, "chat", "Read.", "[user]<IMG_CONTEXT>\nRead.[assistant]"),
        (PART_TEMPLATE, "chat", "Read:\n<image>", "[user]Read:<IMG_CONTEXT>\n[assistant]"),
        (STRING_TEMPLATE, "chat", "<image>\nRead.", "[user]<IMG_CONTEXT>\nRead.[assistant]"),
        (STRING_TEMPLATE, "chat", "Read.", "[user]<IMG_CONTEXT>\nRead.[assistant]"),
        ("", "raw", "<image>Read.", "<IMG_CONTEXT>Read."),
        ("", "raw", "", "<IMG_CONTEXT>"),
    ],
)
def test_a_prompt_is_written_as_the_model_learned_it(
    template: str, prompt_format: str, prompt: str, text: str, writer: Any
) -> None:
    assert writer(template, prompt_format).text(prompt, 1) == text


def test_images_keep_their_places_in_a_prompt(writer: Any) -> None:
    expected = "[user]Is <IMG_CONTEXT> like <IMG_CONTEXT>?[assistant]"
    assert writer(STRING_TEMPLATE).text("Is <image> like <image>?", 2) == expected


def test_a_prompt_may_not_hold_the_models_own_image_token(writer: Any) -> None:
    with pytest.raises(EngineError, match="own image token <IMG_CONTEXT>: write <image> instead"):
        writer(PART_TEMPLATE).text("<image>What is <IMG_CONTEXT>?", 1)


def test_a_chat_needs_a_template(writer: Any) -> None:
    with pytest.raises(ConfigError, match=r"no chat template: --set engine\.prompt_format=raw"):
        writer("")


def test_a_draw_is_seeded_and_a_greedy_answer_is_not_slowed_by_it() -> None:
    greedy = sampling_params(Sampling(stop_repetition=False), 0.0, None)
    drawn = sampling_params(Sampling(seed=7, stop=("END",), min_tokens=3), 0.5, {"ngram_size": 3})
    assert (greedy.seed, greedy.repetition_detection) == (None, None)
    assert (drawn.seed, drawn.stop, drawn.min_tokens, drawn.temperature) == (7, ["END"], 3, 0.5)
    assert drawn.extra_args == {"ngram_size": 3} and drawn.repetition_detection is not None


SAID = [
    (
        "ValueError: To serve at least one request with the model's max seq len (128000), (15.6 GiB KV cache "
        "is needed, which is larger than the available KV cache memory (2.1 GiB). Based on the available "
        "memory, the estimated maximum model length is 17232. Try increasing",
        "2.1 GiB of GPU memory are left for the KV cache, too little for the longest page: "
        "--set engine.vllm.max_model_len=17232",
    ),
    (
        "ValueError: Free memory on device cuda:0 (3.2/22.0 GiB) on startup is less than desired GPU memory",
        "others hold its memory (3.2 of 22.0 GiB are free)",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "larger engine.tensor_parallel",
    ),
    ("ValueError: Bfloat16 is only supported on GPUs with compute capability", "--set engine.dtype=float16"),
    ("RuntimeError: Failed to infer device type, please set", "there is no GPU"),
    (
        "Value error, Total number of attention heads (10) must be divisible by tensor parallel size (4).",
        "its 10 attention heads cannot be shared by 4 GPUs",
    ),
]


@pytest.mark.parametrize(("said", "told"), SAID)
def test_a_failure_vllm_is_known_for_comes_with_what_would_work(said: str, told: str) -> None:
    log = "(EngineCore pid=7) ERROR 11-21 09:02:20 [core.py:1510] "
    assert told in explain(["INFO 11-21 09:00:00 [x.py:1] trust_remote_code=True", log + said])


def test_a_setting_in_vllms_log_is_no_failure() -> None:
    log = ["(EngineCore pid=7) INFO 11-21 09:02:20 [core.py:1] trust_remote_code=True, CUDA out of memory"]
    assert explain(log) == "" and not is_collision(log)


def test_the_root_cause_is_the_first_error_that_says_something() -> None:
    log = "(EngineCore pid=7) ERROR 11-21 09:02:20 [core.py:1510] "
    cause = "KeyError: 'model.layers.0.mlp.gate_up.weight'"
    heard = [
        log + "Traceback (most recent call last):",
        log + cause,
        "RuntimeError: Engine core initialization failed",
    ]
    assert root_cause(heard) == cause
    assert root_cause(["Loading weights: 100%"]).startswith("it gave no reason")


@pytest.mark.parametrize(
    ("said", "error", "starts"),
    [
        ("zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:5000')", None, 3),
        ("torch.OutOfMemoryError: CUDA out of memory.", ConfigError, 1),
        ("KeyError: 'weight'", EngineDead, 1),
    ],
)
def test_only_a_collision_with_another_start_is_tried_again(
    said: str, error: type[Exception] | None, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fail_twice(settings: Any, arguments: Any) -> Any:
        seen.append(settings)
        if len(seen) == 3:
            return "the engine"
        os.write(2, f"(EngineCore pid=7) ERROR 11-21 09:02:20 [core.py:1] {said}\n".encode())
        raise RuntimeError("Engine core initialization failed. See root cause above.")

    monkeypatch.setattr(vllm_start, "_start", fail_twice)
    monkeypatch.setattr(vllm_start, "BACKOFF_S", 0.0)
    arguments = engine_arguments(config(), INTERNVL)
    if error is None:
        assert vllm_start.start("settings", arguments)[0] == "the engine"
    else:
        with pytest.raises(error, match=f"vLLM cannot load {MODEL}"):
            vllm_start.start("settings", arguments)
    assert len(seen) == starts
