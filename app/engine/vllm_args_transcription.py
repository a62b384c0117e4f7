"""What vLLM is told of speech-to-text models beyond what a catalog entry says; starts nothing."""

from typing import Any

from vllm.platforms import current_platform

from app.catalog import ModelSpec
from app.engine.base import EngineStartError
from app.engine.whisper_rules import PROCESSOR

DEFAULTS: dict[str, Any] = {
    # Answers depend on the audio, which stands beside the prompt and not in it.
    "enable_prefix_caching": False,
    # vLLM knows audio by its content alone: how long it takes would tell who sent it before.
    "mm_processor_cache_gb": 0,
    # Each holds the keys of 30 s of audio: more would not fit the cache of a small machine.
    "max_num_seqs": 32,
}

CPU_DEFAULTS: dict[str, Any] = {
    # Whisper's weights are float16, in which a CPU takes four times as long.
    "dtype": "float32",
    # Compiling takes half a minute, and most of the time goes into the encoder's large products.
    "enforce_eager": True,
}


def transcribing(spec: ModelSpec) -> ModelSpec:
    """Return the entry with what Whisper needs in its `vllm` block.

    **Raises:** EngineStartError, for LoRA and for logits processors of the catalog's own.
    """
    if spec.lora is not None:
        raise EngineStartError(f"model {spec.id}: lora: a transcription model takes no adapters")
    if "logits_processors" in spec.vllm:
        raise EngineStartError(f"model {spec.id}: vllm.logits_processors is set by the service")
    defaults = {**DEFAULTS, **CPU_DEFAULTS} if current_platform.is_cpu() else DEFAULTS
    arguments = {**defaults, **spec.vllm, "logits_processors": [PROCESSOR]}
    return spec.model_copy(update={"vllm": arguments})
