"""What a hostile upload is, and the good adapter that each of them spoils in one way."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, LinearShapes
from tests.adapters_registry.adapters import lora_tensors
from tests.adapters_registry.raw_zip import Member, build, deflate
from tests.fixtures.tiny_llama import HIDDEN, KEY_VALUE, LAYERS

CONFIG, WEIGHTS = CONFIG_FILE.encode(), WEIGHTS_FILE.encode()
CANARY = Path(tempfile.gettempdir(), "unpickled-by-lora-api")
"""A directory that the pickles of this corpus make when somebody loads them."""

_INNER = 192
_LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, KEY_VALUE),
    "self_attn.v_proj": (HIDDEN, KEY_VALUE),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, _INNER),
    "mlp.up_proj": (HIDDEN, _INNER),
    "mlp.down_proj": (_INNER, HIDDEN),
}
SHAPES: LinearShapes = {
    f"model.layers.{layer}.{name}": shape
    for layer in range(LAYERS)
    for name, shape in _LAYER.items()
}
"""What adapters of the tiny Llama may change."""
RANKS = (8, 16)
GOOD_SHAPES = {
    f"model.layers.{n}.self_attn.{x}_proj": (HIDDEN, HIDDEN) for n in (0, 1) for x in "qo"
}
GOOD_CONFIG: Mapping[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 8,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "o_proj"],
    "bias": "none",
}

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class HostileCase:
    """One upload; `make` returns its bytes, and `code` names the rule that it breaks."""

    id: str
    code: str
    make: Callable[[], bytes]


def good_tensors(*, rank: int = 8, dtype: Any = np.float32) -> Tensors:
    """Return matrices that fit the tiny Llama."""
    return lora_tensors(GOOD_SHAPES, rank=rank, dtype=dtype)


@cache
def good_weights() -> bytes:
    return save(good_tensors(), {"format": "pt"})


def good_config(**changes: Any) -> bytes:
    return json.dumps({**GOOD_CONFIG, **changes}).encode()


def upload(config: bytes | None = None, weights: bytes | None = None) -> bytes:
    """Pack a config and weights, the good ones if not given, into an honest ZIP."""
    return build(
        Member(CONFIG, good_config() if config is None else config, method=8),
        Member(WEIGHTS, good_weights() if weights is None else weights, method=8),
    )


def config_member(name: bytes = CONFIG, **lies: Any) -> Member:
    return Member(name, good_config(), **lies)


def weights_member(name: bytes = WEIGHTS, **lies: Any) -> Member:
    return Member(name, good_weights(), **lies)


def both(**lies: Any) -> bytes:
    """Pack the good pair, and lie about the weights."""
    return build(config_member(), weights_member(**lies))


def third(name: bytes, data: bytes = b"{}", **lies: Any) -> bytes:
    """Pack the good pair and one member more."""
    return build(config_member(), weights_member(), Member(name, data, **lies))


def pickled() -> bytes:
    """Return a pickle that makes the canary when it is loaded."""
    return b"cos\nmkdir\n(S'%b'\ntR." % str(CANARY).encode()


@cache
def three_gibibytes_deflated() -> bytes:
    """Return 3 GiB of zeros in about 3 MiB: one block, again and again, and no end."""
    block = deflate(bytes(1 << 20), finish=False)
    return block * (3 << 10)
