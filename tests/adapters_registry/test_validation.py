"""One test a rule: what breaks it is refused with its own code, and plain adapters are accepted."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file as save_torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters_registry.digest import artifact_digest
from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig, Artifact
from adapters_registry.validation import canonicalise
from tests.adapters_registry.adapters import SHAPES, lora_tensors, write_adapter
from tests.stopwatch import cpu_time

Tensors = dict[str, np.ndarray]
Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Q_B = Q_A.replace("lora_A", "lora_B")


def accept(directory: Path, shapes: Any = SHAPES) -> Artifact:
    return canonicalise(directory, base_model="tiny", shapes=shapes, ranks=(4, 8, 16))


def refusal(directory: Path) -> InvalidAdapter:
    with pytest.raises(InvalidAdapter) as caught:
        accept(directory)
    assert caught.value.message.isprintable()
    assert str(directory) not in caught.value.message
    return caught.value


def config_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / CONFIG_FILE).read_bytes())


def test_plain_adapter_is_accepted_and_described(tmp_path: Path) -> None:
    artifact = accept(write_adapter(tmp_path))

    targets = ("down_proj", "q_proj", "v_proj")
    assert artifact.config == AdapterConfig(8, 16.0, targets, False)
    assert artifact.version.base_model == "tiny"
    assert artifact.directory == tmp_path
    assert artifact.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_config_is_replaced_by_one_canonical_line(tmp_path: Path) -> None:
    accept(write_adapter(tmp_path, config={"auto_mapping": {"x": "y"}, "revision": "main"}))

    assert (tmp_path / CONFIG_FILE).read_text() == (
        '{"base_model_name_or_path":"tiny","bias":"none","lora_alpha":16,"peft_type":"LORA",'
        '"r":8,"target_modules":["down_proj","q_proj","v_proj"],"task_type":"CAUSAL_LM",'
        '"use_rslora":false}'
    )


def test_digest_is_of_the_canonical_files(tmp_path: Path) -> None:
    artifact = accept(write_adapter(tmp_path))

    content = (tmp_path / CONFIG_FILE).read_bytes() + b"\0" + (tmp_path / WEIGHTS_FILE).read_bytes()
    assert artifact.version.digest == hashlib.sha256(content).hexdigest()
    assert artifact.version.digest == artifact_digest(tmp_path)


def test_same_weights_have_one_digest_however_the_config_was_written(tmp_path: Path) -> None:
    first = accept(write_adapter(tmp_path / "a", config={"lora_alpha": 16}))
    second = accept(write_adapter(tmp_path / "b", config={"lora_alpha": 16.0, "lora_dropout": 0.1}))

    assert first.version == second.version


def test_canonical_adapter_is_accepted_again_unchanged(tmp_path: Path) -> None:
    first = accept(write_adapter(tmp_path))

    assert accept(tmp_path) == first


def test_weights_stay_as_they_were_uploaded(tmp_path: Path) -> None:
    before = (write_adapter(tmp_path) / WEIGHTS_FILE).read_bytes()

    accept(tmp_path)

    assert (tmp_path / WEIGHTS_FILE).read_bytes() == before


def test_targets_come_from_the_tensors_and_not_from_the_config(tmp_path: Path) -> None:
    shapes = {name: SHAPES[name] for name in list(SHAPES)[:1]}
    directory = write_adapter(tmp_path, lora_tensors(shapes), config={"target_modules": ".*"})

    assert accept(directory).config.target_modules == ("q_proj",)


def test_rank_stabilised_scaling_is_kept(tmp_path: Path) -> None:
    artifact = accept(write_adapter(tmp_path, config={"use_rslora": True, "lora_alpha": 0.5}))

    assert artifact.config.use_rslora
    assert config_of(tmp_path)["lora_alpha"] == 0.5


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.replace(".weight", ".default.weight"),
    ],
    ids=["without PEFT's prefix", "with the adapter's name"],
)
def test_other_spellings_of_names_are_rewritten_and_values_kept(
    rename: Callable[[str], str], tmp_path: Path
) -> None:
    plain = lora_tensors(dtype=np.float16)
    directory = write_adapter(tmp_path, {rename(name): value for name, value in plain.items()})

    artifact = accept(directory)

    stored = load_file(directory / WEIGHTS_FILE)
    assert stored.keys() == plain.keys()
    assert all(np.array_equal(stored[name], plain[name]) for name in plain)
    assert artifact.version.digest == artifact_digest(directory)
    assert {path.name for path in directory.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_each_float_type_is_accepted(dtype: torch.dtype, tmp_path: Path) -> None:
    write_adapter(tmp_path)
    tensors = {name: torch.from_numpy(value) for name, value in lora_tensors().items()}
    save_torch({k: v.to(dtype) for k, v in tensors.items()}, tmp_path / WEIGHTS_FILE)

    assert accept(tmp_path).config.rank == 8


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_one_value_that_is_not_finite_is_refused(
    dtype: torch.dtype, value: float, tmp_path: Path
) -> None:
    write_adapter(tmp_path)
    tensors = {name: torch.from_numpy(v).to(dtype) for name, v in lora_tensors().items()}
    tensors[Q_B][-1, -1] = value
    save_torch(tensors, tmp_path / WEIGHTS_FILE)

    error = refusal(tmp_path)

    assert (error.code, error.param) == ("not_finite", Q_B)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_largest_and_smallest_finite_values_are_accepted(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    write_adapter(tmp_path)
    tensors = {name: torch.from_numpy(v).to(dtype) for name, v in lora_tensors().items()}
    limits = torch.finfo(dtype)
    tensors[Q_B][0, :3] = torch.tensor([limits.max, limits.min, limits.smallest_normal])
    save_torch(tensors, tmp_path / WEIGHTS_FILE)

    assert accept(tmp_path).config.rank == 8


def test_bad_value_is_found_behind_the_first_chunk(tmp_path: Path) -> None:
    shapes = {"lm_head": (64, (17 << 20) // (8 * 4))}
    tensors = lora_tensors(shapes)
    tensors["base_model.model.lm_head.lora_B.weight"][-1, -1] = np.nan

    with pytest.raises(InvalidAdapter, match="NaN"):
        accept(write_adapter(tmp_path, tensors), shapes)


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


@pytest.mark.parametrize(
    "setting",
    [
        {"rank_pattern": {}, "alpha_pattern": None},
        {"modules_to_save": None, "bias": "none", "use_dora": False},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"task_type": "FEATURE_EXTRACTION"},
        {"base_model_name_or_path": "someone/else"},
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


@pytest.mark.parametrize(
    ("file", "code"), [(CONFIG_FILE, "config_invalid"), (WEIGHTS_FILE, "safetensors_invalid")]
)
def test_missing_file_is_refused(file: str, code: str, tmp_path: Path) -> None:
    (write_adapter(tmp_path) / file).unlink()

    error = refusal(tmp_path)

    assert (error.code, error.param) == (code, file)


def with_matrix(name: str, shape: tuple[int, ...] = (8, 64)) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: np.ones(shape, np.float32)})


def transposed(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: np.ascontiguousarray(tensors[name].T)})


def without(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(name)


MODEL = "base_model.model.model."


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        (without(Q_A), "tensor_unpaired", Q_B),
        (without(Q_B), "tensor_unpaired", Q_A),
        (transposed(Q_A), "shape_mismatch", Q_A),
        (transposed(Q_B), "shape_mismatch", Q_B),
        (with_matrix(Q_A, (4, 64)), "shape_mismatch", Q_A),
        (with_matrix(Q_A, (16, 64)), "shape_mismatch", Q_A),
        (with_matrix(Q_A, (8, 32)), "shape_mismatch", Q_A),
        (with_matrix(Q_A, (512,)), "shape_mismatch", Q_A),
        (with_matrix(Q_A, (1, 8, 64)), "shape_mismatch", Q_A),
    ],
)
def test_tensors_that_do_not_fit_the_layers_are_refused(
    change: Callable[[Tensors], None], code: str, param: str, tmp_path: Path
) -> None:
    tensors = lora_tensors()
    change(tensors)

    error = refusal(write_adapter(tmp_path, tensors))

    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (Q_A.replace("layers.0", "layers.9"), "target_module_unknown"),
        (Q_A.replace("q_proj", "k_proj"), "target_module_unknown"),
        (Q_A.replace("model.layers", "layers"), "target_module_unknown"),
        ("base_model.model." + Q_A, "target_module_unknown"),
        (MODEL + "embed_tokens.lora_embedding_A", "target_module_unknown"),
        (MODEL + "embed_tokens.weight", "tensor_name"),
        (Q_A.removesuffix(".weight") + ".bias", "tensor_name"),
        (Q_A.replace("lora_A", "lora_magnitude_vector"), "tensor_name"),
        (Q_A.replace("lora_A", "lora_C"), "tensor_name"),
        (Q_A.replace("lora_A", "lora_a"), "tensor_name"),
        (Q_A.replace("lora_A", "lora_A.other"), "tensor_name"),
        ("lora_A.weight", "tensor_name"),
        (Q_A.removeprefix("base_model.model."), "tensor_name"),
        (Q_A.replace("lora_A", "lora_A.default"), "tensor_name"),
    ],
)
def test_tensor_that_is_no_matrix_of_a_known_layer_is_refused(
    name: str, code: str, tmp_path: Path
) -> None:
    shapes = {module: SHAPES[module] for module in list(SHAPES)[:2]}
    tensors = lora_tensors(shapes)
    with_matrix(name)(tensors)

    assert refusal(write_adapter(tmp_path, tensors)).code == code


def test_shape_message_says_what_came_and_what_is_expected(tmp_path: Path) -> None:
    tensors = lora_tensors()
    with_matrix(Q_A, (4, 64))(tensors)

    message = refusal(write_adapter(tmp_path, tensors)).message

    assert message == f"Tensor {Q_A} has shape [4, 64]; [8, 64] is expected."


def test_whole_number_tensors_are_refused(tmp_path: Path) -> None:
    assert refusal(write_adapter(tmp_path, lora_tensors(dtype=np.int8))).code == "dtype"


def test_hostile_pattern_is_refused_without_running_it(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path, config={"rank_pattern": {"(" + "a" * 32 + "+)+$": 8}})

    with cpu_time() as watch:
        assert refusal(directory).code == "config_pattern_refused"
    assert watch.seconds < 0.1


@pytest.fixture(scope="module")
def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 256}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads))


def test_adapter_written_by_peft_is_accepted(tmp_path: Path, tiny_llama: LlamaForCausalLM) -> None:
    shapes = {
        name: (module.in_features, module.out_features)
        for name, module in tiny_llama.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=8, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM")
    get_peft_model(tiny_llama, config).save_pretrained(tmp_path)

    artifact = accept(tmp_path, shapes)

    assert artifact.config == AdapterConfig(8, 32.0, tuple(sorted(targets)), False)
    with safe_open(tmp_path / WEIGHTS_FILE, framework="pt") as stored:
        assert len(list(stored.keys())) == 2 * 2 * len(targets)
