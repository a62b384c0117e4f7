"""Items become the turns that chat templates know."""

from typing import Any

from app.api.responses.turns import joined

USER = {"role": "user", "content": "hi"}
THOUGHT = {"role": "assistant", "reasoning": "hm"}
SAID = {"role": "assistant", "content": "hello"}
TOLD = {"role": "tool", "tool_call_id": "a", "content": "24"}


def call(id: str) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": id}]}


def test_thoughts_text_and_calls_of_one_answer_are_one_message() -> None:
    assert joined([USER, THOUGHT, SAID, call("a"), call("b"), TOLD]) == [
        USER,
        {
            "role": "assistant",
            "reasoning": "hm",
            "content": "hello",
            "tool_calls": [{"id": "a"}, {"id": "b"}],
        },
        TOLD,
    ]


def test_text_after_a_call_is_part_of_the_same_answer() -> None:
    both = {"role": "assistant", "tool_calls": [{"id": "a"}], "content": "hello"}
    assert joined([call("a"), SAID, TOLD]) == [both, TOLD]


def test_two_texts_stay_two_messages() -> None:
    assert joined([SAID, SAID]) == [SAID, SAID]


def test_an_output_between_calls_keeps_them_apart() -> None:
    assert joined([call("a"), TOLD, call("b")]) == [call("a"), TOLD, call("b")]


def test_thoughts_after_text_begin_another_message() -> None:
    thought_and_said = {"role": "assistant", "reasoning": "hm", "content": "hello"}
    assert joined([SAID, THOUGHT, SAID]) == [SAID, thought_and_said]


def test_thoughts_on_their_own_are_one_message_without_text() -> None:
    assert joined([THOUGHT, THOUGHT, USER]) == [
        {"role": "assistant", "reasoning": "hm\nhm", "content": ""},
        USER,
    ]


def test_the_items_that_are_joined_stay_as_they_were() -> None:
    first = call("a")
    joined([first, call("b")])
    assert first == call("a")
