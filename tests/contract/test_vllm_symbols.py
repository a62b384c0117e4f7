"""The parts of vLLM that app.engine builds on, as they are in the pinned version.

An upgrade that renames or reshapes one of them fails here, by name, before anything else does.
"""

import importlib
import inspect
from typing import Any

import pytest

from tests.fixtures.engines import import_vllm

import_vllm()

PINNED = "0.32.0"

# Symbol -> the parameters we pass, by name; a leading module path, then attributes.
CALLED: dict[str, tuple[str, ...]] = {
    "vllm.v1.engine.async_llm:AsyncLLM.from_engine_args": (
        "engine_args",
        "usage_context",
        "stat_loggers",
    ),
    "vllm.v1.engine.async_llm:AsyncLLM.generate": (
        "prompt",
        "sampling_params",
        "request_id",
        "lora_request",
        "priority",
    ),
    "vllm.v1.engine.async_llm:AsyncLLM.encode": (
        "prompt",
        "pooling_params",
        "request_id",
        "lora_request",
        "priority",
    ),
    "vllm.pooling_params:PoolingParams": ("task", "extra_kwargs", "use_activation"),
    "vllm.inputs.engine:tokens_input": ("prompt_token_ids", "cache_salt"),
    "vllm.entrypoints.pooling.base.io_processor:PoolingIOProcessor": (
        "vllm_config",
        "renderer",
        "chat_template_config",
    ),
    "vllm.entrypoints.pooling.scoring.io_processor:CrossEncoderIOProcessor.get_score_prompt": (
        "data_1",
        "data_2",
        "encode_kwargs",
        "chat_template",
        "chat_template_kwargs",
    ),
    "vllm.entrypoints.pooling.scoring.utils:compress_token_type_ids": ("token_type_ids",),
    "vllm.renderers.base:BaseRenderer.render_cmpl_async": ("prompts",),
    "vllm.transformers_utils.processor:cached_feature_extractor_from_config": ("model_config",),
    "vllm.v1.sample.logits_processor:LogitsProcessor": ("vllm_config", "device", "is_pin_memory"),
    "vllm.v1.sample.logits_processor:LogitsProcessor.apply": ("logits",),
    "vllm.v1.sample.logits_processor:LogitsProcessor.update_state": ("batch_update",),
    "vllm.v1.sample.logits_processor:process_dict_updates": (
        "req_entries",
        "batch_update",
        "new_state",
    ),
    "vllm.v1.engine.async_llm:AsyncLLM.add_lora": ("lora_request",),
    "vllm.v1.engine.async_llm:AsyncLLM.remove_lora": ("lora_id",),
    "vllm.v1.engine.async_llm:AsyncLLM.check_health": (),
    "vllm.v1.engine.async_llm:AsyncLLM.shutdown": ("timeout",),
    "vllm.v1.engine.core_client:launch_core_engines": (),
    "vllm.v1.engine.utils:CoreEngineLaunch": ("engine_manager",),
    "vllm.config:ModelConfig.get_diff_sampling_param": (),
    "vllm.renderers.online_renderer:OnlineRenderer": (
        "model_config",
        "renderer",
        "request_logger",
        "chat_template",
        "chat_template_content_format",
    ),
    "vllm.renderers.online_renderer:OnlineRenderer.render_chat": ("request",),
    "vllm.renderers.online_renderer:OnlineRenderer.warmup": (),
    "vllm.sampling_params:SamplingParams": (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "max_tokens",
        "seed",
        "stop",
        "output_kind",
        "skip_clone",
        "allowed_token_ids",
        "logprob_token_ids",
        "detokenize",
        "extra_args",
    ),
    "vllm.lora.request:LoRARequest": ("lora_name", "lora_int_id", "lora_path"),
    "vllm.v1.metrics.loggers:PrometheusStatLogger": ("vllm_config", "engine_indexes"),
    "vllm.v1.metrics.loggers:PrometheusStatLogger.log_engine_initialized": (),
    "vllm.v1.metrics.loggers:PrometheusStatLogger.record": (
        "scheduler_stats",
        "iteration_stats",
        "mm_cache_stats",
        "engine_idx",
    ),
    "vllm.outputs:RequestOutput": (
        "prompt_token_ids",
        "outputs",
        "finished",
        "metrics",
        "num_cached_tokens",
    ),
    "vllm.outputs:CompletionOutput": ("text", "token_ids", "finish_reason"),
    "vllm.v1.metrics.stats:RequestStateStats": (
        "queued_ts",
        "scheduled_ts",
        "first_token_ts",
        "last_token_ts",
    ),
    "vllm.exceptions:VLLMValidationError": ("message", "parameter", "value"),
    "vllm.plugins:load_general_plugins": (),
    "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU.add_lora_linear": (
        "y",
        "x",
        "lora_a_stacked",
        "lora_b_stacked",
        "scale",
        "output_slices",
        "buffer",
    ),
    "vllm.engine.arg_utils:AsyncEngineArgs": (
        "model",
        "revision",
        "served_model_name",
        "max_model_len",
        "trust_remote_code",
        "disable_log_stats",
        "enable_lora",
        "max_loras",
        "max_cpu_loras",
        "max_lora_rank",
        "scheduling_policy",
        "enable_prefix_caching",
        "kv_cache_memory_bytes",
        "runner",
        "convert",
        "hf_overrides",
        "logits_processors",
        "mm_processor_cache_gb",
    ),
}

