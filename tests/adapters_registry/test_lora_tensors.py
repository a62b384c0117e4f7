"""Tensors: each known spelling is read, and whatever does not fit the base model is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file as save_torch

from adapters_registry.types import WEIGHTS_FILE
from tests.adapters_registry.adapters import (
    Q_A,
    Q_B,
    SHAPES,
    accept,
    lora_tensors,
    refusal,
    write_adapter,
)

Tensors = dict[str, np.ndarray]


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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("dtype", "edge"),
    [(torch.bfloat16, 65280.0), (torch.float16, 65504.0), (torch.float32, 65504.0)],
)
def test_values_of_half_precision_are_accepted_to_the_last(
    dtype: torch.dtype, edge: float, sign: int, tmp_path: Path
) -> None:
    smallest = torch.finfo(dtype).smallest_normal
    write_adapter(tmp_path, config={"lora_alpha": 8})
    write_weights(tmp_path, dtype, Q_B, [edge * sign, smallest * sign, smallest / 2])

    assert accept(tmp_path).config.rank == 8


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.float32, 65504.004),
        (torch.float32, 3e38),
        (torch.bfloat16, 65536.0),
        (torch.bfloat16, 3e38),
    ],
)
def test_value_that_half_precision_cannot_hold_is_refused(
    dtype: torch.dtype, value: float, sign: int, tmp_path: Path
) -> None:
    write_adapter(tmp_path, config={"lora_alpha": 8})
    write_weights(tmp_path, dtype, Q_A, [value * sign])

    error = refusal(tmp_path)

    assert (error.code, error.param) == ("value_range", Q_A)
    assert "at most 65,504 is expected" in error.message


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("settings", "fits", "too_large"),
    [
        ({"lora_alpha": 1024}, 510.0, 514.0),
        ({"lora_alpha": 16, "use_rslora": True}, 11520.0, 11648.0),
        ({"lora_alpha": 1}, 65280.0, None),
    ],
    ids=str,
)
def test_scaled_b_must_fit_half_precision_as_well(
    dtype: torch.dtype,
    settings: dict[str, object],
    fits: float,
    too_large: float | None,
    tmp_path: Path,
) -> None:
    write_adapter(tmp_path, config=settings)
    write_weights(tmp_path, dtype, Q_B, [fits])
    accept(tmp_path)
    if too_large is not None:
        write_adapter(tmp_path, config=settings)
        write_weights(tmp_path, dtype, Q_B, [-too_large])
        assert refusal(tmp_path).code == "value_range"


def write_weights(directory: Path, dtype: torch.dtype, name: str, row: list[float]) -> None:
    """Write plain weights, but for the first values of one tensor."""
    tensors = {key: torch.from_numpy(value).to(dtype) for key, value in lora_tensors().items()}
    tensors[name][0, : len(row)] = torch.tensor(row)
    save_torch(tensors, directory / WEIGHTS_FILE)


def test_bad_value_is_found_behind_the_first_chunk(tmp_path: Path) -> None:
    shapes = {"lm_head": (64, (17 << 20) // (8 * 4))}
    tensors = lora_tensors(shapes)
    tensors["base_model.model.lm_head.lora_B.weight"][-1, -1] = np.nan

    assert refusal(write_adapter(tmp_path, tensors), shapes).code == "not_finite"


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
        (Q_A.replace("model.layers.0", "transformer.h.0"), "target_module_unknown"),
        (Q_A.replace("model.layers", "model.vision_tower.layers"), "target_module_unknown"),
        ("base_model.model." + Q_A, "target_module_unknown"),
        (Q_A.replace("q_proj", "q_proj.base_layer"), "target_module_unknown"),
        (MODEL + "embed_tokens.lora_embedding_A", "embeddings_unsupported"),
        (MODEL + "embed_tokens.weight", "embeddings_unsupported"),
        (MODEL + "embed_tokens.base_layer.weight", "embeddings_unsupported"),
        (MODEL + "embed_tokens.token_adapter.trainable_tokens_delta", "embeddings_unsupported"),
        ("base_model.model.lm_head.weight", "embeddings_unsupported"),
        ("base_model.model.lm_head.lora_A.weight", "embeddings_unsupported"),
        (Q_A.replace("lora_A.weight", "lora_magnitude_vector"), "dora_unsupported"),
        (Q_A.replace("lora_A.weight", "lora_magnitude_vector.weight"), "dora_unsupported"),
        (Q_A.removesuffix(".weight") + ".bias", "bias_unsupported"),
        (MODEL + "layers.0.self_attn.q_proj.base_layer.bias", "bias_unsupported"),
        (MODEL + "layers.0.self_attn.q_proj.base_layer.weight", "tensor_name"),
        (Q_A.replace("lora_A", "lora_C"), "tensor_name"),
        (Q_A.replace("lora_A", "lora_a"), "tensor_name"),
        (Q_A.replace("lora_A", "lora_A.other"), "tensor_name"),
        ("lora_A.weight", "tensor_name"),
        ("base_model.model.lora_A.weight", "target_module_unknown"),
        (Q_A.removeprefix("base_model.model."), "tensor_duplicate"),
        (Q_A.replace("model.layers", "layers"), "tensor_duplicate"),
        (Q_A.replace("lora_A", "lora_A.default"), "tensor_duplicate"),
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

    assert message.startswith(
        f"Tensor {Q_A} has shape [4, 64]; [8, 64] (r, in_features) is expected."
    )


def test_unknown_layer_message_says_which_layers_there_are(tmp_path: Path) -> None:
    tensors = lora_tensors()
    with_matrix(Q_A.replace("layers.0", "layers.9"))(tensors)

    message = refusal(write_adapter(tmp_path, tensors)).message

    assert "down_proj, q_proj, v_proj, as in model.layers.0.self_attn.q_proj" in message


SPELLINGS: dict[str, Callable[[str], str]] = {
    "PEFT's own": lambda name: name,
    "without PEFT's prefix": lambda name: name.removeprefix("base_model.model."),
    "with the adapter's name": lambda name: name.replace(".weight", ".default.weight"),
    "trained without the head": lambda name: name.replace("model.layers", "layers"),
    "bare": lambda name: name.removeprefix("base_model.model.model."),
    "the language model of a new multimodal class": lambda name: name.replace(
        "model.layers", "model.language_model.layers"
    ),
    "the language model of an old multimodal class": lambda name: name.replace(
        "model.layers", "language_model.model.layers"
    ),
    "compiled": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
    "compiled layer by layer": lambda name: name.replace(".lora_", "._orig_mod.lora_"),
    "wrapped by FSDP": lambda name: name.replace(
        "layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    ),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_each_spelling_of_a_layer_is_stored_in_the_engines_own(
    spell: Callable[[str], str], tmp_path: Path
) -> None:
    plain = lora_tensors()

    accept(write_adapter(tmp_path, {spell(name): value for name, value in plain.items()}))

    stored = load_file(tmp_path / WEIGHTS_FILE)
    assert stored.keys() == plain.keys()
    assert all(np.array_equal(stored[name], plain[name]) for name in plain)


def test_language_model_of_a_multimodal_base_is_found_by_its_plain_name(tmp_path: Path) -> None:
    shapes = {
        "model.language_model.layers.0.self_attn.q_proj": (64, 64),
        "model.vision_tower.layers.0.self_attn.q_proj": (32, 32),
    }
    text = {"model.layers.0.self_attn.q_proj": (64, 64)}

    accept(write_adapter(tmp_path, lora_tensors(text)), shapes)

    stored = load_file(tmp_path / WEIGHTS_FILE).keys()
    own = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
    assert stored == {f"{own}.lora_A.weight", f"{own}.lora_B.weight"}


def test_name_that_could_mean_two_layers_is_refused(tmp_path: Path) -> None:
    shapes = {"model.layers.0.q_proj": (64, 64), "language_model.layers.0.q_proj": (64, 64)}
    bare = {name.replace("model.layers", "layers"): a for name, a in lora_tensors(shapes).items()}

    error = refusal(write_adapter(tmp_path, {k: v for k, v in bare.items() if ".layers" in k}))

    assert error.code == "target_module_unknown"


def test_weights_of_several_float_types_are_accepted_together(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    kinds = (torch.bfloat16, torch.float16, torch.float32)
    tensors = {
        name: torch.from_numpy(value).to(kinds[n % 3])
        for n, (name, value) in enumerate(lora_tensors().items())
    }
    save_torch(tensors, tmp_path / WEIGHTS_FILE)

    assert accept(tmp_path).config.rank == 8


def test_whole_number_tensors_are_refused(tmp_path: Path) -> None:
    assert refusal(write_adapter(tmp_path, lora_tensors(dtype=np.int8))).code == "dtype"
