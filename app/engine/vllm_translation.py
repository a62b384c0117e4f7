"""Between our plain data and vLLM's objects, both ways; holds no engine and starts nothing.

Texts of vLLM's errors are chained for the log and never shown: PromptTooLong and PromptRefused
carry sentences of our own.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.exceptions import (
    MaxQueuedTokensError,
    QueueOverflowError,
    VLLMClientError,
    VLLMValidationError,
)
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from app.engine.base import (
    ChatJob,
    EngineDead,
    EngineError,
    EngineOverloaded,
    Job,
    PromptRefused,
    PromptTooLong,
    Sampling,
    TextJob,
)
from app.engine.job_text import characters

TEXT_REFUSED = "This prompt cannot be given to this model."
EMPTY = "The prompt is empty."
NOT_IN_VOCABULARY = "A token id of the prompt is not in this model's vocabulary."
REFUSED = "These messages cannot be given to this model: its chat template refuses them."
CONSTRAINT_REFUSED = "This model cannot be held to this schema, these tools or this `logit_bias`."
TOO_LONG = "Please reduce the length of the messages or completion."
LENGTH_PARAMETERS = frozenset({"input_text", "input_tokens"})

# Ordinary text has three to five; a text with more on the average is made to cost time.
MOST_CHARACTERS_PER_TOKEN = 16

# vLLM asks for top_p above 0; this is as good as 0, since the likeliest token is always kept.
SMALLEST_TOP_P = 1e-9
SEEDS = 1 << 63


def chat_request(job: ChatJob) -> ChatCompletionRequest:
    """Return the renderer's and parsers' view of a job. **Raises:** PromptRefused."""
    tools: dict[str, Any] = {}
    if job.tool_use is not None:
        tools = {
            "tools": list(job.tool_use.tools),
            "tool_choice": job.tool_use.choice,
            "parallel_tool_calls": job.tool_use.parallel,
        }
    with _refused():
        return ChatCompletionRequest(
            messages=[_with_own_images(message, job.cache_salt) for message in job.messages],
            **_effort(job.reasoning_effort),
            response_format=job.response_format,
            cache_salt=job.cache_salt,
            stream=job.stream,
            logprobs=job.sampling.logprobs is not None,
            top_logprobs=job.sampling.logprobs or 0,
            # The limit that counts goes to the sampler; without one here, vLLM reads a deprecated
            # field and warns for each request.
            max_completion_tokens=1,
            **_drawing(job.sampling),
            **tools,
        )


def _effort(effort: str | None) -> dict[str, Any]:
    """Say Groq's `default`, which vLLM does not know: think, as the model does by itself."""
    if effort == "default":
        return {"chat_template_kwargs": {"enable_thinking": True}}
    return {"reasoning_effort": effort}


def text_request(job: TextJob) -> CompletionRequest:
    """Return the renderer's view of a job. **Raises:** PromptRefused."""
    prompt = job.prompt if isinstance(job.prompt, str) else list(job.prompt)
    with _refused(TEXT_REFUSED):
        return CompletionRequest(
            prompt=prompt,
            cache_salt=job.cache_salt,
            stream=job.stream,
            logprobs=job.sampling.logprobs,
            max_tokens=1,
            echo=job.echo,
            **_drawing(job.sampling),
        )


def check_text(job: TextJob, vocabulary: int) -> None:
    """Refuse an empty prompt, and ids that the model has no weights for.

    vLLM lets those pass that only the tokenizer knows; a GPU's process does not survive one.

    **Raises:** PromptRefused.
    """
    if not job.prompt:
        raise PromptRefused(EMPTY)
    if isinstance(job.prompt, str):
        return
    if min(job.prompt) < 0 or max(job.prompt) >= vocabulary:
        raise PromptRefused(NOT_IN_VOCABULARY)


def _with_own_images(message: dict[str, Any], cache_salt: str) -> dict[str, Any]:
    """Name images for vLLM's caches, which know no salt: else time would tell who sent them too."""
    content = message.get("content")
    if isinstance(content, str) or content is None:
        return message
    return {**message, "content": [_named(part, cache_salt) for part in content]}


def _named(part: dict[str, Any], cache_salt: str) -> dict[str, Any]:
    if part["type"] != "image_url":
        return part
    named = hmac.new(cache_salt.encode(), part["image_url"]["url"].encode(), hashlib.sha256)
    return {**part, "uuid": named.hexdigest()}


def _drawing(sampling: Sampling) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": max(sampling.top_p, SMALLEST_TOP_P),
        "seed": None if sampling.seed is None else sampling.seed % SEEDS,
        "stop": list(sampling.stop),
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logit_bias": dict(sampling.logit_bias) or None,
    }


def check_length(job: Job, context_window: int) -> None:
    """Refuse text that no tokenizer would fit, before one tries. **Raises:** PromptTooLong."""
    if characters(job) > context_window * MOST_CHARACTERS_PER_TOKEN:
        raise PromptTooLong(TOO_LONG)


def sampling_params(
    request: ChatCompletionRequest | CompletionRequest,
    *,
    max_tokens: int,
    model_defaults: Mapping[str, Any],
) -> SamplingParams:
    """Return vLLM's sampling parameters, after its parsers have adjusted the request.

    **Raises:** PromptRefused, for values vLLM refuses.
    """
    try:
        return request.to_sampling_params(max_tokens, dict(model_defaults))
    except (ValueError, VLLMClientError) as error:
        raise PromptRefused("A sampling parameter is out of this model's range.") from error


def room(context_window: int, prompt_tokens: int, wanted: int | None, most: int) -> int:
    """Return how many tokens may be generated. **Raises:** PromptTooLong, where none may."""
    left = context_window - prompt_tokens
    if left < 1:
        raise PromptTooLong(TOO_LONG)
    return min(left, most if wanted is None else wanted)


@contextmanager
def _refused(words: str = REFUSED) -> Iterator[None]:
    try:
        yield
    except (ValidationError, VLLMClientError) as error:
        raise PromptRefused(words) from error


@contextmanager
def render_errors(words: str = REFUSED) -> Iterator[None]:
    """Raise PromptTooLong and PromptRefused in place of what vLLM's renderer raises."""
    try:
        yield
    except VLLMValidationError as error:
        if error.parameter in LENGTH_PARAMETERS:
            raise PromptTooLong(TOO_LONG) from error
        raise PromptRefused(words) from error
    except TimeoutError as error:
        raise EngineOverloaded("the renderer did not come to this request in time") from error
    except (VLLMClientError, ValueError, TypeError, LookupError, AttributeError) as error:
        # Chat templates are programs of the model's author: they fail with these.
        raise PromptRefused(words) from error


@contextmanager
def generate_errors() -> Iterator[None]:
    """Raise our EngineError tree in place of what AsyncLLM.generate raises."""
    try:
        yield
    except EngineDeadError as error:
        raise EngineDead("the engine process has died") from error
    except (QueueOverflowError, MaxQueuedTokensError) as error:
        raise EngineOverloaded("the engine's queue is full") from error
    except (VLLMClientError, ValueError) as error:
        # The prompt has been rendered: what is left to refuse is how the answer is constrained.
        raise PromptRefused(CONSTRAINT_REFUSED) from error
    except EngineGenerateError as error:
        raise EngineError("the engine failed to generate") from error
