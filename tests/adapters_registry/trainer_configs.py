"""adapter_config.json as training tools leave it, key by key, for a rank that the tests allow."""

from typing import Any

_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

PEFT_0_3: dict[str, Any] = {
    "base_model_name_or_path": "huggyllama/llama-7b",
    "bias": "none",
    "enable_lora": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "merge_weights": False,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 8,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}

PEFT_0_10: dict[str, Any] = {
    "alpha_pattern": {},
    "auto_mapping": None,
    "base_model_name_or_path": "mistralai/Mistral-7B-v0.1",
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 16,
    "rank_pattern": {},
    "revision": None,
    "target_modules": _LINEAR,
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}

PEFT_0_18: dict[str, Any] = {
    **PEFT_0_10,
    "alora_invocation_tokens": None,
    "arrow_config": None,
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "lora_bias": False,
    "peft_version": "0.18.0",
    "qalora_group_size": 16,
    "target_parameters": None,
    "trainable_token_indices": None,
    "use_qalora": False,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "PEFT 0.3": PEFT_0_3,
    "PEFT 0.10": PEFT_0_10,
    "PEFT 0.18": PEFT_0_18,
    "PEFT with data-driven weights": {
        **PEFT_0_18,
        "init_lora_weights": "eva",
        "eva_config": {"rho": 2.0, "tau": 0.99, "whiten": False},
    },
    "PEFT on the bare model": {
        **PEFT_0_10,
        "auto_mapping": {
            "base_model_class": "LlamaModel",
            "parent_library": "transformers.models.llama.modeling_llama",
        },
        "task_type": None,
    },
    "PEFT on chosen layers": {
        **PEFT_0_10,
        "layers_to_transform": [0, 1],
        "layers_pattern": "layers",
    },
    "Unsloth on a 4-bit copy": {
        **PEFT_0_18,
        "auto_mapping": {
            "base_model_class": "LlamaForCausalLM",
            "parent_library": "transformers.models.llama.modeling_llama",
            "unsloth_fixed": True,
        },
        "base_model_name_or_path": "unsloth/llama-3-8b-bnb-4bit",
        "lora_alpha": 16,
    },
    "Unsloth on a vision model": {
        **PEFT_0_18,
        "base_model_name_or_path": "unsloth/gemma-3-4b-it-unsloth-bnb-4bit",
        "target_modules": r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)",
    },
    "Unsloth, rank-stabilised": {**PEFT_0_18, "use_rslora": True, "lora_alpha": 16},
    "Axolotl on every linear layer": {
        **PEFT_0_18,
        "base_model_name_or_path": "NousResearch/Llama-3.2-1B",
        "fan_in_fan_out": None,
        "lora_dropout": 0.05,
        "use_dora": None,
        "use_rslora": None,
    },
    "Axolotl, from a local checkpoint": {
        **PEFT_0_18,
        "base_model_name_or_path": "./outputs/merged",
        "target_modules": "all-linear",
    },
    "LLaMA-Factory": {
        **PEFT_0_18,
        "base_model_name_or_path": "/data/models/Meta-Llama-3-8B-Instruct",
        "r": 8,
        "lora_alpha": 16,
        "revision": "main",
    },
    "LLaMA-Factory, rank-stabilised": {
        **PEFT_0_18,
        "base_model_name_or_path": "Qwen/Qwen2.5-7B-Instruct",
        "r": 8,
        "use_rslora": True,
    },
}
