"""The environment of vLLM's own programs: the product's, and which plugins they load."""

import os

from app.engine.factory import VLLM_ENVIRONMENT

OFFLINE = {"HF_HUB_OFFLINE": "1"}
NO_PLUGINS = ""
OUR_KERNELS = "cpu_lora_ops"


def environment(plugins: str) -> dict[str, str]:
    """Return what a peer runs in; `plugins` names the vLLM plugins that it loads."""
    return {**VLLM_ENVIRONMENT, **OFFLINE, **os.environ, "VLLM_PLUGINS": plugins}
