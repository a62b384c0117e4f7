"""Jobs to vLLM's parameters, vLLM's errors and clocks to ours."""

from typing import Any

import pytest
from vllm.exceptions import (
    MaxQueuedTokensError,
    QueueOverflowError,
    VLLMUnprocessableEntityError,
    VLLMValidationError,
)
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from app.engine import vllm_translation as translation
from app.engine.base import (
    ChatJob,
    EngineDead,
    EngineError,
    EngineOverloaded,
    PromptRefused,
    PromptTooLong,
    Sampling,
)

SECRET = "internal detail /var/lib/model"


def _job(sampling: Sampling | None = None, **changes: Any) -> ChatJob:
    values: dict[str, Any] = {
        "messages": [{"role": "user", "content": "hi"}],
        "sampling": sampling or Sampling(),
        "cache_salt": "salt",
    }
    return ChatJob(**{**values, **changes})


def _params(sampling: Sampling, **defaults: Any) -> SamplingParams:
    request = translation.chat_request(_job(sampling))
    return translation.sampling_params(request, max_tokens=9, model_defaults=defaults)


def test_the_salt_reaches_the_renderers_request():
    assert translation.chat_request(_job()).cache_salt == "salt"


def test_messages_that_vllm_cannot_read_are_refused():
    with pytest.raises(PromptRefused, match="refuses them"):
        translation.chat_request(_job(messages=[{"no_role": 1}]))


def test_sampling_fields_become_vllms():
    params = _params(
        Sampling(0.5, 0.9, None, 7, ("END",), frequency_penalty=0.1, presence_penalty=0.2)
    )
    assert (params.temperature, params.top_p, params.seed) == (0.5, 0.9, 7)
    assert params.stop == ["END"]
    assert (params.frequency_penalty, params.presence_penalty) == (0.1, 0.2)
    assert params.max_tokens == 9


@pytest.mark.parametrize(
    ("stream", "kind"), [(True, RequestOutputKind.DELTA), (False, RequestOutputKind.FINAL_ONLY)]
)
def test_only_a_stream_asks_for_pieces(stream: bool, kind: RequestOutputKind):
    request = translation.chat_request(_job(stream=stream))
    params = translation.sampling_params(request, max_tokens=1, model_defaults={})
    assert params.output_kind is kind


def test_the_models_defaults_fill_what_a_job_cannot_say():
    params = _params(Sampling(), top_k=20, repetition_penalty=1.1, temperature=0.2, max_tokens=3)
    assert (params.top_k, params.repetition_penalty) == (20, 1.1)
    assert (params.temperature, params.max_tokens) == (1.0, 9)


def test_top_p_zero_is_the_smallest_that_vllm_takes():
    assert 0 < _params(Sampling(top_p=0.0)).top_p < 1e-6


@pytest.mark.parametrize("seed", [-1, 2**63, -(2**70)])
def test_any_integer_is_a_seed_the_engine_can_hold(seed: int):
    held = _params(Sampling(seed=seed)).seed
    assert held is not None
    assert 0 <= held < 2**63


def test_a_value_out_of_range_is_refused_without_vllms_text():
    with pytest.raises(PromptRefused) as caught:
        _params(Sampling(temperature=-1.0))
    assert str(caught.value) == "A sampling parameter is out of this model's range."


@pytest.mark.parametrize(
    ("prompt", "wanted", "expected"), [(90, None, 8), (50, 5, 5), (98, 5, 2), (20, None, 8)]
)
def test_room_is_what_is_wanted_as_far_as_it_fits(prompt: int, wanted: int | None, expected: int):
    assert translation.room(100, prompt, wanted, most=8) == expected


@pytest.mark.parametrize("prompt", [100, 101])
def test_a_prompt_that_leaves_no_room_is_too_long(prompt: int):
    with pytest.raises(PromptTooLong):
        translation.room(100, prompt, 1, most=8)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (VLLMValidationError(SECRET, parameter="input_tokens", value=9), PromptTooLong),
        (VLLMValidationError(SECRET, parameter="input_text", value=9), PromptTooLong),
        (VLLMValidationError(SECRET, parameter="messages"), PromptRefused),
        (VLLMUnprocessableEntityError(SECRET), PromptRefused),
        (ValueError(SECRET), PromptRefused),
    ],
)
def test_a_rendering_failure_is_the_callers_and_says_nothing_internal(
    raised: Exception, expected: type[EngineError]
):
    with pytest.raises(expected) as caught, translation.render_errors():
        raise raised
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (EngineDeadError(), EngineDead),
        (QueueOverflowError(), EngineOverloaded),
        (MaxQueuedTokensError(), EngineOverloaded),
        (VLLMValidationError(SECRET), PromptRefused),
        (EngineGenerateError(SECRET), EngineError),
    ],
)
def test_each_engine_failure_has_its_kind(raised: Exception, expected: type[EngineError]):
    with pytest.raises(expected) as caught, translation.generate_errors():
        raise raised
    assert SECRET not in str(caught.value)


def test_text_that_no_tokenizer_would_fit_is_refused_before_one_tries():
    context = 100
    most = context * translation.MOST_CHARACTERS_PER_TOKEN
    parts = [{"type": "text", "text": "x" * (most // 2)}] * 2
    for content in ("x" * (most + 1), parts):
        with pytest.raises(PromptTooLong):
            translation.check_length(_job(messages=[{"role": "user", "content": content}]), context)
    short = [{"role": "user", "content": "x" * (most // 2)}]
    translation.check_length(_job(messages=short), context)
