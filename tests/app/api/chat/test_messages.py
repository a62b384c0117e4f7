"""What the engine is given for the messages of a request."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from app.api.chat.messages import Message, prompt
from app.api.chat.schemas import ChatCompletionRequest
from app.errors import ApiError
from app.json_document import parse
from tests.app.api.chat.bodies import encode

MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Message])


def refusal(*messages: object) -> ApiError:
    body = encode({"model": "m", "messages": list(messages)})
    with pytest.raises(ApiError) as caught:
        parse(ChatCompletionRequest, body)
    return caught.value


def test_text_and_text_parts_reach_the_engine_as_they_were_written() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "b"},
    ]
    assert prompt(MESSAGES.validate_python(messages)) == messages


def test_a_developer_message_is_a_system_message_to_the_engine() -> None:
    messages = MESSAGES.validate_python([{"role": "developer", "content": "d"}])
    assert prompt(messages) == [{"role": "system", "content": "d"}]


def test_an_assistant_message_may_carry_properties_that_say_nothing() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "b",
        "tool_calls": [],
        "function_call": None,
        "reasoning": "",
    }
    assert prompt(MESSAGES.validate_python([message])) == [{"role": "assistant", "content": "b"}]


CALL = {"id": "a1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def test_a_tool_loop_reaches_the_engine_as_it_was_written() -> None:
    messages = [
        {"role": "assistant", "reasoning": "because", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a1", "content": "7"},
    ]
    assert prompt(MESSAGES.validate_python(messages)) == messages


def test_the_deprecated_function_messages_become_a_tool_loop() -> None:
    function = {"name": "f", "arguments": ""}
    messages = [
        {"role": "assistant", "content": None, "function_call": function},
        {"role": "function", "name": "f", "content": None},
    ]
    call, result = prompt(MESSAGES.validate_python(messages))
    (called,) = call["tool_calls"]
    assert called["function"] == {"name": "f", "arguments": "{}"}
    assert result == {"role": "tool", "tool_call_id": called["id"], "content": ""}


def test_images_and_documents_stand_where_they_were_put() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "https://a.test/b.png", "detail": "low"}},
        {"type": "document", "document": {"id": "d1", "data": {"é": [1]}}},
    ]
    (message,) = prompt(MESSAGES.validate_python([{"role": "user", "content": content}]))
    assert message["content"] == [
        {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
        {"type": "text", "text": 'Document d1:\n{"é": [1]}\n'},
    ]


USER = {"role": "user", "content": "hi"}
WORDING = [
    (
        {"role": "assistant"},
        "'messages.1' : for 'role:assistant' the following must be satisfied["
        "('messages.1.content' : property 'content' is missing)]",
        "messages.1.content",
    ),
    (
        {"role": "user", "content": None},
        "'messages.1' : for 'role:user' the following must be satisfied["
        "('messages.1.content' : Value is not nullable)]",
        "messages.1.content",
    ),
    (
        {"role": "system", "content": 7},
        "'messages.1' : for 'role:system' the following must be satisfied["
        "('messages.1.content' : value must be a string)]",
        "messages.1.content",
    ),
    (
        {"role": "user", "content": "hi", "name": "a"},
        "'messages.1' : for 'role:user' the following must be satisfied["
        "('messages.1' : property 'name' is unsupported)]",
        "messages.1.name",
    ),
    (
        {"role": "developer", "content": []},
        "'messages.1' : for 'role:developer' the following must be satisfied["
        "('messages.1.content' : minimum number of items is 1)]",
        "messages.1.content",
    ),
    (
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]},
        "'messages.1' : for 'role:user' the following must be satisfied["
        "('messages.1.content.0' : property 'cache_control' is unsupported)]",
        "messages.1.content.0.cache_control",
    ),
    (
        {"role": "user", "content": ["a"]},
        "'messages.1' : for 'role:user' the following must be satisfied["
        "('messages.1.content.0' : value must be an object)]",
        "messages.1.content.0",
    ),
    (
        {"role": "model", "content": "a"},
        "'messages.1' : discriminator property 'role' has invalid value",
        "messages.1",
    ),
    ("hi", "'messages.1' : value must be an object", "messages.1"),
    (
        {"role": "user", "content": [{"type": "video_url"}]},
        "'messages.1' : for 'role:user' the following must be satisfied["
        "('messages.1.content.0' : discriminator property 'type' has invalid value)]",
        "messages.1.content.0",
    ),
    (
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        "'messages.1' : for 'role:system' the following must be satisfied["
        "('messages.1.content.0.type' : value is not one of the allowed values ['text'])]",
        "messages.1.content.0.type",
    ),
    (
        {"role": "tool", "content": "b"},
        "'messages.1' : for 'role:tool' the following must be satisfied["
        "('messages.1.tool_call_id' : property 'tool_call_id' is missing)]",
        "messages.1.tool_call_id",
    ),
    (
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function"}]},
        "'messages.1' : for 'role:assistant' the following must be satisfied["
        "('messages.1.tool_calls.0.function' : property 'function' is missing)]",
        "messages.1.tool_calls.0.function",
    ),
    (
        {"role": "assistant", "function_call": {"name": "f", "arguments": "[1]"}},
        "'messages.1' : for 'role:assistant' the following must be satisfied["
        "('messages.1.function_call.arguments' : value must be a JSON object, written as a "
        "string)]",
        "messages.1.function_call.arguments",
    ),
]


@pytest.mark.parametrize("arguments", ["[" * 100_000, '{"a":' * 100_000, "NaN", "1" * 5_000])
def test_arguments_that_nobody_can_read_are_refused(arguments: str) -> None:
    called = {"name": "f", "arguments": arguments}
    error = refusal(USER, {"role": "assistant", "function_call": called})
    assert (error.status, error.param) == (400, "messages.1.function_call.arguments")
    assert len(error.message) < 300


@pytest.mark.parametrize(("message", "said", "param"), WORDING)
def test_a_wrong_message_is_refused_in_groqs_wording(
    message: object, said: str, param: str
) -> None:
    error = refusal(USER, message)
    assert (error.status, error.message, error.param) == (400, said, param)


def test_the_first_of_many_wrong_messages_is_the_one_that_is_named() -> None:
    error = refusal(*[{"role": "user"}] * 500)
    assert error.param == "messages.0.content"
    assert len(error.message) < 200
