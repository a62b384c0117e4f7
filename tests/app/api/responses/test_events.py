"""The bytes of a stream, read back by the decoder of OpenAI's SDK."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import construct_type_unchecked, validate_type
from openai.types.responses import ResponseStreamEvent

from app.api.responses.assembly import Assembly
from app.api.responses.events import EventEncoder
from app.api.responses.response import Response
from app.engine.base import Delta, ToolCall
from app.errors import json_validate_failed, overloaded
from tests.app.api.responses.bodies import WEATHER, events, request
from tests.app.inference.stubs import USAGE

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
EVENT: Any = ResponseStreamEvent
CALL = ToolCall("call_1", "get_weather", '{"city":"Oslo"}')


def begun() -> Response:
    named = {"type": "function", "name": "get_weather"}
    asked = request(tools=[WEATHER], tool_choice=named, metadata={"k": "v"})
    return Response.begun(asked, id="resp_1", created=1_700_000_000, model="tiny-base")


def stream(*deltas: Delta, is_cut: bool = False) -> bytes:
    assembly, encoder = Assembly(), EventEncoder()
    written = encoder.begun(begun())
    for delta in deltas:
        written += encoder.steps(assembly.add(delta))
    written += encoder.steps(assembly.end(is_cut=is_cut))
    return written + encoder.ended(begun().ended(assembly.items, USAGE, is_cut=is_cut))


def names(told: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


def test_a_text_has_openais_events_in_their_order() -> None:
    assert names(events(stream(Delta("a"), Delta("b")))) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_a_call_has_its_arguments_as_a_piece_and_as_a_whole() -> None:
    told = events(stream(Delta(tool_calls=(CALL,))))
    assert names(told)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    added, piece, whole, done = told[2:-1]
    assert (added["item"]["arguments"], added["item"]["call_id"]) == ("", "call_1")
    assert piece["delta"] == whole["arguments"] == done["item"]["arguments"] == CALL.arguments


def test_thoughts_have_events_of_their_own() -> None:
    assert names(events(stream(Delta("b", "a"))))[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]


def test_a_piece_has_its_place_its_text_and_its_number() -> None:
    piece = stream(Delta("hi")).split(b"\n\n")[4]
    item = json.loads(piece.partition(b"data: ")[2])["item_id"]
    assert piece.decode() == (
        "event: response.output_text.delta\n"
        f'data: {{"type":"response.output_text.delta","item_id":"{item}","output_index":0,'
        '"content_index":0,"logprobs":[],"delta":"hi","sequence_number":4}'
    )


def test_a_cut_answer_ends_incomplete() -> None:
    last = events(stream(Delta("a"), is_cut=True))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_error_is_flat_and_numbered() -> None:
    encoder = EventEncoder()
    encoder.begun(begun())
    (event,) = events(encoder.error(json_validate_failed("{", "no JSON")))
    assert event == {
        "type": "error",
        "code": "json_validate_failed",
        "message": "no JSON",
        "param": None,
        "failed_generation": "{",
        "sequence_number": 2,
    }


def test_every_event_is_of_the_type_that_openais_sdk_declares() -> None:
    failed = EventEncoder()
    told = events(
        stream(Delta("b", "a", (CALL,)))
        + stream(Delta("a"), is_cut=True)
        + failed.error(overloaded("gone"))
        + failed.ended(begun().failed([], "gone"))
    )
    assert len(set(names(told))) == 16
    for event in told:
        validate_type(type_=EVENT, value=event)


def test_the_strict_check_of_the_sdk_would_see_a_wrong_event() -> None:
    wrong = {**events(stream(Delta("a")))[4], "output_index": "first"}
    with pytest.raises(ValueError, match="output_index"):
        validate_type(type_=EVENT, value=wrong)
    assert construct_type_unchecked(type_=EVENT, value=wrong)


@given(TEXT.filter(bool), TEXT, TEXT)
def test_no_text_can_break_a_line_for_clients_that_split_decoded_text(
    text: str, thought: str, arguments: str
) -> None:
    call = ToolCall("call_1", text, arguments)
    written = stream(Delta(text, thought, (call,)))
    lines = written.decode().splitlines()
    assert len(lines) == 3 * written.count(b"event: response.")
    assert all(line == "" or line.startswith(("event: ", "data: {")) for line in lines)
    assert events(written)[-1]["response"]["output"][-1]["arguments"] == arguments
