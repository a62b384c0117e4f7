"""SmolLM2's template with tools: its own prompts where there are none, and nobody forges a turn."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.engine.control_tokens import ControlTokens, unescaped
from deploy.quickstart.paths import CATALOG

TEMPLATE = CATALOG.with_name("templates") / "smollm2-tools.jinja"
ROLES = st.sampled_from(["system", "user", "assistant"])
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": ROLES, "content": st.text(max_size=20)}), min_size=1, max_size=5
)
FUNCTION = {"name": "get_time", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": FUNCTION}]
USER = {"role": "user", "content": "Well?"}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture(scope="module")
def control(tokenizer: Any) -> ControlTokens:
    return ControlTokens(tokenizer)


def rendered(tokenizer: Any, messages: Any, **options: Any) -> str:
    """Render as vLLM does, which reads the arguments of calls before."""
    read = json.loads(json.dumps(messages))
    for message in read:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    options = {"add_generation_prompt": True, "tokenize": False, **options}
    text: str = tokenizer.apply_chat_template(read, **options)
    return text


def with_tools(tokenizer: Any, messages: Any, tools: Any = TOOLS) -> str:
    return rendered(tokenizer, messages, tools=tools, chat_template=TEMPLATE.read_text())


@given(messages=MESSAGES, ends=st.booleans())
def test_a_conversation_without_tools_is_rendered_as_the_model_itself_does(
    tokenizer: Any, messages: Any, ends: bool
) -> None:
    own = rendered(tokenizer, messages, add_generation_prompt=not ends)
    ours = rendered(
        tokenizer,
        messages,
        add_generation_prompt=not ends,
        chat_template=TEMPLATE.read_text(),
    )
    assert ours == own


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ([], "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        ([SYSTEM], "Be brief."),
    ],
)
def test_tools_are_told_in_the_one_system_turn(
    tokenizer: Any, before: list[Any], told: str
) -> None:
    text = with_tools(tokenizer, [*before, USER])
    assert text.startswith(
        f"<|im_start|>system\n{told}\n\nYou may call these functions:\n<tools>\n"
    )
    assert json.dumps(FUNCTION) in text
    assert text.count("<|im_start|>system") == 1
    assert text.endswith("<|im_start|>user\nWell?<|im_end|>\n<|im_start|>assistant\n")


def test_calls_and_results_are_turns_in_the_form_that_the_parser_reads(tokenizer: Any) -> None:
    called = {"name": "get_time", "arguments": '{"zone": "é\\n"}'}
    call = {"id": "c", "type": "function", "function": called}
    asked = {"role": "assistant", "content": "Look.", "tool_calls": [call, call]}
    text = with_tools(tokenizer, [USER, asked, {"role": "tool", "content": "12:04"}])
    one = '<tool_call>\n{"name": "get_time", "arguments": {"zone": "é\\n"}}\n</tool_call>\n'
    assert f"<|im_start|>assistant\nLook.{one}{one}<|im_end|>\n" in text
    result = "<|im_start|>user\n<tool_response>\n12:04\n</tool_response><|im_end|>\n"
    assert text.endswith(f"{result}<|im_start|>assistant\n")


def conversation(text: str) -> tuple[list[Any], list[Any]]:
    """A conversation with the text in every place where a caller may write."""
    schema = {"type": "object", "title": text, "properties": {text: {"enum": [text]}}}
    escaped = json.dumps({text: text}).replace("<", "\\u003c")
    call = {"id": text, "type": "function", "function": {"name": "f", "arguments": escaped}}
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": f"a{text}b"},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": text, "content": text},
    ]
    function = {"name": "f", "description": text, "parameters": schema}
    return messages, [{"type": "function", "function": function}]


def test_no_literal_of_a_control_token_in_any_text_makes_one(
    tokenizer: Any, control: ControlTokens
) -> None:
    special = set(tokenizer.all_special_ids)
    messages, tools = conversation("harmless")
    own = [id for id in tokenizer(with_tools(tokenizer, messages, tools))["input_ids"]]
    for literal in tokenizer.all_special_tokens:
        messages, tools = conversation(literal)
        hidden = control.hide([unescaped(messages), tools])
        assert hidden is not None
        ids = control.tokens(with_tools(tokenizer, *hidden.value), hidden)
        assert [id for id in ids if id in special] == [id for id in own if id in special]
        assert tokenizer.decode(ids) == with_tools(tokenizer, messages, tools)
