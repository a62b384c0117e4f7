"""Tiny valid adapters for tests, as a training run would leave them on disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters_registry.errors import InvalidAdapter
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact, LinearShapes
from adapters_registry.validation import canonicalise

SHAPES: LinearShapes = {
    "model.layers.0.self_attn.q_proj": (64, 64),
    "model.layers.0.self_attn.v_proj": (64, 32),
    "model.layers.1.mlp.down_proj": (128, 64),
}
"""Three layers of an imagined base model, no two alike."""
RANKS = (4, 8, 16)
Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Q_B = Q_A.replace("lora_A", "lora_B")


def lora_tensors(
    shapes: LinearShapes = SHAPES, *, rank: int = 8, seed: int = 0, dtype: Any = np.float32
) -> dict[str, np.ndarray]:
    """Return A and B of every layer, named as PEFT names them and never zero."""
    random = np.random.default_rng(seed)
    tensors = {}
    for module, (inputs, outputs) in shapes.items():
        for side, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            name = f"base_model.model.{module}.lora_{side}.weight"
            tensors[name] = random.uniform(0.01, 0.02, shape).astype(dtype)
    return tensors


def write_adapter(
    directory: Path,
    tensors: Mapping[str, np.ndarray] | None = None,
    *,
    rank: int = 8,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write both files into `directory` (made if missing); `config` adds to a plain one."""
    directory.mkdir(parents=True, exist_ok=True)
    chosen = dict(lora_tensors(rank=rank) if tensors is None else tensors)
    save_file(chosen, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    fields = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, **(config or {})}
    (directory / CONFIG_FILE).write_text(json.dumps(fields))
    return directory


def accept(directory: Path, shapes: LinearShapes = SHAPES) -> Artifact:
    """Make an adapter for the model `tiny` canonical."""
    return canonicalise(directory, base_model="tiny", shapes=shapes, ranks=RANKS)


def refusal(directory: Path, shapes: LinearShapes = SHAPES) -> InvalidAdapter:
    """Return why an adapter is refused; what is said may be shown to its owner."""
    with pytest.raises(InvalidAdapter) as caught:
        accept(directory, shapes)
    error = caught.value
    assert error.message.isascii()
    assert error.message.isprintable()
    assert error.message.endswith(".")
    assert error.param
    assert str(directory) not in error.message
    return error
