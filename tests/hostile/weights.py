"""Well-formed safetensors files whose tensors do not fit the base model, or hold no good values."""

from collections.abc import Callable

import numpy as np
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_torch

from tests.adapters_registry.adapters import lora_tensors
from tests.hostile.case import HostileCase, Tensors, good_config, good_tensors, upload

Change = Callable[[Tensors], object]
P = "base_model.model.model."
Q_A = P + "layers.0.self_attn.q_proj.lora_A.weight"
Q_B = P + "layers.0.self_attn.q_proj.lora_B.weight"


def _changed(change: Change) -> bytes:
    tensors = good_tensors()
    change(tensors)
    return upload(weights=save(tensors))


def _shaped(name: str, *shape: int) -> Change:
    return lambda tensors: tensors.update({name: np.ones(shape, np.float32)})


def _renamed(old: str, new: str) -> Change:
    return lambda tensors: tensors.update({new: tensors.pop(old)})


def _pair(module: str, *, inputs: int = 128, outputs: int = 128) -> Change:
    return lambda tensors: tensors.update(lora_tensors({module: (inputs, outputs)}))


def _value(value: float, dtype: torch.dtype, name: str, at: int) -> bytes:
    tensors = {key: torch.from_numpy(array).to(dtype) for key, array in good_tensors().items()}
    tensors[name].view(-1)[at] = value
    return upload(weights=save_torch(tensors))


def _scaled() -> bytes:
    """B alone fits half precision; B as the engine scales it does not."""
    tensors = good_tensors()
    tensors[Q_B][0, 0] = 1000.0
    return upload(good_config(lora_alpha=1024), save(tensors))


def _foreign(module: str, layers: int) -> bytes:
    shapes = {module % layer: (128, 128) for layer in range(layers)}
    return upload(weights=save(lora_tensors(shapes)))


_SHAPES: dict[str, Change] = {
    "A transposed": _shaped(Q_A, 128, 8),
    "B transposed": _shaped(Q_B, 8, 128),
    "A of rank 4": _shaped(Q_A, 4, 128),
    "A of rank 16": _shaped(Q_A, 16, 128),
    "A of rank 1": _shaped(Q_A, 1, 128),
    "A too narrow": _shaped(Q_A, 8, 64),
    "A one too narrow": _shaped(Q_A, 8, 127),
    "A one too wide": _shaped(Q_A, 8, 129),
    "A much too wide": _shaped(Q_A, 8, 8192),
    "B too short": _shaped(Q_B, 64, 8),
    "B too long": _shaped(Q_B, 4096, 8),
    "B of rank 9": _shaped(Q_B, 128, 9),
    "A flat": _shaped(Q_A, 1024),
    "B flat": _shaped(Q_B, 1024),
    "A of one number": _shaped(Q_A, 1),
    "A with a dimension more": _shaped(Q_A, 1, 8, 128),
    "B with a dimension more": _shaped(Q_B, 128, 8, 1),
    "A in eight dimensions": _shaped(Q_A, 1, 1, 1, 1, 1, 1, 8, 128),
}
_PAIRS: dict[str, Change] = {
    "no A": lambda tensors: tensors.pop(Q_A),
    "no B": lambda tensors: tensors.pop(Q_B),
    "A alone of one layer more": _shaped(P + "layers.1.mlp.up_proj.lora_A.weight", 8, 128),
}
_TWICE: dict[str, Change] = {
    "with and without the prefix": _shaped(Q_A.removeprefix("base_model.model."), 8, 128),
    "with and without the head": _shaped(Q_A.replace("model.layers", "layers"), 8, 128),
    "with and without the adapter's name": _shaped(Q_A.replace("lora_A", "lora_A.default"), 8, 128),
    "plain and compiled": _shaped(Q_A.replace("model.layers", "_orig_mod.model.layers"), 8, 128),
    "plain and in a language model": _shaped(
        Q_A.replace("model.layers", "model.language_model.layers"), 8, 128
    ),
}
_UNKNOWN: dict[str, Change] = {
    "layer 2 of 2": _pair("model.layers.2.self_attn.q_proj"),
    "layer 10**9": _pair("model.layers.1000000000.self_attn.q_proj"),
    "layer -1": _pair("model.layers.-1.self_attn.q_proj"),
    "layer 00": _pair("model.layers.00.self_attn.q_proj"),
    "a projection that is not there": _pair("model.layers.0.self_attn.qkv_proj"),
    "an expert": _pair("model.layers.0.mlp.experts.0.up_proj"),
    "a norm": _pair("model.layers.0.input_layernorm"),
    "a vision tower": _pair("model.vision_tower.layers.0.self_attn.q_proj"),
    "an adapter on an adapter": _pair("base_model.model.model.layers.0.self_attn.q_proj"),
    "a base layer": _pair("model.layers.0.self_attn.q_proj.base_layer"),
    "a path": _pair("../../../model.layers.0.self_attn.q_proj"),
    "a classifier": _pair("score"),
    "another letter case": _pair("model.layers.0.self_attn.Q_PROJ"),
}
_EMBEDDINGS: dict[str, Change] = {
    "whole embeddings": _shaped(P + "embed_tokens.weight", 258, 128),
    "a whole head": _shaped("base_model.model.lm_head.weight", 258, 128),
    "a head's base layer": _shaped("base_model.model.lm_head.base_layer.weight", 258, 128),
    "an embedding's base layer": _shaped(P + "embed_tokens.base_layer.weight", 258, 128),
    "an embedding's A": _shaped(P + "embed_tokens.lora_embedding_A", 8, 258),
    "an embedding's B": _shaped(P + "embed_tokens.lora_embedding_B", 128, 8),
    "a head's pair": _pair("lm_head", outputs=258),
    "single tokens": _shaped(P + "embed_tokens.token_adapter.trainable_tokens_delta", 1, 128),
}
_NAMES: dict[str, Change] = {
    "lora_C": _renamed(Q_A, Q_A.replace("lora_A", "lora_C")),
    "lora_a": _renamed(Q_A, Q_A.replace("lora_A", "lora_a")),
    "another adapter's name": _renamed(Q_A, Q_A.replace("lora_A", "lora_A.other")),
    "no weight at the end": _renamed(Q_A, Q_A.removesuffix(".weight")),
    "a layer's own weight": _shaped(P + "layers.0.self_attn.q_proj.weight", 128, 128),
    "IA3": _shaped(P + "layers.0.self_attn.k_proj.ia3_l", 64, 1),
    "a prompt": _shaped("prompt_embeddings", 8, 128),
}
_OTHERS: dict[str, tuple[Change, str]] = {
    "a bias of B": (_shaped(Q_B.replace(".weight", ".bias"), 128), "bias_unsupported"),
    "a bias of the layer": (_shaped(P + "layers.0.mlp.up_proj.bias", 192), "bias_unsupported"),
    "a magnitude": (
        _shaped(Q_A.replace("lora_A.weight", "lora_magnitude_vector"), 128),
        "dora_unsupported",
    ),
}
_FAMILIES = {
    "another llama of 32 layers": "model.layers.%d.self_attn.k_proj",
    "a GPT-2": "transformer.h.%d.attn.c_attn",
    "a GPT-NeoX": "gpt_neox.layers.%d.attention.query_key_value",
    "a BERT": "bert.encoder.layer.%d.attention.self.query",
    "a T5": "decoder.block.%d.layer.0.SelfAttention.q",
    "a Falcon": "transformer.h.%d.self_attention.query_key_value",
    "a U-Net": "unet.down_blocks.%d.attentions.0.to_q",
}
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_PLACES = {"first of A": (Q_A, 0), "last of A": (Q_A, -1), "middle of B": (Q_B, 500)}


