"""Tools, structured outputs, reasoning and Responses as the official SDKs show them.

Only URL and key are ours. The model is told what to say, so every answer is known.
"""

import json
from typing import Any

import groq
import openai
import pytest
from pydantic import BaseModel

from tests.e2e.test_sdk_examples import clients
from tests.fixtures.scripted_llama import MODEL_ID
from tests.fixtures.scripts import JSON, THOUGHT, spoken
from tests.fixtures.server import Server

pytestmark = pytest.mark.engine

QUESTION = {"role": "user", "content": "What is the weather in Paris?"}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Return the weather in a city.",
        "parameters": PARAMETERS,
    },
}
REPORT_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "temperature": {"type": "integer"},
        "dry": {"type": "boolean"},
    },
    "required": ["city", "temperature", "dry"],
    "additionalProperties": False,
}


class Report(BaseModel):
    """The weather in a city."""

    city: str
    temperature: int
    dry: bool


LIMA = Report(city="Lima", temperature=21, dry=True)


def told(play: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": f"play: {play}"}, QUESTION]


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("sdk-examples")


@pytest.fixture(params=[groq, openai], ids=["groq", "openai"])
def client(request: pytest.FixtureRequest, server: Server, key: str) -> Any:
    return clients(request.param, server, key)[0]


@pytest.fixture
def openai_client(server: Server, key: str) -> Any:
    return clients(openai, server, key)[0]


def ask(client: Any, **body: Any) -> Any:
    """Return the completion, or the list of its chunks."""
    with client:
        answer = client.chat.completions.create(
            **{"model": MODEL_ID, "messages": [QUESTION], "temperature": 0, **body}
        )
        return list(answer) if body.get("stream") else answer


def test_a_developer_message_is_understood(client: Any) -> None:
    messages = [{"role": "developer", "content": "play: text"}, QUESTION]

    assert ask(client, messages=messages).choices[0].message.content == spoken("text")


def test_a_tool_loop_ends_with_an_answer(client: Any) -> None:
    messages: list[Any] = [QUESTION]
    with client:
        create = client.chat.completions.create
        asked = create(model=MODEL_ID, messages=messages, tools=[TOOL]).choices[0]
        (call,) = asked.message.tool_calls
        city = json.loads(call.function.arguments)["city"]
        result = {"role": "tool", "tool_call_id": call.id, "content": f"sunny in {city}"}
        messages += [asked.message.to_dict(), result]
        answer = create(model=MODEL_ID, messages=messages, tools=[TOOL]).choices[0]

    assert (asked.finish_reason, call.function.name, city) == ("tool_calls", "get_weather", "Paris")
    assert (answer.finish_reason, answer.message.content) == ("stop", spoken("after_tool"))


def test_parallel_calls_have_ids_of_their_own(client: Any) -> None:
    message = ask(client, messages=told("two_calls"), tools=[TOOL]).choices[0].message

    cities = [json.loads(call.function.arguments)["city"] for call in message.tool_calls]
    assert cities == ["Paris", "Oslo"]
    assert len({call.id for call in message.tool_calls}) == 2


def test_a_call_is_streamed_in_pieces(client: Any) -> None:
    chunks = ask(client, tools=[TOOL], stream=True)

    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    pieces = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert "".join(piece.function.name or "" for piece in pieces) == "get_weather"
    assert "".join(piece.function.arguments or "" for piece in pieces) == '{"city":"Paris"}'
    assert choices[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": TOOL["function"]}])
def test_a_forced_call_is_made(client: Any, choice: Any) -> None:
    named = choice if choice == "required" else {**choice, "function": {"name": "get_weather"}}
    body = {"messages": told("text"), "tools": [TOOL], "tool_choice": named}

    (call,) = ask(client, **body).choices[0].message.tool_calls

    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_no_call_is_made_where_none_is_allowed(client: Any) -> None:
    message = (
        ask(client, messages=told("text"), tools=[TOOL], tool_choice="none").choices[0].message
    )

    assert (message.content, message.tool_calls) == (spoken("text"), None)


@pytest.mark.parametrize("play", ["json", "text"])
def test_a_strict_schema_holds(client: Any, play: str) -> None:
    wanted = {"name": "report", "strict": True, "schema": REPORT_SCHEMA}
    body = {"response_format": {"type": "json_schema", "json_schema": wanted}}

    content = ask(client, messages=told(play), **body).choices[0].message.content

    parsed = Report.model_validate_json(content)
    assert play == "text" or parsed == LIMA


def test_json_mode_gives_an_object(client: Any) -> None:
    # Groq and OpenAI want the word JSON among the messages.
    messages = [*told("json"), {"role": "user", "content": "Answer in JSON."}]

    answer = ask(client, messages=messages, response_format={"type": "json_object"})

    assert answer.choices[0].message.content == JSON


def test_openais_parse_returns_a_model(openai_client: Any) -> None:
    with openai_client:
        completion = openai_client.chat.completions.parse(
            model=MODEL_ID, messages=told("json"), response_format=Report
        )

    assert completion.choices[0].message.parsed == LIMA


def test_reasoning_stands_beside_the_answer(server: Server, key: str) -> None:
    client, _ = clients(groq, server, key)
    body = {"reasoning_format": "parsed", "reasoning_effort": "default"}

    message = ask(client, messages=told("think"), **body).choices[0].message

    assert message.reasoning.strip() == THOUGHT.strip()
    assert message.content.strip() == "So the answer is four."


def test_reasoning_is_streamed_before_the_answer(server: Server, key: str) -> None:
    client, _ = clients(groq, server, key)
    body = {"reasoning_format": "parsed", "reasoning_effort": "default", "stream": True}

    deltas = [chunk.choices[0].delta for chunk in ask(client, **body) if chunk.choices]

    kinds = ["reasoning" if d.reasoning else "content" for d in deltas if d.reasoning or d.content]
    assert kinds == sorted(kinds, reverse=True)
    assert "".join(d.reasoning or "" for d in deltas).strip() == THOUGHT.strip()


def test_a_response_has_an_output_text(openai_client: Any) -> None:
    with openai_client:
        response = openai_client.responses.create(
            model=MODEL_ID, instructions="play: text", input="What is the capital of France?"
        )

    assert response.output_text == spoken("text")
    assert response._request_id.startswith("req_")


async def test_a_response_is_streamed_as_events(server: Server, key: str) -> None:
    _, client = clients(openai, server, key)
    async with client:
        stream = await client.responses.create(
            model=MODEL_ID, instructions="play: text", input="Well?", stream=True
        )
        events = [event async for event in stream]

    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == spoken("text")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


def test_a_response_can_be_a_json_object(openai_client: Any) -> None:
    with openai_client:
        response = openai_client.responses.create(
            model=MODEL_ID,
            instructions="play: json",
            input=[{"role": "user", "content": "Answer in JSON."}],
            text={"format": {"type": "json_object"}},
        )

    assert response.output_text == JSON


def test_a_response_is_parsed_to_a_model(openai_client: Any) -> None:
    with openai_client:
        response = openai_client.responses.parse(
            model=MODEL_ID, instructions="play: json", input="Well?", text_format=Report
        )

    assert response.output_parsed == LIMA


def test_a_tool_loop_of_responses_ends_with_an_answer(openai_client: Any) -> None:
    tools = [{"type": "function", "strict": False, **TOOL["function"]}]
    items: list[Any] = [QUESTION]
    with openai_client:
        first = openai_client.responses.create(model=MODEL_ID, input=items, tools=tools)
        (call,) = [item for item in first.output if item.type == "function_call"]
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        items += [*first.output, result]
        second = openai_client.responses.create(model=MODEL_ID, input=items, tools=tools)

    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert second.output_text == spoken("after_tool")


def test_a_legacy_completion_is_answered(openai_client: Any) -> None:
    with openai_client:
        completion = openai_client.completions.create(
            model=MODEL_ID, prompt="<|start|>user", max_tokens=8, temperature=0
        )

    assert completion.usage.completion_tokens <= 8
