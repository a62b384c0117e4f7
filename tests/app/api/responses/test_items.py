"""Which input items are taken, and what the engine sees of them."""

from typing import Any

import pytest

from app.errors import ApiError
from tests.app.api.responses.bodies import request

CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}


def prompts(*items: Any) -> list[dict[str, Any]]:
    return [item.prompt() for item in request(input=list(items)).items]


def problem(*items: Any) -> tuple[str, str | None]:
    with pytest.raises(ApiError) as caught:
        request(input=list(items))
    assert caught.value.status == 400
    return caught.value.message, caught.value.param


@pytest.mark.parametrize("kind", [{}, {"type": "message"}, {"type": None}])
@pytest.mark.parametrize(
    ("role", "seen"),
    [("user", "user"), ("assistant", "assistant"), ("system", "system"), ("developer", "system")],
)
def test_an_easy_message_is_taken_in_every_role(kind: Any, role: str, seen: str) -> None:
    assert prompts({**kind, "role": role, "content": "hi"}) == [{"role": seen, "content": "hi"}]


def test_a_message_has_text_and_images_as_parts() -> None:
    parts = [
        {"type": "input_text", "text": "what is this?"},
        {"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "low"},
    ]
    message = {"type": "message", "role": "user", "content": parts, "status": "completed"}
    (seen,) = prompts(message)
    assert seen["content"] == [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ]


def test_an_answer_s_message_is_taken_back_with_all_that_it_holds() -> None:
    part = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    message = {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [part, {"type": "refusal", "refusal": "no"}],
        "phase": None,
    }
    (seen,) = prompts(message)
    assert seen["role"] == "assistant"
    assert [part["text"] for part in seen["content"]] == ["hello", "no"]


def test_an_answer_s_call_and_its_output_are_taken_back() -> None:
    call = {**CALL, "id": "fc_1", "status": "completed", "arguments": "", "namespace": None}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "24", "id": None}
    assert prompts(call, output) == [
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "24"},
    ]


def test_a_call_s_output_may_be_parts() -> None:
    parts = [{"type": "input_text", "text": "24"}]
    output = {"type": "function_call_output", "call_id": "call_1", "output": parts}
    assert prompts(CALL, output)[1]["content"] == [{"type": "text", "text": "24"}]


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"content": [{"type": "reasoning_text", "text": "hm"}]}, "hm"),
        ({"content": None, "summary": [{"type": "summary_text", "text": "in short"}]}, "in short"),
        ({"encrypted_content": None}, ""),
    ],
)
def test_thoughts_are_taken_back(fields: dict[str, Any], seen: str) -> None:
    item = {"type": "reasoning", "id": "rs_1", "status": "completed", "summary": [], **fields}
    assert prompts(item) == [{"role": "assistant", "reasoning": seen}]


@pytest.mark.parametrize(
    ("item", "message", "param"),
    [
        (
            {"type": "item_reference", "id": "msg_1"},
            "`item_reference` is not supported: nothing is stored, send the item itself",
            "input.0",
        ),
        (
            {"type": "web_search_call", "id": "ws_1"},
            "items of type `web_search_call` are not served here",
            "input.0",
        ),
        ("hi", "'input.0' : value must be an object", "input.0"),
        (
            {"role": "root", "content": "hi"},
            "'input.0' : discriminator property 'role' has invalid value",
            "input.0",
        ),
        (
            {"type": 7},
            "'input.0' : discriminator property 'type' has invalid value",
            "input.0",
        ),
        (
            {"role": "user"},
            "'input.0.content' : property 'content' is missing",
            "input.0.content",
        ),
        (
            {"role": "user", "content": "hi", "name": "bob"},
            "'input.0' : property 'name' is unsupported",
            "input.0.name",
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]},
            "`file_id` is not supported: send `image_url`",
            "input.0.content.0.file_id",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "data": ""}]},
            "'input.0.content.0' : discriminator property 'type' has invalid value",
            "input.0.content.0",
        ),
        (
            {**CALL, "arguments": "[]"},
            "'input.0.arguments' : value must be a JSON object, written as a string",
            "input.0.arguments",
        ),
        (
            {"type": "reasoning", "encrypted_content": "gAAA"},
            "`encrypted_content` is not supported: send `content`",
            "input.0.encrypted_content",
        ),
    ],
)
def test_what_is_no_item_is_refused_in_words(item: Any, message: str, param: str) -> None:
    assert problem(item) == (message, param)


def test_an_image_is_no_instruction() -> None:
    part = {"type": "input_image", "image_url": "https://example.com/cat.png"}
    message, _ = problem({"role": "system", "content": [part]})
    assert "input.0.content.0" in message


def test_an_output_without_its_call_is_refused() -> None:
    output = {"type": "function_call_output", "call_id": "call_1", "output": "24"}
    message, param = problem(output, CALL)
    assert message.startswith("no function call with call_id 'call_1' comes before its output")
    assert param == "input.0.call_id"


def test_no_items_are_no_input() -> None:
    assert problem() == ("'input' : minimum number of items is 1", "input")
