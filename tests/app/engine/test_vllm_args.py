"""From catalog entries to engine arguments."""

from pathlib import Path
from typing import Any

import pytest

from app.catalog import LoraSpec, ModelSpec, RerankingSpec
from app.engine.base import EngineStartError
from app.engine.vllm_args import (
    CPU_KV_CACHE_BYTES,
    CPU_POOLING_KV_CACHE_BYTES,
    build_engine_args,
    engine_arguments,
)


def _spec(vllm: dict[str, Any] | None = None, **changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "id": "base",
        "task": "chat",
        "source": "org/model",
        "revision": "abc",
        "context_window": 512,
        "max_completion_tokens": 128,
        "vllm": vllm or {},
    }
    return ModelSpec(**{**values, **changes})


def test_the_entrys_fields_become_vllms():
    lora = LoraSpec(ranks=(8,), max_loras=3, max_cpu_loras=9, max_lora_rank=32)
    arguments = engine_arguments(_spec(lora=lora))
    expected = {
        "model": "org/model",
        "revision": "abc",
        "served_model_name": "base",
        "max_model_len": 512,
        "enable_lora": True,
        "max_loras": 3,
        "max_cpu_loras": 9,
        "max_lora_rank": 32,
        "scheduling_policy": "priority",
        "enable_prefix_caching": True,
        "trust_remote_code": False,
    }
    assert expected.items() <= arguments.items()


def test_no_lora_block_means_no_lora():
    arguments = engine_arguments(_spec())
    assert arguments["enable_lora"] is False
    assert "max_loras" not in arguments


def test_the_vllm_block_passes_through_and_wins_over_our_defaults():
    arguments = engine_arguments(_spec({"dtype": "float32", "kv_cache_memory_bytes": 5}))
    assert arguments["dtype"] == "float32"
    assert arguments["kv_cache_memory_bytes"] == 5


def test_the_cpu_gets_a_small_kv_cache_unless_told():
    assert engine_arguments(_spec())["kv_cache_memory_bytes"] == CPU_KV_CACHE_BYTES


def test_constrained_decoding_is_compact_and_of_one_backend_unless_told():
    arguments = engine_arguments(_spec())
    decoding = {"backend": "xgrammar", "disable_any_whitespace": True}
    assert arguments["structured_outputs_config"] == decoding
    told = engine_arguments(_spec({"structured_outputs_config": {"disable_any_whitespace": False}}))
    assert told["structured_outputs_config"] == {**decoding, "disable_any_whitespace": False}


def test_a_setting_that_must_be_a_mapping_says_so():
    with pytest.raises(EngineStartError, match=r"base: vllm\.structured_outputs_config"):
        engine_arguments(_spec({"structured_outputs_config": "xgrammar"}))


def test_an_unknown_argument_is_named_with_the_nearest_known_one():
    with pytest.raises(EngineStartError, match=r"base: vllm\.max_num_seq .*max_num_seqs\?"):
        engine_arguments(_spec({"max_num_seq": 4}))


@pytest.mark.parametrize("value", [True, False])
def test_remote_code_cannot_be_asked_for(value: bool):
    with pytest.raises(EngineStartError, match="trust_remote_code is refused"):
        engine_arguments(_spec({"trust_remote_code": value}))


@pytest.mark.parametrize("name", ["max_model_len", "served_model_name", "revision"])
def test_what_the_catalog_sets_itself_cannot_be_set_twice(name: str):
    with pytest.raises(EngineStartError, match=rf"vllm\.{name} is set by the catalog"):
        engine_arguments(_spec({name: 1}))


def test_vllms_own_refusal_names_the_model(tiny_model: Path):
    spec = _spec({"compilation_config": {"no_such_key": 1}}, source=str(tiny_model))
    with pytest.raises(EngineStartError, match="model base: vLLM refuses its arguments"):
        build_engine_args(spec)


@pytest.mark.parametrize("task", ["embedding", "reranking"])
def test_a_model_that_pools_runs_as_one_and_leaves_its_caching_to_vllm(task: str):
    arguments = engine_arguments(_spec(task=task, context_window=None))
    assert arguments["runner"] == "pooling"
    assert arguments["max_model_len"] is None
    assert arguments["kv_cache_memory_bytes"] == CPU_POOLING_KV_CACHE_BYTES
    assert not {"enable_prefix_caching", "convert", "hf_overrides"} & arguments.keys()


def test_a_language_model_that_reranks_becomes_a_classifier_of_its_two_answers():
    reranking = RerankingSpec(answers=("no", "yes"))
    told = {"hf_overrides": {"rope_theta": 5, "method": "other"}}
    arguments = engine_arguments(_spec(told, task="reranking", reranking=reranking))
    assert arguments["convert"] == "classify"
    assert arguments["hf_overrides"] == {
        "rope_theta": 5,
        "classifier_from_token": ["no", "yes"],
        "method": "from_2_way_softmax",
    }


def test_the_runner_of_a_model_that_pools_cannot_be_set_twice():
    with pytest.raises(EngineStartError, match=r"vllm\.runner is set by the catalog"):
        engine_arguments(_spec({"runner": "generate"}, task="embedding"))
