"""Writes CTranslate2 files: any arrays, and a Whisper model of one layer that transformers made."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperConfig, WhisperForConditionalGeneration

from deploy.quickstart.whisper_weights import EMBEDDING, PROJECTION

CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
TIED = {PROJECTION: EMBEDDING}
ATTENTION = {"self_attention": "self_attn", "attention": "encoder_attn"}
# What the tiny tokenizer has: special tokens behind two ordinary ones.
SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TinyWhisper:
    """One model twice: as transformers holds it, and as CTranslate2's arrays."""

    torch: WhisperForConditionalGeneration
    arrays: Arrays


def written(
    arrays: Arrays,
    *,
    specification: str = "WhisperSpec",
    aliases: Mapping[str, str] = TIED,
    version: int = 6,
) -> bytes:
    """Return the bytes of a `model.bin`."""
    entries = b"".join(_text(name) + _array(array) for name, array in arrays.items())
    names = b"".join(_text(alias) + _text(name) for alias, name in aliases.items())
    head = struct.pack("<I", version) + _text(specification) + struct.pack("<I", 3)
    counts = [struct.pack("<I", len(part)) for part in (arrays, aliases)]
    return head + counts[0] + entries + counts[1] + names


@cache
def tiny_whisper() -> TinyWhisper:
    """Return a random float16 Whisper of one layer and 4 dimensions."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=2 + len(SPECIAL) + 1501,
        d_model=4,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=2,
        decoder_start_token_id=3,
    )
    model = WhisperForConditionalGeneration(config).half()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return TinyWhisper(model, {**_settings(), **_side(model, "encoder"), **_side(model, "decoder")})


def tokenizer() -> dict[str, Any]:
    """Return a `tokenizer.json` as CTranslate2 keeps it: without timestamps."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": 2 + index, "content": content, **plain, "special": True}
        for index, content in enumerate(SPECIAL)
    ]
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    return {"version": "1.0", "added_tokens": added, "model": model}


def kept() -> dict[str, Any]:
    """Return the `config.json` that CTranslate2 keeps beside a Whisper model."""
    return {
        "alignment_heads": [[0, 1]],
        "lang_ids": [4, 5],
        "suppress_ids": [1, 3],
        "suppress_ids_begin": [0, 2],
    }


def _settings() -> dict[str, NDArray[Any]]:
    small = {"activation": 3, "pre_norm": 1, "scale_embeddings": 0, "alibi": 0}
    heads = {f"{side}/num_heads": np.array(2, np.int16) for side in ("encoder", "decoder")}
    return {f"decoder/{name}": np.array(value, np.int8) for name, value in small.items()} | heads


def _side(model: WhisperForConditionalGeneration, side: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of the encoder or the decoder under CTranslate2's names."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    top = f"model.{side}"
    arrays = {f"{side}/position_encodings/encodings": state[f"{top}.embed_positions.weight"]}
    if side == "decoder":
        arrays[EMBEDDING] = state[f"{top}.embed_tokens.weight"]
    for conv in ("conv1", "conv2") if side == "encoder" else ():
        for leaf in ("weight", "bias"):
            arrays[f"{side}/{conv}/{leaf}"] = state[f"{top}.{conv}.{leaf}"]
    arrays |= _norm(state, f"{top}.layer_norm", f"{side}/layer_norm")
    layer, target = f"{top}.layers.0", f"{side}/layer_0"
    arrays |= _norm(state, f"{layer}.final_layer_norm", f"{target}/ffn/layer_norm")
    for index in (0, 1):
        arrays |= _stacked(state, [f"{layer}.fc{index + 1}"], f"{target}/ffn/linear_{index}")
    arrays |= _attention(state, layer, target, "self_attention", (("q", "k", "v"), ("out",)))
    if side == "decoder":
        rows = (("q",), ("k", "v"), ("out",))
        arrays |= _attention(state, layer, target, "attention", rows)
    return arrays


def _attention(
    state: Arrays, layer: str, target: str, kind: str, rows: tuple[tuple[str, ...], ...]
) -> dict[str, NDArray[Any]]:
    source, goal = f"{layer}.{ATTENTION[kind]}", f"{target}/{kind}"
    arrays = _norm(state, f"{source}_layer_norm", f"{goal}/layer_norm")
    for index, letters in enumerate(rows):
        modules = [f"{source}.{letter}_proj" for letter in letters]
        arrays |= _stacked(state, modules, f"{goal}/linear_{index}")
    return arrays


def _stacked(state: Arrays, modules: list[str], target: str) -> dict[str, NDArray[Any]]:
    weights = [state[f"{module}.weight"] for module in modules]
    no_bias = np.zeros(len(weights[0]), np.float16)
    biases = [state.get(f"{module}.bias", no_bias) for module in modules]
    return {f"{target}/weight": np.concatenate(weights), f"{target}/bias": np.concatenate(biases)}


def _norm(state: Arrays, source: str, target: str) -> dict[str, NDArray[Any]]:
    return {f"{target}/gamma": state[f"{source}.weight"], f"{target}/beta": state[f"{source}.bias"]}


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _array(array: NDArray[Any]) -> bytes:
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return shape + struct.pack("<BI", CODES[array.dtype.name], array.nbytes) + array.tobytes()
