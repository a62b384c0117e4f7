"""Which chat requests are taken, and in which words the others are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.chat.schemas import MAX_MESSAGES, ChatCompletionRequest
from app.engine.base import Usage
from app.errors import ApiError
from app.groq_fields import CompletionUsage
from app.json_document import parse
from app.wire import MAX_PARTS
from tests.app.api.chat.bodies import MESSAGES, chat_body, encode
from tests.stopwatch import cpu_time

GROQ_FIELDS = {
    "messages",
    "model",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "seed",
    "stream",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "disable_tool_validation",
    "reasoning_effort",
    "reasoning_format",
    "include_reasoning",
    "service_tier",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "metadata",
    "store",
    "search_settings",
    "include_domains",
    "exclude_domains",
    "compound_custom",
    "documents",
    "citation_options",
    "stream_options",
}


def accepted(**fields: Any) -> ChatCompletionRequest:
    return parse(ChatCompletionRequest, encode(chat_body(**fields)))


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        accepted(**fields)
    return caught.value


def test_the_schema_declares_exactly_groqs_fields() -> None:
    assert set(ChatCompletionRequest.model_fields) == GROQ_FIELDS


@pytest.mark.parametrize("field", sorted(GROQ_FIELDS - {"messages", "model"}))
def test_null_asks_for_the_default_in_every_optional_field(field: str) -> None:
    assert accepted(**{field: None}) == accepted()


NO_OPS = [
    {"n": 1},
    {"store": False},
    {"metadata": {"a": "b"}},
    {"user": "u"},
    {"service_tier": "auto"},
    {"service_tier": "on_demand"},
    {"response_format": {"type": "text"}},
    {"logprobs": False},
    {"top_logprobs": 0},
    {"include_reasoning": True},
    {"logit_bias": {}},
    {"tools": []},
    {"tool_choice": "none"},
    {"parallel_tool_calls": True},
    {"disable_tool_validation": False},
    {"functions": []},
    {"function_call": "none"},
    {"documents": []},
    {"citation_options": "enabled"},
    {"search_settings": {}},
    {"include_domains": []},
    {"compound_custom": {}},
    {"stop": []},
    {"stream": True, "stream_options": {"include_usage": True}},
]


@pytest.mark.parametrize("fields", NO_OPS)
def test_values_that_ask_for_nothing_special_are_accepted(fields: dict[str, Any]) -> None:
    assert accepted(**fields).messages


FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
NAMED = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}

TAKEN = [
    {"logprobs": True, "top_logprobs": 20},
    {"logit_bias": {"50256": -100, "1": 0.5}},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [TOOL], "tool_choice": NAMED, "parallel_tool_calls": False},
    {"tools": [{**TOOL, "function": {**FUNCTION, "strict": True}}]},
    {"functions": [FUNCTION], "function_call": {"name": "f"}},
    {"reasoning_effort": "low", "include_reasoning": False},
    {"reasoning_format": "raw"},
    {"response_format": SCHEMA},
    {"response_format": {"type": "json_object"}},
    {"documents": [{"source": {"type": "text", "text": "a"}}], "citation_options": "disabled"},
    {"service_tier": "flex"},
]


@pytest.mark.parametrize("fields", TAKEN)
def test_what_a_model_can_do_is_taken(fields: dict[str, Any]) -> None:
    assert accepted(**fields).messages


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("search_settings", {"country": "france"}),
        ("include_domains", ["a.test"]),
        ("exclude_domains", ["a.test"]),
        ("compound_custom", {"models": {}}),
    ],
)
def test_compound_systems_are_refused_by_name(field: str, value: object) -> None:
    error = refusal(**{field: value})
    assert (error.status, error.param) == (400, field)
    assert error.message == (
        f"`{field}` is for compound systems, which are not served here: leave it out"
    )


@pytest.mark.parametrize("kind", ["browser_search", "code_interpreter"])
def test_tools_that_run_at_groq_are_refused_by_name(kind: str) -> None:
    error = refusal(tools=[{"type": kind}])
    assert error.message == f"tools of type `{kind}` are not served here: use `function`"


def test_nothing_is_stored() -> None:
    error = refusal(store=True)
    assert (error.message, error.param) == ("`store` is not supported with this model", "store")


CONTRADICTIONS = [
    ({"top_logprobs": 3}, "`logprobs` must be true to use `top_logprobs`", "top_logprobs"),
    (
        {"tools": [TOOL], "functions": [FUNCTION]},
        "`tools` and `functions` cannot be used together",
        "functions",
    ),
    ({"tools": [TOOL, TOOL]}, "two of `tools` have the same name", "tools"),
    ({"functions": [FUNCTION] * 2}, "two of `functions` have the same name", "functions"),
    ({"tool_choice": "required"}, "`tool_choice` needs `tools` to choose from", "tool_choice"),
    ({"tool_choice": "auto"}, "`tool_choice` needs `tools` to choose from", "tool_choice"),
    (
        {"tools": [TOOL], "tool_choice": {**NAMED, "function": {"name": "g"}}},
        "`tool_choice` names none of `tools`",
        "tool_choice",
    ),
    (
        {"functions": [FUNCTION], "function_call": {"name": "g"}},
        "`function_call` names none of `functions`",
        "function_call",
    ),
    (
        {"functions": [FUNCTION], "tool_choice": "required"},
        "`tool_choice` needs `tools` to choose from",
        "tool_choice",
    ),
    (
        {"tools": [TOOL], "function_call": "auto"},
        "`function_call` needs `functions` to choose from",
        "function_call",
    ),
    (
        {"reasoning_format": "parsed", "include_reasoning": True},
        "`include_reasoning` and `reasoning_format` cannot be used together",
        "reasoning_format",
    ),
    (
        {"reasoning_format": "raw", "tools": [TOOL]},
        "`reasoning_format` `raw` cannot be used with JSON output or tools",
        "reasoning_format",
    ),
    (
        {"reasoning_format": "raw", "response_format": SCHEMA},
        "`reasoning_format` `raw` cannot be used with JSON output or tools",
        "reasoning_format",
    ),
]


@pytest.mark.parametrize(("fields", "said", "param"), CONTRADICTIONS)
def test_fields_that_contradict_one_another_are_refused(
    fields: dict[str, Any], said: str, param: str
) -> None:
    error = refusal(**fields)
    assert (error.status, error.message, error.param) == (400, said, param)


def test_functions_are_tools_in_their_old_form() -> None:
    old = accepted(functions=[FUNCTION], function_call={"name": "f"})
    new = accepted(tools=[TOOL], tool_choice=NAMED)
    assert [function.tool() for function in old.declared_functions] == [TOOL]
    assert old.declared_functions == new.declared_functions
    assert old.choice == new.choice == NAMED


def test_a_choice_is_left_to_the_model_where_none_is_made() -> None:
    assert accepted(tools=[TOOL]).choice == "auto"


WORDING = [
    ({"temperature": 2.5}, "'temperature' : number must be at most 2.0", "temperature"),
    ({"temperature": "1"}, "'temperature' : value must be a number", "temperature"),
    ({"temperature": True}, "'temperature' : value must be a number", "temperature"),
    ({"top_p": -0.1}, "'top_p' : number must be at least 0.0", "top_p"),
    ({"frequency_penalty": 3}, "'frequency_penalty' : number must be at most 2.0", None),
    ({"n": 2}, "'n' : number must be at most 1", "n"),
    ({"n": 1.0}, "'n' : value must be an integer", "n"),
    ({"n": True}, "'n' : value must be an integer", "n"),
    ({"max_tokens": 0}, "'max_tokens' : number must be at least 1", "max_tokens"),
    ({"seed": 2**63}, "'seed' : number must be at most 9223372036854775807", "seed"),
    ({"stop": ""}, "'stop' : minimum string length is 1", "stop"),
    ({"stop": ["a", ""]}, "'stop.1' : minimum string length is 1", "stop.1"),
    ({"stop": list("abcde")}, "'stop' : maximum number of items is 4", "stop"),
    ({"stop": 7}, "'stop' : value must be a string", "stop"),
    ({"stream": 1}, "'stream' : value must be a boolean", "stream"),
    ({"user": 5}, "'user' : value must be a string", "user"),
    ({"metadata": {"a": 1}}, "'metadata.a' : value must be a string", "metadata.a"),
    ({"messages": []}, "'messages' : minimum number of items is 1", "messages"),
    ({"messages": "hi"}, "'messages' : value must be an array", "messages"),
    ({"messages": None}, "'messages' : Value is not nullable", "messages"),
    ({"model": None}, "'model' : Value is not nullable", "model"),
    ({"model": ""}, "'model' : minimum string length is 1", "model"),
    ({"response_format": "text"}, "'response_format' : value must be an object", None),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "'response_format.json_schema.schema' : property 'schema' is missing",
        "response_format.json_schema.schema",
    ),
    (
        {"response_format": {"type": "xml"}},
        "'response_format' : discriminator property 'type' has invalid value",
        "response_format",
    ),
    (
        {"tools": [{**TOOL, "function": {"name": "a b"}}]},
        "'tools.0.function.name' : string does not match the pattern ^[a-zA-Z0-9_-]{1,64}$",
        "tools.0.function.name",
    ),
    ({"tools": [TOOL] * 129}, "'tools' : maximum number of items is 128", "tools"),
    ({"tool_choice": "any"}, "'tool_choice' : value is not one of the allowed values", None),
    (
        {"logit_bias": {"a": 1}},
        "'logit_bias.a' : string does not match",
        "logit_bias.a",
    ),
    ({"logit_bias": {"1": 101}}, "'logit_bias.1' : number must be at most 100.0", "logit_bias.1"),
    (
        {"service_tier": "default"},
        "'service_tier' : value is not one of the allowed values "
        "['auto', 'on_demand', 'flex' or 'performance']",
        "service_tier",
    ),
    (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        "'stream_options' : property 'include_obfuscation' is unsupported",
        "stream_options.include_obfuscation",
    ),
    (
        {"stream_options": {"include_usage": True}},
        "`stream_options` is only allowed when `stream` is true",
        "stream_options",
    ),
    (
        {"max_tokens": 5, "max_completion_tokens": 6},
        "`max_tokens` and `max_completion_tokens` differ: give only one of them",
        "max_tokens",
    ),
]


@pytest.mark.parametrize(("fields", "said", "param"), WORDING)
def test_a_wrong_value_is_refused_by_name_and_with_what_is_allowed(
    fields: dict[str, Any], said: str, param: str | None
) -> None:
    error = refusal(**fields)
    assert (error.status, error.code) == (400, None)
    assert error.message.startswith(said)
    assert error.param == (param or next(iter(fields)))


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("max_token", ", did you mean 'max_tokens'?"),
        ("top_k", ", did you mean 'top_p'?"),
        ("min_p", ""),
    ],
)
def test_a_field_outside_groqs_list_is_unsupported(field: str, meant: str) -> None:
    error = refusal(**{field: 1})
    assert error.envelope() == {
        "error": {
            "message": f"property '{field}' is unsupported{meant}",
            "type": "invalid_request_error",
        }
    }


@given(st.text().filter(lambda name: name not in GROQ_FIELDS), st.none() | st.integers())
def test_no_field_outside_groqs_list_is_ever_accepted(name: str, value: object) -> None:
    error = refusal(**{name: value})
    assert error.status == 400
    assert len(error.message) < 400


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        parse(ChatCompletionRequest, encode({"messages": MESSAGES}))
    assert caught.value.message == "'model' : property 'model' is missing"


def test_control_characters_have_no_place_in_a_model_id() -> None:
    assert refusal(model="a\x00b").param == "model"


def test_a_conversation_may_have_as_many_messages_as_documented_and_no_more() -> None:
    assert len(accepted(messages=MESSAGES * MAX_MESSAGES).messages) == MAX_MESSAGES
    assert refusal(messages=MESSAGES * (MAX_MESSAGES + 1)).param == "messages"


PART = {"type": "text", "text": "a"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_parts_and_calls_are_counted_over_all_messages() -> None:
    half = MAX_PARTS // 2
    user = {"role": "user", "content": [PART] * half}
    assistant = {"role": "assistant", "tool_calls": [CALL] * half}
    assert len(accepted(messages=[user, assistant]).messages) == 2
    error = refusal(messages=[user, assistant, {"role": "user", "content": [PART]}])
    assert error.param == "messages"
    assert error.message == "'messages' : maximum number of parts and tool calls is 8192"


def test_too_many_parts_are_refused_before_any_is_read() -> None:
    body = encode(chat_body(messages=[{"role": "user", "content": [PART] * 80_000}]))
    document = json.loads(body)
    with cpu_time() as reading, pytest.raises(ValidationError):
        ChatCompletionRequest.model_validate(document)
    assert reading.seconds < 0.05


def test_equal_limits_under_both_names_are_one_limit() -> None:
    request = accepted(max_tokens=5, max_completion_tokens=5)
    assert request.completion_limit == ("max_completion_tokens", 5)


def test_cached_tokens_are_told_only_where_there_are_any() -> None:
    without = CompletionUsage.of(Usage(1, 2, 0, 0.0, 0.0, 0.0))
    cached = CompletionUsage.of(Usage(9, 2, 8, 0.0, 0.0, 0.0))
    assert "completion_tokens_details" not in without.model_dump(exclude_unset=True)
    assert "prompt_tokens_details" not in without.model_dump(exclude_unset=True)
    assert cached.model_dump(exclude_unset=True)["prompt_tokens_details"] == {"cached_tokens": 8}
