"""The vLLM plugin that mends LoRA on the CPU; it owns when to patch and refuses to do so elsewhere.

vLLM calls `register` in its front-end, engine and worker processes, through the entry-point group
`vllm.general_plugins`. In vLLM 0.32 the CPU operators give rows without an adapter (index -1) the
weights of the last slot and copy the adapter's matrices once per token; app.engine.segment_gemm
holds operators that do neither. Any other version or device keeps vLLM's own operators.
"""

import importlib
import logging

MENDED_VERSION = "0.32."
PATCHED_MODULE = "vllm.lora.punica_wrapper.punica_cpu"

logger = logging.getLogger(__name__)


def register() -> None:
    """Replace the LoRA operators of this process; calling it again changes nothing.

    **Source:** vllm.plugins.load_general_plugins (0.32), which may call it more than once.
    """
    platforms = importlib.import_module("vllm.platforms")
    if not platforms.current_platform.is_cpu():
        return
    version: str = importlib.import_module("vllm").__version__
    if not version.startswith(MENDED_VERSION):
        logger.warning("LoRA operators for vLLM %s* left out: this is %s", MENDED_VERSION, version)
        return
    punica_cpu = importlib.import_module(PATCHED_MODULE)
    for name, operator in importlib.import_module("app.engine.segment_gemm").OPERATORS.items():
        setattr(punica_cpu, name, operator)
