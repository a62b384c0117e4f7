"""Which layers of a base model a LoRA adapter may change, from its configuration alone.

The model is built on torch's meta device: no weights are read and no memory is taken. Code from a
model's repository is never run, so a model that needs it is refused.
"""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from adapters_registry.types import LinearShapes
from app.tasks import Task


def linear_shapes(source: str, revision: str | None = None, task: Task = "chat") -> LinearShapes:
    """Return name -> (in_features, out_features) of every linear layer of the decoder.

    Names are those of the causal language model (`model.layers.0.self_attn.q_proj`), as PEFT
    writes them. The output head is left out. Blocking: builds the module tree.
    """
    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    decoder = set(model.get_decoder().modules())
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module in decoder
    }
