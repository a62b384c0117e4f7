"""What a request of legacy completions may say."""

import json
from typing import Any

import pytest

from app.api.completions.schemas import MAX_PROMPTS, CompletionRequest
from app.errors import ApiError
from app.json_document import parse
from tests.app.api.completions.stubs import completion_body


def request(**fields: Any) -> CompletionRequest:
    return parse(CompletionRequest, json.dumps(completion_body(**fields)).encode())


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a"], ["a"]),
        (["a", ""], ["a", ""]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([[1]], [[1]]),
    ],
)
def test_there_is_one_choice_for_each_text_or_array_of_ids(prompt: Any, prompts: Any) -> None:
    assert request(prompt=prompt).prompts == prompts


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (None, "'prompt' : Value is not nullable"),
        (7, "'prompt' : value must be a string"),
        ({"a": 1}, "'prompt' : value must be a string"),
        ([], "'prompt' : minimum number of items is 1"),
        (["a", 1], "'prompt.1' : value must be a string"),
        (["a", None], "'prompt.1' : Value is not nullable"),
        ([1, "a"], "'prompt.1' : value must be an integer"),
        ([1, -1], "'prompt.1' : number must be at least 0"),
        ([1.0], "'prompt.0' : value must be a string"),
        ([True], "'prompt.0' : value must be an integer"),
        ([[1], []], "'prompt.1' : minimum number of items is 1"),
        ([[1], "a"], "'prompt.1' : value must be an array"),
        ([[["a"]]], "'prompt.0.0' : value must be an integer"),
    ],
)
def test_a_prompt_of_no_known_form_is_refused_at_its_place(prompt: Any, message: str) -> None:
    assert refusal(prompt=prompt).message == message


def test_an_absent_prompt_is_refused() -> None:
    with pytest.raises(ApiError, match="property 'prompt' is missing"):
        parse(CompletionRequest, b'{"model": "m"}')


@pytest.mark.parametrize("prompt", ["a", [1]])
def test_more_prompts_than_the_bound_are_refused(prompt: Any) -> None:
    assert len(request(prompt=[prompt] * MAX_PROMPTS).prompts) == MAX_PROMPTS
    error = refusal(prompt=[prompt] * (MAX_PROMPTS + 1))
    assert error.message == f"'prompt' : maximum number of items is {MAX_PROMPTS}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 2}, "'n' : number must be at most 1"),
        ({"best_of": 2}, "'best_of' : number must be at most 1"),
        ({"suffix": "end"}, "`suffix` is not supported with this model"),
        ({"logprobs": 6}, "'logprobs' : number must be at most 5"),
        ({"logprobs": True}, "'logprobs' : value must be an integer"),
        ({"max_tokens": -1}, "'max_tokens' : number must be at least 0"),
        ({"max_tokens": 0}, "`max_tokens` may be 0 only with `echo`"),
        (
            {"echo": True, "logprobs": 0},
            "`logprobs` cannot be used with `echo`: those of a prompt are not told",
        ),
        (
            {"stream_options": {"include_usage": True}},
            "`stream_options` is only allowed when `stream` is true",
        ),
        ({"top_k": 3}, "property 'top_k' is unsupported, did you mean 'top_p'?"),
        ({"messages": []}, "property 'messages' is unsupported"),
        ({"temperature": 2.1}, "'temperature' : number must be at most 2"),
        ({"logit_bias": {"x": 1}}, "'logit_bias.x' : string does not match the pattern "),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields).message.startswith(message)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "best_of": 1, "suffix": None, "user": "u"},
        {"suffix": ""},
        {"echo": True, "max_tokens": 0},
        {"echo": False, "logprobs": 5},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"service_tier": "flex", "seed": -1, "stop": ["a", "b"], "logit_bias": {"7": -100}},
    ],
)
def test_what_asks_for_nothing_special_is_taken(fields: dict[str, Any]) -> None:
    assert request(**fields)


@pytest.mark.parametrize(("given", "limit"), [({}, 16), ({"max_tokens": None}, 16)])
def test_sixteen_tokens_are_the_default(given: dict[str, Any], limit: int) -> None:
    assert request(**given).limit == limit