def _changes(code: str, group: str, table: dict[str, Change]) -> list[HostileCase]:
    return [
        HostileCase(f"{group}: {name}", code, lambda c=change: _changed(c))
        for name, change in table.items()
    ]


def _values() -> list[HostileCase]:
    bad = {"NaN": np.nan, "infinity": np.inf, "-infinity": -np.inf}
    cases = [
        HostileCase(
            f"{name} in {kind}, {where}",
            "not_finite",
            lambda v=value, d=dtype, p=place: _value(v, d, *p),
        )
        for name, value in bad.items()
        for kind, dtype in _DTYPES.items()
        for where, place in _PLACES.items()
    ]
    for number in (65536.0, -65536.0, 1e30, -3e38):
        for kind in ("bfloat16", "float32"):
            make = lambda n=number, k=kind: _value(n, _DTYPES[k], Q_A, 0)  # noqa: E731
            cases.append(HostileCase(f"{number} in {kind}", "value_range", make))
    return [*cases, HostileCase("B beyond its scale", "value_range", _scaled)]


WEIGHTS_CASES = (
    *_changes("shape_mismatch", "shape", _SHAPES),
    *_changes("tensor_unpaired", "pair", _PAIRS),
    *_changes("tensor_duplicate", "twice", _TWICE),
    *_changes("target_module_unknown", "unknown", _UNKNOWN),
    *_changes("embeddings_unsupported", "embeddings", _EMBEDDINGS),
    *_changes("tensor_name", "name", _NAMES),
    *(
        HostileCase(f"other: {name}", code, lambda c=change: _changed(c))
        for name, (change, code) in _OTHERS.items()
    ),
    *(
        HostileCase(f"family: {name}", "target_module_unknown", lambda m=module: _foreign(m, 32))
        for name, module in _FAMILIES.items()
    ),
    *_values(),
    HostileCase("r of 16 over weights of 8", "shape_mismatch", lambda: upload(good_config(r=16))),
    HostileCase(
        "r of 8 over weights of 16",
        "shape_mismatch",
        lambda: upload(weights=save(good_tensors(rank=16))),
    ),
)