# The operators that the plugin replaces: every parameter, in order, since all are positional.
RUNS = (
    "b_seq_start_loc",
    "seq_len_tensor",
    "lora_indices_tensor",
    "batches",
    "max_seq_length",
    "token_nums",
)
SLICE = ("slice_offset", "slice_size")
OPERATORS: dict[str, tuple[str, ...]] = {
    "sgmv_shrink": ("inputs", "lora_a_weights", "output_tensor", *RUNS, "scaling"),
    "sgmv_expand": ("inputs", "lora_b_weights", "output_tensor", *RUNS, "add_inputs"),
    "sgmv_expand_slice": (
        "inputs",
        "lora_b_weights",
        "output_tensor",
        *RUNS,
        *SLICE,
        "add_inputs",
    ),
    "bgmv_shrink": ("inputs", "lora_b_weights", "output_tensor", RUNS[2], "scaling"),
    "bgmv_expand": ("inputs", "lora_b_weights", "output_tensor", RUNS[2], "add_inputs"),
    "bgmv_expand_slice": (
        "inputs",
        "lora_b_weights",
        "output_tensor",
        RUNS[2],
        *SLICE,
        "add_inputs",
    ),
}

ERRORS: dict[str, str] = {
    "vllm.exceptions:QueueOverflowError": "vllm.exceptions:GracefulHTTPError",
    "vllm.exceptions:MaxQueuedTokensError": "vllm.exceptions:GracefulHTTPError",
    "vllm.exceptions:VLLMValidationError": "vllm.exceptions:VLLMClientError",
    "vllm.v1.engine.exceptions:EngineDeadError": "vllm.exceptions:VLLMServerError",
    "vllm.v1.engine.exceptions:EngineGenerateError": "vllm.exceptions:VLLMServerError",
}


def _find(symbol: str) -> Any:
    module, _, attributes = symbol.partition(":")
    found = importlib.import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


def test_the_installed_vllm_is_the_pinned_one():
    assert importlib.import_module("vllm").__version__.partition("+")[0] == PINNED


@pytest.mark.parametrize(("symbol", "parameters"), CALLED.items(), ids=CALLED.keys())
def test_what_we_call_takes_what_we_pass(symbol: str, parameters: tuple[str, ...]):
    assert set(parameters) <= inspect.signature(_find(symbol)).parameters.keys()


@pytest.mark.parametrize(("name", "parameters"), OPERATORS.items(), ids=OPERATORS.keys())
def test_the_operators_we_replace_are_called_as_before(name: str, parameters: tuple[str, ...]):
    operator = _find(f"vllm.lora.ops.torch_ops.lora_ops:{name}")
    assert tuple(inspect.signature(operator).parameters) == parameters


def test_the_runs_of_a_batch_come_in_the_order_we_read_them():
    wrapper = _find("vllm.lora.punica_wrapper.punica_base:PunicaWrapperBase")
    source = inspect.getsource(wrapper.prefill_metadata.fget)
    fields = ("_seq_start_locs", "_seq_lengths", "_lora_indices_per_batch", "self.batch_size,")
    places = [source.rindex(field) for field in fields]
    assert places == sorted(places)


@pytest.mark.parametrize(("error", "base"), ERRORS.items(), ids=ERRORS.keys())
def test_errors_have_the_bases_we_catch(error: str, base: str):
    assert issubclass(_find(error), _find(base))


def test_a_chat_request_takes_our_fields():
    request = _find("vllm.entrypoints.openai.chat_completion.protocol:ChatCompletionRequest")
    assert {"messages", "cache_salt", "max_completion_tokens"} <= request.model_fields.keys()
