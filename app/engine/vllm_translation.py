"""Between our plain data and vLLM's objects, both ways; holds no engine and starts nothing.

Texts of vLLM's errors are chained for the log and never shown: PromptTooLong and PromptRefused
carry sentences of our own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import (
    MaxQueuedTokensError,
    QueueOverflowError,
    VLLMClientError,
    VLLMValidationError,
)
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from app.engine.base import (
    ChatJob,
    EngineDead,
    EngineError,
    EngineOverloaded,
    FinishReason,
    PromptRefused,
    PromptTooLong,
    Usage,
)

REFUSED = "These messages cannot be given to this model: its chat template refuses them."
TOO_LONG = "Please reduce the length of the messages or completion."
LENGTH_PARAMETERS = frozenset({"input_text", "input_tokens"})

# Ordinary text has three to five; a text with more on the average is made to cost time.
MOST_CHARACTERS_PER_TOKEN = 16

# What a model's generation_config.json may set and a ChatJob cannot: the job's own fields have
# OpenAI's defaults (temperature 1, top_p 1), which win over the model's.
MODEL_DEFAULTS = ("top_k", "min_p", "repetition_penalty")

# vLLM asks for top_p above 0; this is as good as 0, since the likeliest token is always kept.
SMALLEST_TOP_P = 1e-9
SEEDS = 1 << 63


def chat_request(job: ChatJob) -> ChatCompletionRequest:
    """Return the renderer's input. **Raises:** PromptRefused."""
    try:
        # The limit that counts goes to the sampler; without one here, vLLM reads a deprecated
        # field and warns for each request.
        return ChatCompletionRequest(
            messages=list(job.messages), cache_salt=job.cache_salt, max_completion_tokens=1
        )
    except (ValidationError, VLLMClientError) as error:
        raise PromptRefused(REFUSED) from error


def check_length(job: ChatJob, context_window: int) -> None:
    """Refuse text that no tokenizer would fit, before one tries. **Raises:** PromptTooLong."""
    if _characters(job.messages) > context_window * MOST_CHARACTERS_PER_TOKEN:
        raise PromptTooLong(TOO_LONG)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0


def sampling_params(
    job: ChatJob, *, max_tokens: int, model_defaults: Mapping[str, Any]
) -> SamplingParams:
    """Return vLLM's sampling parameters. **Raises:** PromptRefused, for values vLLM refuses."""
    sampling = job.sampling
    kind = RequestOutputKind.DELTA if job.stream else RequestOutputKind.FINAL_ONLY
    try:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=max(sampling.top_p, SMALLEST_TOP_P),
            max_tokens=max_tokens,
            seed=None if sampling.seed is None else sampling.seed % SEEDS,
            stop=list(sampling.stop),
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            output_kind=kind,
            skip_clone=True,
            **{name: model_defaults[name] for name in MODEL_DEFAULTS if name in model_defaults},
        )
    except (ValueError, VLLMClientError) as error:
        raise PromptRefused("A sampling parameter is out of this model's range.") from error


def room(context_window: int, prompt_tokens: int, wanted: int | None, most: int) -> int:
    """Return how many tokens may be generated. **Raises:** PromptTooLong, where none may."""
    left = context_window - prompt_tokens
    if left < 1:
        raise PromptTooLong(TOO_LONG)
    return min(left, most if wanted is None else wanted)


@contextmanager
def render_errors() -> Iterator[None]:
    """Raise PromptTooLong and PromptRefused in place of what vLLM's renderer raises."""
    try:
        yield
    except VLLMValidationError as error:
        if error.parameter in LENGTH_PARAMETERS:
            raise PromptTooLong(TOO_LONG) from error
        raise PromptRefused(REFUSED) from error
    except TimeoutError as error:
        raise EngineOverloaded("the renderer did not come to this request in time") from error
    except (VLLMClientError, ValueError, TypeError, KeyError) as error:
        # Chat templates are programs of the model's author: they fail with these.
        raise PromptRefused(REFUSED) from error


@contextmanager
def generate_errors() -> Iterator[None]:
    """Raise our EngineError tree in place of what AsyncLLM.generate raises."""
    try:
        yield
    except EngineDeadError as error:
        raise EngineDead("the engine process has died") from error
    except (QueueOverflowError, MaxQueuedTokensError) as error:
        raise EngineOverloaded("the engine's queue is full") from error
    except VLLMClientError as error:
        raise PromptRefused(REFUSED) from error
    except EngineGenerateError as error:
        raise EngineError("the engine failed to generate") from error


def finish_reason(reason: str | None) -> FinishReason:
    """Return OpenAI's word. **Raises:** EngineError, when the engine gave the request up."""
    if reason == "stop":
        return "stop"
    if reason == "length":
        return "length"
    raise EngineError(f"the engine ended a request with {reason!r}")


def usage(output: RequestOutput, completion_tokens: int) -> Usage:
    """Return what a finished request took, from the engine's own clocks.

    **Source:** vllm.v1.metrics.stats.RequestStateStats (0.32); its `*_ts` are monotonic seconds of
    the engine process.
    """
    stats = output.metrics
    return Usage(
        prompt_tokens=len(output.prompt_token_ids or ()),
        completion_tokens=completion_tokens,
        cached_tokens=output.num_cached_tokens or 0,
        queue_seconds=max(0.0, stats.scheduled_ts - stats.queued_ts),
        prompt_seconds=max(0.0, stats.first_token_ts - stats.scheduled_ts),
        completion_seconds=max(0.0, stats.last_token_ts - stats.first_token_ts),
    )
