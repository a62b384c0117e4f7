"""The tensors of one adapter against the layers of its base model: names, pairs, shapes, values.

Trainers write the same layer under several names: with and without PEFT's prefix, from a model
with or without its head, from inside a multimodal model, wrapped by a compiler or by FSDP. All of
them are read; a name that could mean two layers is refused.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters_registry.errors import InvalidAdapter
from adapters_registry.safetensors_header import TensorInfo
from adapters_registry.types import LinearShapes

MAX_VALUE = 65504.0
"""The largest float16. An engine casts weights to its own type and then scales B in place."""

_NAME = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")
_WRAPPER = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_HEAD = re.compile(r"(?:(?:language_model|model)\.)*")
_EMBEDDING = re.compile(r"(?:.*\.)?(?:(?:embed_tokens|lm_head)(?:\..*)?|lora_embedding_[AB].*)")
_SHOWN_TARGETS = 12
_CHUNK_BYTES = 4 << 20
_INFINITY = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000}


@dataclass(frozen=True, slots=True)
class LoraMatrix:
    """Which half (`A` or `B`) of which layer's change a tensor is."""

    module: str
    side: str

    @property
    def canonical_name(self) -> str:
        """The tensor name that the engine reads. Source: vllm.lora.utils (0.32)."""
        return f"base_model.model.{self.module}.lora_{self.side}.weight"


def check_tensors(
    header: Mapping[str, TensorInfo], *, shapes: LinearShapes, rank: int
) -> Mapping[str, LoraMatrix]:
    """Return what each tensor is, once all of them fit the base model.

    **Raises:** InvalidAdapter (`tensor_name`, `embeddings_unsupported`, `dora_unsupported`,
    `bias_unsupported`, `target_module_unknown`, `tensor_duplicate`, `tensor_unpaired`,
    `shape_mismatch`).
    """
    modules = _modules_by_name(shapes)
    matrices = {name: _matrix(name, modules, shapes) for name in header}
    names = {matrix: name for name, matrix in matrices.items()}
    for name, matrix in matrices.items():
        if names[matrix] != name:
            message = f"Tensors {name} and {names[matrix]} are the same LoRA matrix; keep one."
            raise InvalidAdapter("tensor_duplicate", message, param=name)
        other = "A" if matrix.side == "B" else "B"
        if LoraMatrix(matrix.module, other) not in names:
            message = f"Tensor {name} has no lora_{other} beside it; save both for every layer."
            raise InvalidAdapter("tensor_unpaired", message, param=name)
        _check_shape(name, header[name].shape, matrix, shapes, rank)
    return matrices


def check_values(
    path: Path,
    header: Mapping[str, TensorInfo],
    matrices: Mapping[str, LoraMatrix],
    *,
    scaling: float,
) -> None:
    """Read every value once, in chunks; blocking.

    `scaling` is what the engine multiplies B by, in its own number type, as it loads it.
    **Raises:** InvalidAdapter (`not_finite`, `value_range`).
    Source: vllm.lora.lora_weights.LoRALayerWeights.optimize (0.32).
    """
    with path.open("rb") as file:
        for name, info in header.items():
            factor = max(scaling, 1.0) if matrices[name].side == "B" else 1.0
            limit = MAX_VALUE / factor
            bound = _bits_at_most(info.dtype, limit)
            kind, magnitude = ("<u4", 0x7FFFFFFF) if info.dtype == "F32" else ("<u2", 0x7FFF)
            for start in range(info.start, info.end, _CHUNK_BYTES):
                file.seek(start)
                values = np.frombuffer(file.read(min(_CHUNK_BYTES, info.end - start)), kind)
                # Without their sign, floats are in the order of their bits; NaN comes last.
                if (largest := int((values & magnitude).max())) > bound:
                    raise _bad_value(name, info.dtype, largest, limit)


def _modules_by_name(shapes: LinearShapes) -> Mapping[str, str]:
    """Map every name of a layer to the base model's own."""
    bare = {module: _HEAD.sub("", module, count=1) for module in shapes}
    times = Counter(bare.values())
    named = {name: module for module, name in bare.items() if times[name] == 1}
    return named | {module: module for module in shapes}


