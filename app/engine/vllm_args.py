"""From a catalog entry to vLLM's engine arguments; refuses what would contradict the catalog.

The entry's own fields (source, context window, LoRA tiers) win; its `vllm` block may set any other
engine argument of vLLM by its Python name. Code from a model's repository is never run.
"""

import dataclasses
import difflib
from typing import Any

from vllm.config import StructuredOutputsConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from app.catalog import ModelSpec
from app.engine.base import EngineStartError

# vLLM would take nine tenths of the machine's memory for each engine that runs on the CPU.
CPU_KV_CACHE_BYTES = 1 << 30

# A pooled prompt is done in one go and leaves little behind; encoders keep nothing at all.
CPU_POOLING_KV_CACHE_BYTES = 1 << 29

# Its model and its scheduler in one process, as on a GPU; for more than one vLLM has its own.
CPU_EXECUTOR = "app.engine.cpu_executor.CpuExecutor"
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nnodes")

POOLING_TASKS = ("embedding", "reranking")

# Templates and tokenizers run in threads: with one, a long prompt would make all others wait.
RENDERER_THREADS = 4

CONSTRAINED_DECODING = {
    # One backend for all: vLLM keeps the first one that a request needed, and others crash.
    "backend": "xgrammar",
    # Small models write line breaks between two values until their tokens are used up.
    "disable_any_whitespace": True,
}


def engine_arguments(spec: ModelSpec) -> dict[str, Any]:
    """Return the keyword arguments of AsyncEngineArgs for this model.

    **Raises:** EngineStartError, naming the argument of the `vllm` block that cannot be used.
    """
    fixed = {**_identity(spec), **_lora(spec), **_pooling(spec)}
    for name in spec.vllm:
        _check_allowed(spec, name, fixed)
    arguments = {**_defaults(spec), **spec.vllm, **fixed, **_classifier_of_answers(spec)}
    return {**arguments, "structured_outputs_config": _constrained_decoding(spec)}


def build_engine_args(spec: ModelSpec) -> AsyncEngineArgs:
    """Return vLLM's checked arguments. **Raises:** EngineStartError."""
    arguments = engine_arguments(spec)
    try:
        # The one argument of these that vLLM takes as an object only.
        decoding = StructuredOutputsConfig(**arguments.pop("structured_outputs_config"))
        return AsyncEngineArgs(structured_outputs_config=decoding, **arguments)
    except (TypeError, ValueError, OSError) as error:
        raise EngineStartError(f"model {spec.id}: vLLM refuses its arguments: {error}") from error


def _constrained_decoding(spec: ModelSpec) -> dict[str, Any]:
    return {**CONSTRAINED_DECODING, **_mapping(spec, "structured_outputs_config")}


def _mapping(spec: ModelSpec, name: str) -> dict[str, Any]:
    """Return what the `vllm` block says under a name that holds a mapping."""
    wanted = spec.vllm.get(name, {})
    if not isinstance(wanted, dict):
        raise EngineStartError(f"model {spec.id}: vllm.{name}: not a mapping")
    return wanted


def _identity(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model": spec.source,
        "revision": spec.revision,
        "served_model_name": spec.id,
        "max_model_len": spec.context_window,
        "trust_remote_code": False,
        "reasoning_parser": spec.chat.reasoning_parser or "",
        # Callers' URLs are fetched by the service; of these domains there is none.
        "allowed_media_domains": ["media.invalid"],
        # Our own Prometheus logger takes the place of vLLM's loggers; usage needs its clocks.
        "disable_log_stats": True,
    }


def _lora(spec: ModelSpec) -> dict[str, Any]:
    if spec.lora is None:
        return {"enable_lora": False}
    return {
        "enable_lora": True,
        "max_loras": spec.lora.max_loras,
        "max_cpu_loras": spec.lora.max_cpu_loras,
        "max_lora_rank": spec.lora.max_lora_rank,
    }


def _pooling(spec: ModelSpec) -> dict[str, Any]:
    if spec.task not in POOLING_TASKS:
        return {}
    if spec.reranking.answers is None:
        return {"runner": "pooling"}
    return {"runner": "pooling", "convert": "classify"}


def _classifier_of_answers(spec: ModelSpec) -> dict[str, Any]:
    """Have a language model's head cut down to one number: its logit for yes less that for no.

    **Source:** vllm.model_executor.models.adapters.load_weights_using_from_2_way_softmax (0.32).
    """
    if spec.reranking.answers is None:
        return {}
    head = {
        "classifier_from_token": list(spec.reranking.answers),
        "method": "from_2_way_softmax",
    }
    return {"hf_overrides": {**_mapping(spec, "hf_overrides"), **head}}


def _defaults(spec: ModelSpec) -> dict[str, Any]:
    is_pooling = spec.task in POOLING_TASKS
    defaults: dict[str, Any] = {
        "scheduling_policy": "priority",
        "renderer_num_workers": RENDERER_THREADS,
    }
    if not is_pooling:
        # Of the models that pool, vLLM knows itself which can take part of a prompt from a cache.
        defaults["enable_prefix_caching"] = True
    if current_platform.is_cpu():
        room = CPU_POOLING_KV_CACHE_BYTES if is_pooling else CPU_KV_CACHE_BYTES
        defaults["kv_cache_memory_bytes"] = room
        if all(spec.vllm.get(size, 1) == 1 for size in SIZES):
            defaults["distributed_executor_backend"] = CPU_EXECUTOR
    return defaults


def _check_allowed(spec: ModelSpec, name: str, fixed: dict[str, Any]) -> None:
    where = f"model {spec.id}: vllm.{name}"
    if name == "trust_remote_code":
        raise EngineStartError(f"{where} is refused: code from model repositories is never run")
    if name in fixed:
        raise EngineStartError(f"{where} is set by the catalog's own fields")
    known = [field.name for field in dataclasses.fields(AsyncEngineArgs) if field.init]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise EngineStartError(f"{where} is not an engine argument of this vLLM{hint}")
