"""Deltas become items, in their order."""

from typing import Any

import pytest

from app.api.responses.assembly import Assembly, Began, Ended, Wrote
from app.engine.base import Delta, ToolCall

CALL = ToolCall("call_1", "f", '{"a":1}')


def assembled(*deltas: Delta, is_cut: bool = False) -> list[tuple[str, str, str]]:
    assembly = Assembly()
    for delta in deltas:
        assembly.add(delta)
    assembly.end(is_cut=is_cut)
    return [(item.type, _text(item), item.status) for item in assembly.items]


def _text(item: Any) -> str:
    text: str = item.arguments if item.type == "function_call" else item.content[0].text
    return text


def test_a_text_is_one_message() -> None:
    assert assembled(Delta("a"), Delta("b")) == [("message", "ab", "completed")]


def test_thoughts_text_and_calls_are_items_of_their_own() -> None:
    assert assembled(Delta("t", "r", (CALL, CALL))) == [
        ("reasoning", "r", "completed"),
        ("message", "t", "completed"),
        ("function_call", '{"a":1}', "completed"),
        ("function_call", '{"a":1}', "completed"),
    ]


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    assert assembled(Delta()) == [("message", "", "completed")]


def test_thoughts_alone_need_no_message() -> None:
    assert assembled(Delta(reasoning="r"), is_cut=True) == [("reasoning", "r", "incomplete")]


def test_only_the_last_item_is_incomplete_in_an_answer_that_was_cut() -> None:
    assert assembled(Delta("t", "r"), is_cut=True) == [
        ("reasoning", "r", "completed"),
        ("message", "t", "incomplete"),
    ]


def test_blanks_between_thoughts_and_a_call_are_no_message() -> None:
    assert assembled(Delta(reasoning="r"), Delta("\n\n"), Delta(tool_calls=(CALL,))) == [
        ("reasoning", "r", "completed"),
        ("function_call", '{"a":1}', "completed"),
    ]


def test_blanks_before_a_text_belong_to_it() -> None:
    assert assembled(Delta("\n"), Delta("\n"), Delta("a"), Delta(" ")) == [
        ("message", "\n\na ", "completed")
    ]


@pytest.mark.parametrize("reasoning", ["", "r"])
def test_blanks_are_a_message_where_there_is_nothing_else(reasoning: str) -> None:
    assert assembled(Delta("\n", reasoning))[-1] == ("message", "\n", "completed")


def test_steps_tell_what_changes() -> None:
    assembly = Assembly()
    began, wrote = assembly.add(Delta("a"))
    assert isinstance(began, Began)
    assert (began.index, began.item.status) == (0, "in_progress")
    assert wrote == Wrote("a")
    assert assembly.add(Delta("b")) == [Wrote("b")]
    (ended,) = assembly.end(is_cut=False)
    assert isinstance(ended, Ended)
    assert (ended.text, ended.item) == ("ab", assembly.items[0])
    assert ended.item.id == began.item.id


def test_what_is_broken_off_is_incomplete() -> None:
    assembly = Assembly()
    assembly.add(Delta("a", "r"))
    assert [item.status for item in assembly.broken_off()] == ["completed", "incomplete"]
