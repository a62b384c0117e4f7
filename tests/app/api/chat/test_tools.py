"""Tools as clients use them: calls whole and streamed, forced, forbidden, broken and deprecated."""

import json
from typing import Any

import groq
import httpx
import openai
import pytest

from app.engine.base import Delta, ToolCall
from tests.app.api.chat.bodies import MESSAGES, chat_body
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import BASE, USAGE, answer
from tests.e2e.chat_streams import accumulated, chunks_of, error_of

URL = "/openai/v1/chat/completions"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", None]}},
    "required": ["city"],
}
FUNCTION = {"name": "get_weather", "description": "Tell the weather.", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
PARIS = ToolCall("c1", "get_weather", '{"city": "Paris"}')
OSLO = ToolCall("c2", "get_weather", '{"city": "Oslo"}')
ROCKET = ToolCall("c3", "launch_rocket", "{}")
BROKEN = ToolCall("c4", "get_weather", '{"city": "Rome')
CUT = "tool call validation failed: the arguments of tool 'get_weather' are not a JSON object"
NOT_DECLARED = (
    "tool call validation failed: attempted to call tool 'launch_rocket' which was not in "
    "request.tools"
)
REQUIRED = "Tool choice is required, but model did not call a tool"


def calling(*calls: ToolCall, text: str = "", raw: str = "") -> list[Delta]:
    """Script calls, one a delta, after a text."""
    said = [Delta(text, tokens=1)] if text else []
    end = Delta(finish_reason="tool_calls" if calls else "stop", usage=USAGE, raw=raw, tokens=1)
    return [*said, *(Delta(tool_calls=[call], tokens=1) for call in calls), end]


async def refusal(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await http.post(URL, json=chat_body(**fields))
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


async def choice_of(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await http.post(URL, json=chat_body(**fields))
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


async def test_the_engine_is_told_of_tools_as_they_were_written(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(PARIS)
    await choice_of(http, tools=[TOOL], parallel_tool_calls=False)
    use = rig.engine.jobs[0].tool_use
    assert (list(use.tools), use.choice, use.parallel) == ([TOOL], "auto", False)


async def test_what_groqs_schema_leaves_open_in_a_tool_does_not_reach_the_engine(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(PARIS)
    odd = {**TOOL, "cache_control": 1, "function": {**FUNCTION, "guided_json": {}}}
    await choice_of(http, tools=[odd])
    assert list(rig.engine.jobs[0].tool_use.tools) == [TOOL]


async def test_calls_alone_have_no_content(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = calling(PARIS, OSLO)
    choice = await choice_of(http, tools=[TOOL])
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": PARIS.name, "arguments": args}}
            if number == 0
            else {
                "id": "c2",
                "type": "function",
                "function": {"name": PARIS.name, "arguments": args},
            }
            for number, args in enumerate((PARIS.arguments, OSLO.arguments))
        ],
    }


async def test_text_before_a_call_is_kept(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = calling(PARIS, text="I will look.")
    message = (await choice_of(http, tools=[TOOL]))["message"]
    assert (message["content"], len(message["tool_calls"])) == ("I will look.", 1)


@pytest.mark.parametrize("text", ["", "I will look."])
async def test_a_stream_adds_up_to_the_whole_answer(
    rig: Rig, http: httpx.AsyncClient, text: str
) -> None:
    rig.engine.script = calling(PARIS, OSLO, text=text)
    whole = await choice_of(http, tools=[TOOL])
    stream = (await http.post(URL, json=chat_body(tools=[TOOL], stream=True))).text
    choice = accumulated(chunks_of(stream))
    assert [call.pop("index") for call in choice["tool_calls"]] == [0, 1]
    assert choice["tool_calls"] == whole["message"]["tool_calls"]
    assert (choice["content"] or None) == whole["message"]["content"]
    assert choice["finish_reason"] == whole["finish_reason"]


async def test_a_stream_that_begins_with_a_call_begins_without_content(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(PARIS)
    first, second, *_ = chunks_of(
        (await http.post(URL, json=chat_body(tools=[TOOL], stream=True))).text
    )
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert second["choices"][0]["delta"] == {
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": PARIS.arguments},
                "index": 0,
            }
        ]
    }


async def test_the_groq_client_reads_calls_in_strict_mode(
    rig: Rig, groq_client: groq.AsyncGroq
) -> None:
    rig.engine.script = calling(PARIS, OSLO, text="Well.")
    tools: Any = [TOOL]
    messages: Any = MESSAGES
    create = groq_client.chat.completions.create
    completion = await create(model=BASE, messages=messages, tools=tools)
    called = completion.choices[0].message.tool_calls or []
    stream = await create(model=BASE, messages=messages, tools=tools, stream=True)
    streamed = [
        call
        async for chunk in stream
        for call in (chunk.choices[0].delta.tool_calls or [])
        if call.function
    ]
    assert [call.id for call in called] == [call.id for call in streamed] == ["c1", "c2"]
    assert [call.function.arguments for call in called] == [
        call.function.arguments for call in streamed if call.function
    ]


async def test_the_openai_client_accumulates_a_stream_of_calls(
    rig: Rig, openai_client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = calling(PARIS, OSLO, text="Well.")
    asked: Any = {"model": BASE, "messages": MESSAGES, "tools": [TOOL]}
    async with openai_client.chat.completions.stream(**asked) as stream:
        streamed = await stream.get_final_completion()
    whole = await openai_client.chat.completions.create(**asked)
    calls = [
        [(each.id, each.function.name, each.function.arguments) for each in message.tool_calls]
        for message in (streamed.choices[0].message, whole.choices[0].message)
    ]
    assert calls[0] == calls[1]
    assert streamed.choices[0].message.content == "Well."
    assert streamed.choices[0].finish_reason == "tool_calls"


BAD = [(ROCKET, NOT_DECLARED), (BROKEN, CUT)]


@pytest.mark.parametrize(("call", "said"), BAD)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_the_tools_do_not_allow_fails_with_what_was_generated(
    rig: Rig, http: httpx.AsyncClient, call: ToolCall, said: str, stream: bool
) -> None:
    rig.engine.script = calling(call)
    error = await refusal(http, tools=[TOOL], stream=stream)
    failed = error.pop("failed_generation")
    assert json.loads(failed) == {"name": call.name, "arguments": call.arguments}
    assert error == {"message": said, "type": "invalid_request_error", "code": "tool_use_failed"}


@pytest.mark.parametrize(("call", "said"), BAD)
async def test_in_the_middle_of_a_stream_it_is_an_error_event(
    rig: Rig, http: httpx.AsyncClient, call: ToolCall, said: str
) -> None:
    rig.engine.script = calling(PARIS, call, text="Well.")
    response = await http.post(URL, json=chat_body(tools=[TOOL], stream=True))
    assert response.status_code == 200
    error = error_of(response.text)
    assert (error["code"], error["message"]) == ("tool_use_failed", said)
    assert json.loads(error["failed_generation"])["name"] == call.name
    assert rig.engine.running == 0


async def test_the_official_clients_raise_the_error_of_a_stream(
    rig: Rig, openai_client: openai.AsyncOpenAI, groq_client: groq.AsyncGroq
) -> None:
    rig.engine.script = calling(ROCKET, text="Well.")
    for client, base in ((openai_client, openai.APIError), (groq_client, groq.APIError)):
        create: Any = client.chat.completions.create
        stream = await create(model=BASE, messages=MESSAGES, tools=[TOOL], stream=True)
        with pytest.raises(base, match="attempted to call tool"):
            _ = [chunk async for chunk in stream]


async def test_an_undeclared_call_is_passed_on_where_nobody_wants_it_checked(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(ROCKET)
    choice = await choice_of(http, tools=[TOOL], disable_tool_validation=True)
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "launch_rocket"


async def test_arguments_that_nobody_can_read_fail_also_unchecked(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(BROKEN)
    error = await refusal(http, tools=[TOOL], disable_tool_validation=True)
    assert error["code"] == "tool_use_failed"


@pytest.mark.parametrize("arguments", ["[1]", "7", '"a"', "", "[" * 100_000, '{"a": NaN}'])
async def test_arguments_are_a_json_object(
    rig: Rig, http: httpx.AsyncClient, arguments: str
) -> None:
    rig.engine.script = calling(ToolCall("c", "get_weather", arguments))
    assert (await refusal(http, tools=[TOOL]))["message"] == CUT


@pytest.mark.parametrize("choice", ["required", NAMED])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_call_that_is_not_made_fails(
    rig: Rig, http: httpx.AsyncClient, choice: Any, stream: bool
) -> None:
    rig.engine.script = answer("I would rather not.")
    error = await refusal(http, tools=[TOOL], tool_choice=choice, stream=stream)
    assert (error["code"], error["message"]) == ("tool_use_failed", REQUIRED)
    assert error["failed_generation"] == "I would rather not."


@pytest.mark.parametrize("choice", ["auto", "none"])
async def test_an_answer_without_a_call_is_an_answer_where_none_is_forced(
    rig: Rig, http: httpx.AsyncClient, choice: str
) -> None:
    rig.engine.script = answer("It is sunny.")
    answered = await choice_of(http, tools=[TOOL], tool_choice=choice)
    assert answered["message"] == {"role": "assistant", "content": "It is sunny."}


async def test_a_deprecated_function_call_is_one_call_without_an_id(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(PARIS)
    asked = {"functions": [FUNCTION], "function_call": {"name": "get_weather"}}
    choice = await choice_of(http, **asked)
    called = {"name": "get_weather", "arguments": PARIS.arguments}
    assert choice["message"] == {"role": "assistant", "content": None, "function_call": called}
    assert choice["finish_reason"] == "function_call"
    use = rig.engine.jobs[0].tool_use
    assert (use.choice, use.parallel) == (NAMED, False)


async def test_a_deprecated_function_call_is_streamed(
    rig: Rig, openai_client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = calling(PARIS, text="Well.")
    create: Any = openai_client.chat.completions.create
    stream = await create(model=BASE, messages=MESSAGES, functions=[FUNCTION], stream=True)
    chunks = [chunk async for chunk in stream]
    (called,) = [
        c.choices[0].delta.function_call for c in chunks if c.choices[0].delta.function_call
    ]
    assert (called.name, called.arguments) == ("get_weather", PARIS.arguments)
    assert chunks[-1].choices[0].finish_reason == "function_call"


WRONG_SCHEMA = {"type": "objekt"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"tools": [TOOL, {**TOOL, "function": {"name": "g", "parameters": WRONG_SCHEMA}}]},
            "tools.1.function.parameters",
        ),
        ({"functions": [{"name": "g", "parameters": WRONG_SCHEMA}]}, "functions.0.parameters"),
    ],
)
async def test_parameters_that_are_no_schema_are_refused_by_place(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    error = await refusal(http, **fields)
    assert error["param"].startswith(param)
    assert rig.engine.jobs == []


async def test_a_forced_calls_arguments_are_held_to_their_schema(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = calling(PARIS)
    for choice in ("required", "auto"):
        await choice_of(http, tools=[TOOL], tool_choice=choice)
    forced, free = (job.tool_use.tools[0]["function"] for job in rig.engine.jobs)
    assert (forced.get("strict"), free.get("strict")) == (True, None)
