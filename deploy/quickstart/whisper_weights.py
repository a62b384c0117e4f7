"""The arrays of a CTranslate2 Whisper model under the names that Hugging Face gives them.

CTranslate2 stacks projections into one array, and gives keys a bias of zeros, which Hugging Face's
Whisper does not have. An array with no known place is refused, never left out.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deploy.quickstart.ctranslate2_file import Arrays, Model, NotReadable

SPECIFICATION = "WhisperSpec"
PROJECTION = "decoder/projection/weight"
EMBEDDING = "decoder/embeddings/weight"
GELU = 3
SETTINGS = {"decoder/activation": GELU, "decoder/pre_norm": 1, "decoder/scale_embeddings": 0}

NAME = re.compile(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/(\w+)")
# Part of the model -> the modules whose rows are stacked in it, in order.
MODULES = {
    "conv1": ("conv1",),
    "conv2": ("conv2",),
    "embeddings": ("embed_tokens",),
    "position_encodings": ("embed_positions",),
    "layer_norm": ("layer_norm",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
PARAMETERS = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "encodings": "weight",
}


def renamed(model: Model) -> Arrays:
    """Return the weights as `WhisperForConditionalGeneration` names them, without `proj_out`.

    **Raises:** NotReadable, for any model that would not compute the same under those names.
    """
    arrays = model.arrays
    if model.specification != SPECIFICATION:
        raise NotReadable(f"a model of kind {model.specification} instead of {SPECIFICATION}")
    if arrays.get(PROJECTION) is not arrays[EMBEDDING]:
        raise NotReadable("the output projection is not the embedding")
    for name, expected in SETTINGS.items():
        if int(arrays[name]) != expected:
            raise NotReadable(f"{name} is {int(arrays[name])} instead of {expected}")
    weights = (item for item in arrays.items() if item[1].ndim and item[0] != PROJECTION)
    return {name: part for item in weights for name, part in _placed(*item)}


def _placed(name: str, array: NDArray[np.generic]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    found = NAME.fullmatch(name)
    if not found or found[3] not in MODULES or found[4] not in PARAMETERS:
        raise NotReadable(f"{name} has no place in a Whisper model")
    side, layer, parameter = found[1], found[2], PARAMETERS[found[4]]
    prefix = f"model.{side}.layers.{layer}" if layer else f"model.{side}"
    modules = MODULES[found[3]]
    for module, part in zip(modules, np.split(array, len(modules)), strict=True):
        if module.endswith("k_proj") and parameter == "bias":
            if part.any():
                raise NotReadable(f"{name} gives keys a bias")
            continue
        yield f"{prefix}.{module}.{parameter}", part
