"""Adapters as training tools write them: PEFT itself, and the settings that others add.

Each accepted one, made canonical and loaded again, computes what the trained model computed.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from adapters_registry.types import WEIGHTS_FILE, LinearShapes
from tests.adapters_registry.adapters import accept, refusal, write_adapter
from tests.adapters_registry.trainer_configs import CONFIGS

TOKENS = torch.arange(12).reshape(2, 6)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYER = "layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def base() -> LlamaForCausalLM:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 256}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()


@pytest.fixture(scope="module")
def shapes(base: LlamaForCausalLM) -> LinearShapes:
    return {
        name: (module.in_features, module.out_features)
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }


def train(model: PreTrainedModel, **settings: Any) -> PeftModel:
    """Return a model whose adapter is random, as if trained; the given one stays as it is."""
    chosen = {"r": 8, "target_modules": ["q_proj"], "init_lora_weights": False, **settings}
    with torch.random.fork_rng(), warnings.catch_warnings():
        # Advice of PEFT about unusual settings, which are the point here.
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        return get_peft_model(copy.deepcopy(model), LoraConfig(**chosen)).eval()


def save(model: PeftModel, directory: Path, **settings: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(str(directory), **settings)
    assert (directory / WEIGHTS_FILE).is_file()
    return directory


def load(base: LlamaForCausalLM, directory: Path) -> PeftModel:
    with warnings.catch_warnings():
        # Layers that were not trained have no tensors; PEFT leaves them without effect.
        warnings.filterwarnings("ignore", "Found missing adapter keys")
        return PeftModel.from_pretrained(copy.deepcopy(base), str(directory))


def hidden(model: torch.nn.Module) -> torch.Tensor:
    """Return what the decoder computes, also where the model has no output head."""
    with torch.inference_mode():
        return model(TOKENS, output_hidden_states=True).hidden_states[-1]


ACCEPTED: dict[str, dict[str, Any]] = {
    "a list of targets": {"target_modules": ALL, "lora_alpha": 32},
    "all-linear": {"target_modules": "all-linear"},
    "a pattern of targets": {"target_modules": r".*\.(q|down)_proj"},
    "PEFT's own targets": {"target_modules": None},
    "rank-stabilised": {"use_rslora": True, "r": 16, "lora_alpha": 4},
    "some layers only": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "one layer as a number": {"layers_to_transform": 0},
    "some modules excluded": {"target_modules": "all-linear", "exclude_modules": ["k_proj"]},
    "drop-out": {"lora_dropout": 0.1},
    "fan-in": {"fan_in_fan_out": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "fractional alpha": {"lora_alpha": 0.75},
}


@pytest.mark.parametrize("settings", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_adapter_of_peft_computes_the_same_in_canonical_form(
    settings: dict[str, Any], base: LlamaForCausalLM, shapes: LinearShapes, tmp_path: Path
) -> None:
    trained = train(base, task_type="CAUSAL_LM", **settings)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))

    artifact = accept(save(trained, tmp_path), shapes)

    again = load(base, artifact.directory)
    assert torch.equal(hidden(again), hidden(trained))
    assert not torch.allclose(hidden(again), hidden(base), atol=1e-3)


def test_adapter_of_a_model_without_its_head_computes_the_same(
    base: LlamaForCausalLM, shapes: LinearShapes, tmp_path: Path
) -> None:
    trained = train(base.model, target_modules="all-linear")

    artifact = accept(save(trained, tmp_path), shapes)

    again = load(base, artifact.directory)
    assert torch.equal(hidden(again), hidden(trained))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_adapter_in_each_float_type_of_training_is_accepted(
    dtype: torch.dtype, base: LlamaForCausalLM, shapes: LinearShapes, tmp_path: Path
) -> None:
    trained = train(base, target_modules=ALL).to(dtype)

    assert accept(save(trained, tmp_path), shapes).config.target_modules == tuple(sorted(ALL))


def test_resized_vocabulary_is_accepted_where_the_embeddings_are_left_out(
    base: LlamaForCausalLM, shapes: LinearShapes, tmp_path: Path
) -> None:
    trained = train(base)
    trained.resize_token_embeddings(300)

    assert accept(save(trained, tmp_path, save_embedding_layers=False), shapes).config.rank == 8


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an embedding": ({"target_modules": ["q_proj", "embed_tokens"]}, "embeddings_unsupported"),
    "the output head": ({"target_modules": ["q_proj", "lm_head"]}, "embeddings_unsupported"),
    "modules saved whole": ({"modules_to_save": ["lm_head"]}, "modules_to_save_unsupported"),
    "DoRA": ({"use_dora": True}, "dora_unsupported"),
    "biases": ({"bias": "lora_only"}, "bias_unsupported"),
    "a bias of B": ({"lora_bias": True}, "bias_unsupported"),
    "ranks by layer": ({"rank_pattern": {LAYER: 4}}, "config_pattern_refused"),
    "alphas by layer": ({"alpha_pattern": {LAYER: 4}}, "config_pattern_refused"),
    "repeated layers": ({"layer_replication": [(0, 2), (1, 2)]}, "config_unsupported"),
    "single tokens": ({"trainable_token_indices": [1, 2]}, "config_unsupported"),
    "activated LoRA": (
        {"alora_invocation_tokens": [1], "task_type": "CAUSAL_LM"},
        "config_unsupported",
    ),
    "PiSSA": ({"init_lora_weights": "pissa"}, "config_unsupported"),
    "OLoRA": ({"init_lora_weights": "olora"}, "config_unsupported"),
    "another rank": ({"r": 7}, "rank_unsupported"),
}


@pytest.mark.parametrize(("settings", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_peft_can_train_and_the_engine_not_is_refused(
    settings: dict[str, Any],
    code: str,
    base: LlamaForCausalLM,
    shapes: LinearShapes,
    tmp_path: Path,
) -> None:
    assert refusal(save(train(base, **settings), tmp_path), shapes).code == code


def test_embeddings_that_peft_saves_besides_are_refused_with_advice(
    base: LlamaForCausalLM, shapes: LinearShapes, tmp_path: Path
) -> None:
    trained = train(base, target_modules="all-linear")

    error = refusal(save(trained, tmp_path, save_embedding_layers=True), shapes)

    assert error.code == "embeddings_unsupported"
    assert "save_embedding_layers=False" in error.message


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS.keys())
def test_config_of_each_training_tool_is_accepted(settings: dict[str, Any], tmp_path: Path) -> None:
    rank = settings["r"]

    artifact = accept(write_adapter(tmp_path, rank=rank, config=settings))

    assert artifact.config.rank == rank
    assert artifact.config.alpha == settings["lora_alpha"]
    assert artifact.config.use_rslora is bool(settings.get("use_rslora"))
