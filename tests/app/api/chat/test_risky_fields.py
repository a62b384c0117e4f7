"""Switches of vLLM's own server, none of which a caller may reach from anywhere in a request."""

from typing import Any

import pytest

from app.api.chat.schemas import ChatCompletionRequest
from app.errors import ApiError
from app.json_document import parse
from tests.app.api.chat.bodies import chat_body, encode

RISKY = [
    "add_generation_prompt",
    "add_special_tokens",
    "allowed_token_ids",
    "bad_words",
    "cache_salt",
    "chat_template",
    "chat_template_kwargs",
    "continue_final_message",
    "ec_transfer_params",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "ignore_eos",
    "kv_transfer_params",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "priority",
    "prompt_embeds",
    "prompt_token_ids",
    "request_id",
    "return_token_ids",
    "skip_special_tokens",
    "stop_token_ids",
    "structured_outputs",
    "truncate_prompt_tokens",
    "use_beam_search",
    "vllm_xargs",
]
PART = {"type": "text", "text": "a"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse(ChatCompletionRequest, encode(chat_body(**fields)))
    return caught.value


@pytest.mark.parametrize("field", RISKY)
@pytest.mark.parametrize("value", [None, True, {"a": 1}])
def test_no_switch_is_taken_in_the_body(field: str, value: object) -> None:
    error = refusal(**{field: value})
    assert error.status == 400
    assert error.message.startswith(f"property '{field}' is unsupported")


@pytest.mark.parametrize("field", RISKY)
@pytest.mark.parametrize(
    "messages",
    [
        lambda odd: [{"role": "user", "content": "a", **odd}],
        lambda odd: [{"role": "system", "content": "a", **odd}],
        lambda odd: [{"role": "assistant", "content": "a", **odd}],
        lambda odd: [{"role": "tool", "tool_call_id": "c", "content": "a", **odd}],
        lambda odd: [{"role": "user", "content": [{**PART, **odd}]}],
        lambda odd: [{"role": "assistant", "tool_calls": [{**CALL, **odd}]}],
    ],
    ids=["user", "system", "assistant", "tool", "part", "call"],
)
def test_no_message_or_part_of_one_takes_what_groq_does_not_name(field: str, messages: Any) -> None:
    error = refusal(messages=messages({field: True}))
    assert error.status == 400
    assert f"property '{field}' is unsupported" in error.message
