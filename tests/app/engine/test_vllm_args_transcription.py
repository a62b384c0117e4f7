"""What Whisper needs of vLLM is added to a catalog entry, which may set the rest."""

from typing import Any

import pytest
from vllm.platforms import current_platform

from app.catalog import LoraSpec, ModelSpec
from app.engine.base import EngineStartError
from app.engine.vllm_args_transcription import transcribing
from app.engine.whisper_rules import PROCESSOR


def spec(**fields: Any) -> ModelSpec:
    return ModelSpec(id="whisper", task="transcription", source="openai/whisper-base", **fields)


def test_rules_are_given_to_the_engine():
    assert transcribing(spec()).vllm["logits_processors"] == [PROCESSOR]


def test_the_catalog_wins_over_defaults():
    arguments = transcribing(spec(vllm={"max_num_seqs": 4, "dtype": "bfloat16"})).vllm
    assert (arguments["max_num_seqs"], arguments["dtype"]) == (4, "bfloat16")


def test_half_precision_is_left_to_devices_that_are_quick_at_it():
    is_set = "dtype" in transcribing(spec()).vllm
    assert is_set == current_platform.is_cpu()


def test_other_logits_processors_are_refused():
    with pytest.raises(EngineStartError, match="logits_processors"):
        transcribing(spec(vllm={"logits_processors": ["some:Thing"]}))


def test_adapters_are_refused():
    with pytest.raises(EngineStartError, match="whisper: lora"):
        transcribing(spec(lora=LoraSpec()))
