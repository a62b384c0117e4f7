"""Which layers of a base model a LoRA adapter may change, from its configuration alone.

The model is built on torch's meta device: no weights are read and no memory is taken. Code from a
model's repository is never run, so a model that needs it is refused.
"""

from typing import Any

import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from adapters_registry.types import LinearShapes
from app.tasks import Task


def linear_shapes(source: str, revision: str | None = None, task: Task = "chat") -> LinearShapes:
    """Return name -> (in_features, out_features) of every linear layer of the decoder or encoder.

    Names are as PEFT writes them and vLLM reads them. A decoder's are those of the causal language
    model (`model.layers.0.self_attn.q_proj`), whatever the task. An encoder's are those of the bare
    model for embeddings (`encoder.layer.0.attention.self.query`) and those of the classifier for
    reranking (`roberta.encoder.…`). Heads and poolers are left out. Blocking: builds the module
    tree.
    """
    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    is_encoder = task in ("embedding", "reranking") and type(config) in MODEL_FOR_MASKED_LM_MAPPING
    return _encoder_shapes(config, task) if is_encoder else _decoder_shapes(config)


def _decoder_shapes(config: Any) -> LinearShapes:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return _shapes(model, model.get_decoder())


def _encoder_shapes(config: Any, task: Task) -> LinearShapes:
    kind = AutoModel if task == "embedding" else AutoModelForSequenceClassification
    with torch.device("meta"):
        model = kind.from_config(config, trust_remote_code=False)
    shapes = _shapes(model, model.base_model)
    # vLLM does not run the pooler of an encoder that embeds, and adapts no other.
    return {name: shape for name, shape in shapes.items() if "pooler" not in name.split(".")}


def _shapes(model: torch.nn.Module, body: torch.nn.Module) -> LinearShapes:
    """Return the linear layers of a part of the model, by their names in the whole."""
    inside = set(body.modules())
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module in inside
    }
