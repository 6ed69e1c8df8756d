"""What counts as a secret, and that it is nowhere to be seen."""

from __future__ import annotations

import pytest

from manifests.secrets import is_secret, masked, masked_words, secrets_in, without_secrets

SECRETS = [
    *(
        "token",
        "hf_token",
        "HF_TOKEN",
        "api_key",
        "apikey",
        "apiKey",
        "X-Api-Key",
        "key",
        "secret",
        "password",
    ),
    *("client_secret", "aws_secret_access_key", "Authorization", "accessToken", "credentials", "cookie"),
]
PLAIN = [
    *(
        "max_tokens",
        "eos_token",
        "pad_token",
        "image_token",
        "stop_token_ids",
        "skip_special_tokens",
        "tokens",
    ),
    *(
        "tokenizer",
        "api_key_env",
        "monkey",
        "keyframe",
        "num_key_value_heads",
        "max_num_batched_tokens",
        "model",
    ),
]


@pytest.mark.parametrize("name", SECRETS)
def test_what_opens_doors_is_a_secret(name):
    assert is_secret(name)
    assert masked({name: "hunter22"}) == {name: "…"}
    assert without_secrets({name: "hunter22", "a": [{name: "hunter22"}]}) == {"a": [{}]}


@pytest.mark.parametrize("name", PLAIN)
def test_what_a_model_reads_is_none(name):
    assert not is_secret(name)
    assert masked({name: "</s>"}) == {name: "</s>"}


def test_addresses_and_keys_are_known_by_how_they_look():
    values = {"url": "http://me:hunter22@host/v1", "text": f"use hf_{'a' * 20} there", "prompt": "key: value"}
    shown = masked(values)
    assert shown == {"url": "http://…@host/v1", "text": "use … there", "prompt": "key: value"}
    assert without_secrets(shown) == without_secrets(values)


def test_masking_twice_is_masking_once():
    values = {"engine_args": {"hf_token": "hunter22"}, "url": "http://me:pw@host"}
    assert masked(masked(values)) == masked(values)
    assert without_secrets(masked(values)) == {"engine_args": {}, "url": "http://host"}


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("engine.engine_args={hf_token: hunter22, a: 3}", "engine.engine_args={hf_token: …, a: 3}"),
        ('{"Authorization": "Bearer hunter22"}', '{"Authorization": …}'),
        ("render.password=hunter22", "render.password=…"),
        ("http://me:hunter22@host/v1", "http://…@host/v1"),
        ("engine.sampling.max_tokens=9", "engine.sampling.max_tokens=9"),
    ],
)
def test_what_was_typed_is_shown_without_its_secrets(typed, shown):
    assert masked_words(typed) == shown


def test_secrets_are_found_so_that_they_can_be_hidden():
    values = {"a": {"hf_token": "hunter22", "n": 3}, "url": "http://me:hunter33@host", "api_key": "EMPTY"}
    assert set(secrets_in(values)) == {"hunter22", "me:hunter33"}
