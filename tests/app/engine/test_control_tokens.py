"""Control tokens in callers' text are text to the model, and all other text is as it was."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from app.engine.base import PromptRefused
from app.engine.control_tokens import ControlTokens, Hidden, unescaped
from tests.fixtures.tiny_llama import SPECIAL_TOKENS, write_model

START, END = SPECIAL_TOKENS
TEXT = st.lists(st.sampled_from([START, END, "<|", "|>", "a", "é", " ", "\n"])).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(write_model(tmp_path_factory.mktemp("tokens") / "tiny"))


@pytest.fixture(scope="module")
def control(tokenizer: Any) -> ControlTokens:
    return ControlTokens(tokenizer)


def hidden(control: ControlTokens, value: Any) -> Hidden:
    found = control.hide(value)
    assert found is not None
    return found


@pytest.mark.parametrize("value", ["", "plain", "<|starter|>", "<s>", [{"a": 1, "b": None}]])
def test_ordinary_text_is_left_alone(control: ControlTokens, value: Any):
    assert control.hide(value) is None


def test_literals_are_hidden_wherever_text_stands(control: ControlTokens):
    found = hidden(control, [{"content": [{"text": f"a{START}b"}], "n": 7}, f"{END}"])
    assert list(found.literals) == [START, END]
    assert START not in str(found.value)
    assert found.value[0]["n"] == 7


@given(text=TEXT)
def test_no_text_of_a_caller_makes_a_control_token(
    control: ControlTokens, tokenizer: Any, text: str
):
    found = control.hide(text)
    value = text if found is None else found.value
    rendered = f"{START}user:{value}{END}"
    ids = tokenizer(rendered)["input_ids"] if found is None else control.tokens(rendered, found)
    special = set(tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS))
    assert [id in special for id in ids].count(True) == 2
    assert tokenizer.decode(ids) == f"{START}user:{text}{END}"


def test_literals_are_hidden_in_the_names_of_properties(control: ControlTokens) -> None:
    found = hidden(control, {"properties": {f"a{END}": {"type": "string"}}})
    assert list(found.literals) == [END]
    assert END not in str(found.value)


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


@given(cuts=st.lists(st.integers(1, len(START) - 1), min_size=1, max_size=3, unique=True))
def test_parts_do_not_make_a_control_token_together(
    control: ControlTokens, tokenizer: Any, cuts: list[int]
) -> None:
    ends = [0, *sorted(cuts), len(START)]
    pieces = [START[begin:end] for begin, end in itertools.pairwise(ends)]
    found = hidden(control, [{"role": "user", "content": parts("a", *pieces, "b")}])
    rendered = "".join(part["text"] for part in found.value[0]["content"])
    ids = control.tokens(rendered, found)
    assert tokenizer.convert_tokens_to_ids(START) not in ids
    assert tokenizer.decode(ids) == f"a{START}b"


def test_parts_that_only_end_like_a_literal_go_the_usual_way(control: ControlTokens) -> None:
    assert control.hide([{"content": parts("is 1 <", " 2?")}]) is None


ESCAPED = [START.replace("<", "\\u003c"), START.replace("s", "\\u0073"), START]


@pytest.mark.parametrize("written", ESCAPED)
def test_no_escape_hides_a_literal_in_a_calls_arguments(
    control: ControlTokens, written: str
) -> None:
    arguments = f'{{"{written}": ["{written}"]}}'
    assert json.loads(arguments) == {START: [START]}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    found = hidden(control, unescaped([{"role": "assistant", "tool_calls": [call]}]))
    assert list(found.literals) == [START, START]


def test_messages_without_escapes_are_left_as_they_are() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}}
    messages = [{"role": "user", "content": "\\u003c"}, {"role": "assistant", "tool_calls": [call]}]
    assert unescaped(messages) == messages


def test_the_shared_tokenizer_still_splits_nothing(control: ControlTokens, tokenizer: Any):
    assert tokenizer(START)["input_ids"] == [tokenizer.convert_tokens_to_ids(START)]


def test_a_template_that_mangles_the_placeholder_is_a_refusal(control: ControlTokens):
    found = hidden(control, f"a{START}")
    with pytest.raises(PromptRefused):
        control.tokens(found.value.removesuffix("e"), found)


def test_a_caller_cannot_guess_a_placeholder(control: ControlTokens, tmp_path: Path):
    first, second = (hidden(control, START) for _ in range(2))
    assert first.mark != second.mark
