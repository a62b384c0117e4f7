"""One test a setting: what the engine would not follow is refused, training matters are dropped."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import CONFIG_FILE
from adapters_registry.validation import canonicalise
from tests.adapters_registry.adapters import RANKS, SHAPES, accept, refusal, write_adapter
from tests.stopwatch import cpu_time


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({"rank_pattern": {"q_proj": 4}}, "config_pattern_refused"),
        ({"alpha_pattern": {"(a+)+$": 4}}, "config_pattern_refused"),
        ({"use_dora": True}, "dora_unsupported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save_unsupported"),
        ({"bias": "all"}, "bias_unsupported"),
        ({"bias": "lora_only"}, "bias_unsupported"),
        ({"lora_bias": True}, "bias_unsupported"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "config_unsupported"),
        ({"alora_invocation_tokens": [1, 2]}, "config_unsupported"),
        ({"use_qalora": True}, "config_unsupported"),
        ({"use_bdlora": {"nblocks": 2}}, "config_unsupported"),
        ({"target_parameters": ["experts.down_proj"]}, "config_unsupported"),
        ({"trainable_token_indices": [1]}, "config_unsupported"),
        ({"arrow_config": {"top_k": 3}}, "config_unsupported"),
        ({"kasa_config": {"beta": 1}}, "config_unsupported"),
        ({"monteclora_config": {"num_samples": 8}}, "config_unsupported"),
        ({"init_lora_weights": "pissa"}, "config_unsupported"),
        ({"init_lora_weights": "pissa_niter_16"}, "config_unsupported"),
        ({"init_lora_weights": "olora"}, "config_unsupported"),
        ({"init_lora_weights": "corda"}, "config_unsupported"),
        ({"init_lora_weights": "loftq"}, "config_unsupported"),
        ({"init_lora_weights": ["pissa"]}, "config_unsupported"),
        ({"peft_type": "IA3"}, "config_unsupported"),
        ({"peft_type": None}, "config_unsupported"),
        ({"use_rslora": "yes"}, "config_invalid"),
        ({"base_model_name_or_path": ["tiny"]}, "config_invalid"),
        ({"r": None}, "config_invalid"),
        ({"r": "8"}, "config_invalid"),
        ({"r": True}, "config_invalid"),
        ({"r": 8.0}, "config_invalid"),
        ({"r": 32}, "rank_unsupported"),
        ({"r": -8}, "rank_unsupported"),
        ({"lora_alpha": None}, "config_invalid"),
        ({"lora_alpha": "16"}, "config_invalid"),
        ({"lora_alpha": True}, "config_invalid"),
        ({"lora_alpha": 0}, "config_invalid"),
        ({"lora_alpha": -1}, "config_invalid"),
        ({"lora_alpha": 1024.5}, "config_invalid"),
        ({"lora_alpha": 10**400}, "config_invalid"),
    ],
    ids=str,
)
def test_setting_that_the_engine_does_not_follow_is_refused(
    setting: dict[str, Any], code: str, tmp_path: Path
) -> None:
    error = refusal(write_adapter(tmp_path, config=setting))

    assert (error.code, error.param) == (code, *setting)
    assert f"{error.param} in {CONFIG_FILE} is " in error.message


@pytest.mark.parametrize(
    "setting",
    [
        {"rank_pattern": {}, "alpha_pattern": None},
        {"modules_to_save": None, "bias": "none", "use_dora": False},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "Gaussian"},
        {"init_lora_weights": False},
        {"layers_to_transform": [0], "layers_pattern": "layers"},
        {"exclude_modules": ["k_proj"], "target_modules": "(a|aa)+b"},
        {"task_type": "FEATURE_EXTRACTION"},
        {"base_model_name_or_path": "someone/else"},
        {"base_model_name_or_path": "../../etc/passwd"},
        {"base_model_name_or_path": None},
        {"a_setting_of_tomorrow": {"x": [1]}},
        {"lora_alpha": 1024},
    ],
    ids=str,
)
def test_setting_that_changes_nothing_is_accepted(setting: dict[str, Any], tmp_path: Path) -> None:
    assert accept(write_adapter(tmp_path, config=setting)).config.rank == 8


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"r": 8',
        b'{"r": 8, "r": 8, "lora_alpha": 16}',
        b'{"r": 8, "lora_alpha": NaN}',
        b'{"r": 8, "lora_alpha": Infinity}',
        b'{"r": 8, "lora_alpha": 1e999}',
        b'{"r": 8, "lora_alpha": 16, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"r": ' + b"9" * 10_000 + b', "lora_alpha": 16}',
        b'{"r": 8, "lora_alpha": 16, "x": "' + b"x" * (1 << 20) + b'"}',
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_config_that_is_not_plain_json_is_refused(raw: bytes, tmp_path: Path) -> None:
    (write_adapter(tmp_path) / CONFIG_FILE).write_bytes(raw)

    assert refusal(tmp_path).code == "config_invalid"


def test_refused_value_is_shown_but_not_at_length(tmp_path: Path) -> None:
    error = refusal(write_adapter(tmp_path, config={"peft_type": "\x1b[2J\u202e\x7f" + "x" * 9999}))

    assert error.message.startswith(
        'peft_type in adapter_config.json is "\\u001b[2J\\u202e\\u007fx'
    )
    assert len(error.message) < 300


FOREIGN = ("llama-8b", "meta/Llama-8B", "/srv/models/base-v1", "owner/tiny")


@pytest.mark.parametrize(
    "said",
    [
        "llama-8b",
        "LLAMA-8B",
        "meta/Llama-8B",
        "meta/llama-8b/",
        "mirror/Llama-8B",
        "/home/me/models/Llama-8B",
        "C:\\models\\llama-8b",
        "/srv/models/base-v1",
    ],
)
def test_adapter_trained_on_another_served_model_is_refused(said: str, tmp_path: Path) -> None:
    write_adapter(tmp_path, config={"base_model_name_or_path": said})

    with pytest.raises(InvalidAdapter) as caught:
        canonicalise(tmp_path, base_model="tiny", shapes=SHAPES, ranks=RANKS, foreign_bases=FOREIGN)

    error = caught.value
    assert (error.code, error.param) == ("base_model_mismatch", "base_model_name_or_path")
    assert json.dumps(said) in error.message
    assert "another model than tiny" in error.message


@pytest.mark.parametrize(
    "said",
    [
        "tiny",
        "someone/Tiny",
        "unsloth/llama-8b-bnb-4bit",
        "./base-v1",
        "out/v1",
        "",
        "/",
        "..",
        None,
    ],
)
def test_base_model_of_any_other_name_is_accepted(said: str | None, tmp_path: Path) -> None:
    write_adapter(tmp_path, config={"base_model_name_or_path": said})

    artifact = canonicalise(
        tmp_path, base_model="tiny", shapes=SHAPES, ranks=RANKS, foreign_bases=FOREIGN
    )

    assert artifact.version.base_model == "tiny"


def test_hostile_pattern_is_refused_without_running_it(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path, config={"rank_pattern": {"(" + "a" * 32 + "+)+$": 8}})

    with cpu_time() as watch:
        assert refusal(directory).code == "config_pattern_refused"
    assert watch.seconds < 0.1
