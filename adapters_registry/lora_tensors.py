"""The tensors of one adapter against the layers of its base model: names, pairs, shapes, values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters_registry.errors import InvalidAdapter
from adapters_registry.safetensors_header import TensorInfo
from adapters_registry.types import LinearShapes

_NAME = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")
_CHUNK_BYTES = 16 << 20
_EXPONENT_BITS = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000)}


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

    **Raises:** InvalidAdapter (`tensor_name`, `target_module_unknown`, `tensor_unpaired`,
    `shape_mismatch`).
    """
    matrices = {name: _matrix(name, shapes) for name in header}
    names = {matrix: name for name, matrix in matrices.items()}
    for name, matrix in matrices.items():
        if names[matrix] != name:
            message = f"Tensors {name} and {names[matrix]} are the same LoRA matrix twice."
            raise InvalidAdapter("tensor_name", message, param=name)
        other = "A" if matrix.side == "B" else "B"
        if LoraMatrix(matrix.module, other) not in names:
            message = f"Tensor {name} has no lora_{other} beside it."
            raise InvalidAdapter("tensor_unpaired", message, param=name)
        inputs, outputs = shapes[matrix.module]
        expected = (rank, inputs) if matrix.side == "A" else (outputs, rank)
        _check_shape(name, header[name].shape, expected)
    return matrices


def check_finite(path: Path, header: Mapping[str, TensorInfo]) -> None:
    """Read every value once, in chunks; blocking. **Raises:** InvalidAdapter (`not_finite`)."""
    with path.open("rb") as file:
        for name, info in header.items():
            kind, exponent = _EXPONENT_BITS[info.dtype]
            for start in range(info.start, info.end, _CHUNK_BYTES):
                file.seek(start)
                values = np.frombuffer(file.read(min(_CHUNK_BYTES, info.end - start)), kind)
                # A full exponent is what NaN and infinity share, and numpy has no bfloat16.
                if np.any(values & exponent == exponent):
                    message = f"Tensor {name} holds NaN or infinity."
                    raise InvalidAdapter("not_finite", message, param=name)


def _matrix(name: str, shapes: LinearShapes) -> LoraMatrix:
    match = _NAME.fullmatch(name)
    if match is None and "lora_embedding_" not in name:
        message = (
            f"Tensor {name} is no LoRA matrix: names must end in .lora_A.weight or .lora_B.weight."
        )
        raise InvalidAdapter("tensor_name", message, param=name)
    if match is None or match[1] not in shapes:
        message = f"Tensor {name} is for a layer that adapters of this base model cannot change."
        raise InvalidAdapter("target_module_unknown", message, param=name)
    return LoraMatrix(match[1], match[2])


def _check_shape(name: str, got: tuple[int, ...], expected: tuple[int, int]) -> None:
    if got != expected:
        message = f"Tensor {name} has shape {list(got)}; {list(expected)} is expected."
        raise InvalidAdapter("shape_mismatch", message, param=name)