def _matrix(name: str, modules: Mapping[str, str], shapes: LinearShapes) -> LoraMatrix:
    plain = _WRAPPER.sub("", name)
    match = _NAME.fullmatch(plain)
    if match is None:
        raise _no_matrix(name)
    module = modules.get(match[1]) or modules.get(_HEAD.sub("", match[1], count=1))
    if module is None:
        raise _embedding(name) if _EMBEDDING.fullmatch(match[1]) else _unknown(name, shapes)
    return LoraMatrix(module, match[2])


def _no_matrix(name: str) -> InvalidAdapter:
    if _EMBEDDING.fullmatch(name):
        return _embedding(name)
    if "lora_magnitude_vector" in name:
        message = f"Tensor {name} belongs to DoRA, which is not supported; train without use_dora."
        return InvalidAdapter("dora_unsupported", message, param=name)
    if name.endswith(".bias"):
        message = f"Tensor {name} is a bias, which is not supported; train without biases."
        return InvalidAdapter("bias_unsupported", message, param=name)
    message = (
        f"Tensor {name} is no LoRA matrix: names must end in .lora_A.weight or .lora_B.weight."
        " Save the adapter with PEFT's save_pretrained."
    )
    return InvalidAdapter("tensor_name", message, param=name)


def _embedding(name: str) -> InvalidAdapter:
    message = (
        f"Tensor {name} changes the embeddings or the output head, which adapters here cannot."
        " Train without embed_tokens and lm_head; if they were not trained, save again with"
        " save_pretrained(..., save_embedding_layers=False)."
    )
    return InvalidAdapter("embeddings_unsupported", message, param=name)


def _unknown(name: str, shapes: LinearShapes) -> InvalidAdapter:
    targets = sorted({module.rpartition(".")[2] for module in shapes})[:_SHOWN_TARGETS]
    message = (
        f"Tensor {name} is for a layer that adapters of this base model cannot change; they can"
        f" change {', '.join(targets)}, as in {next(iter(shapes), 'no layer')}."
        " Train on this base model, with target_modules among these."
    )
    return InvalidAdapter("target_module_unknown", message, param=name)


def _check_shape(
    name: str, got: tuple[int, ...], matrix: LoraMatrix, shapes: LinearShapes, rank: int
) -> None:
    inputs, outputs = shapes[matrix.module]
    is_a = matrix.side == "A"
    expected = (rank, inputs) if is_a else (outputs, rank)
    if got != expected:
        meaning = "r, in_features" if is_a else "out_features, r"
        message = (
            f"Tensor {name} has shape {list(got)}; {list(expected)} ({meaning}) is expected."
            f" Train on this base model, with the r that the config says ({rank})."
        )
        raise InvalidAdapter("shape_mismatch", message, param=name)


def _bits_at_most(dtype: str, limit: float) -> int:
    """Return the bits of the largest float of this type that is no larger than `limit`."""
    if dtype == "F16":
        half = np.float16(limit)
        return int(half.view(np.uint16)) - (float(half) > limit)
    single = np.float32(limit)
    bits = int(single.view(np.uint32)) - (float(single) > limit)
    return bits if dtype == "F32" else bits >> 16


def _bad_value(name: str, dtype: str, bits: int, limit: float) -> InvalidAdapter:
    if bits >= _INFINITY[dtype]:
        message = f"Tensor {name} holds NaN or infinity; the training diverged or was cut off."
        return InvalidAdapter("not_finite", message, param=name)
    value = float(np.uint16(bits).view(np.float16)) if dtype == "F16" else _single(dtype, bits)
    message = (
        f"Tensor {name} holds {value:.6g} or its negative; at most {math.floor(limit):,} is"
        " expected, so that the engine can scale it in half precision. The training diverged, or"
        " lora_alpha is too large."
    )
    return InvalidAdapter("value_range", message, param=name)


def _single(dtype: str, bits: int) -> float:
    return float(np.uint32(bits if dtype == "F32" else bits << 16).view(np.float32))
