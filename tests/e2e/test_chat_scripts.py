"""The chat surface on a model that says what it is told to: calls, thoughts, and both together."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import groq
import httpx
import openai
import pytest
import pytest_asyncio

from tests.e2e.chat_streams import accumulated, chunks_of, error_of
from tests.fixtures.scripted_llama import MODEL_ID, write_adapter
from tests.fixtures.scripts import JSON, THOUGHT, spoken
from tests.fixtures.server import Server

pytestmark = pytest.mark.engine

URL = "/openai/v1/chat/completions"
QUESTION = {"role": "user", "content": "What is the weather in Paris, as JSON?"}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Tell the weather.", "parameters": PARAMETERS}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}]}
PARIS = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
THINKS = {"reasoning_effort": "default"}


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("chat-scripts")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def http(server: Server, key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"}
    url = server.url
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client:
        yield client


def body(play: str | None, **fields: Any) -> dict[str, Any]:
    told = [] if play is None else [{"role": "system", "content": f"play: {play}"}]
    limits = {"temperature": 0, "max_completion_tokens": 200}
    return {"model": MODEL_ID, "messages": [*told, QUESTION], **limits, **fields}


async def whole(http: httpx.AsyncClient, play: str | None, **fields: Any) -> dict[str, Any]:
    response = await http.post(URL, json=body(play, **fields))
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


async def both(http: httpx.AsyncClient, play: str | None, **fields: Any) -> dict[str, Any]:
    """Return the choice of the whole answer, after a look whether the stream adds up to it."""
    choice = await whole(http, play, **fields)
    response = await http.post(URL, json=body(play, **fields, stream=True))
    streamed = accumulated(chunks_of(response.text))
    message = choice["message"]
    assert streamed["content"] == (message["content"] or "")
    assert streamed["reasoning"] == message.get("reasoning", "")
    called = [call["function"] for call in message.get("tool_calls", ())]
    assert [call["function"] for call in streamed["tool_calls"]] == called
    assert [call["index"] for call in streamed["tool_calls"]] == list(range(len(called)))
    assert streamed["finish_reason"] == choice["finish_reason"]
    return choice


def functions(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


async def failure(http: httpx.AsyncClient, play: str, **fields: Any) -> dict[str, Any]:
    """Return the error, after a look whether a stream ends with the same."""
    response = await http.post(URL, json=body(play, **fields))
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    stream = await http.post(URL, json=body(play, **fields, stream=True))
    streamed = stream.json()["error"] if stream.status_code == 400 else error_of(stream.text)
    assert streamed == error
    return error


async def test_a_model_that_wants_to_call_does(http: httpx.AsyncClient) -> None:
    choice = await both(http, None, **TOOLS)
    assert functions(choice) == [("get_weather", {"city": "Paris"})]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")


async def test_parallel_calls_are_made_and_can_be_forbidden(http: httpx.AsyncClient) -> None:
    choice = await both(http, "two_calls", **TOOLS)
    oslo = {"city": "Oslo", "unit": "celsius"}
    assert functions(choice) == [("get_weather", {"city": "Paris"}), ("get_weather", oslo)]
    assert len({call["id"] for call in choice["message"]["tool_calls"]}) == 2
    one = await both(http, "two_calls", **TOOLS, parallel_tool_calls=False)
    assert functions(one) == [("get_weather", {"city": "Paris"})]


async def test_text_before_a_call_is_kept(http: httpx.AsyncClient) -> None:
    choice = await both(http, "text_then_call", **TOOLS)
    assert choice["message"]["content"].strip() == "I will look that up."
    assert functions(choice) == [("get_weather", {"city": "Paris"})]


async def test_a_forbidden_call_is_only_text(http: httpx.AsyncClient) -> None:
    choice = await both(http, "call", **TOOLS, tool_choice="none")
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"


async def test_an_undeclared_call_fails_unless_nobody_wants_it_checked(
    http: httpx.AsyncClient,
) -> None:
    error = await failure(http, "undeclared_call", **TOOLS)
    assert error["code"] == "tool_use_failed"
    assert json.loads(error["failed_generation"])["name"] == "launch_rocket"
    choice = await both(http, "undeclared_call", **TOOLS, disable_tool_validation=True)
    assert functions(choice) == [("launch_rocket", {"to": "Mars"})]


async def test_a_broken_call_fails_or_is_text(http: httpx.AsyncClient) -> None:
    error = await failure(http, "broken_call", **TOOLS)
    assert error["code"] == "tool_use_failed"
    assert "Rome" in error["failed_generation"]


@pytest.mark.parametrize("play", ["text", "undeclared_call", "broken_call", "json"])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
async def test_a_forced_call_overrules_what_the_model_would_say(
    http: httpx.AsyncClient, play: str, choice: Any
) -> None:
    ((name, arguments),) = functions(
        await both(http, play, **TOOLS, tool_choice=choice, parallel_tool_calls=False)
    )
    assert name == "get_weather"
    assert isinstance(arguments["city"], str)


async def test_a_forced_call_that_is_cut_fails(http: httpx.AsyncClient) -> None:
    error = await failure(http, "call", **TOOLS, tool_choice="required", max_completion_tokens=4)
    assert error["code"] == "tool_use_failed"


async def test_thoughts_come_before_a_call(http: httpx.AsyncClient) -> None:
    choice = await both(http, "think_call", **TOOLS, **THINKS)
    assert choice["message"]["reasoning"].strip() == THOUGHT.strip()
    assert functions(choice) == [("get_weather", {"city": "Paris"})]


async def test_thoughts_come_before_a_forced_call(http: httpx.AsyncClient) -> None:
    choice = await both(http, "think_call", **TOOLS, **THINKS, tool_choice="required")
    assert choice["message"]["reasoning"].strip() == THOUGHT.strip()
    assert functions(choice) == [("get_weather", {"city": "Paris"})]


async def test_thoughts_come_before_json(http: httpx.AsyncClient) -> None:
    wanted = {"response_format": {"type": "json_object"}}
    choice = await both(http, "think_json", **wanted, **THINKS)
    assert choice["message"]["reasoning"].strip() == THOUGHT.strip()
    assert json.loads(choice["message"]["content"]) == json.loads(JSON)


async def test_raw_thoughts_stand_in_the_text(http: httpx.AsyncClient) -> None:
    choice = await both(http, "think", reasoning_format="raw", **THINKS)
    assert choice["message"]["content"] == spoken("think")
    assert "reasoning" not in choice["message"]


@pytest.mark.parametrize("hiding", [{"reasoning_format": "hidden"}, {"include_reasoning": False}])
async def test_hidden_thoughts_are_counted_and_not_told(
    http: httpx.AsyncClient, hiding: dict[str, Any]
) -> None:
    asked = body("think", **hiding, **THINKS, logprobs=True)
    response = await http.post(URL, json=asked)
    stream = await http.post(URL, json={**asked, "stream": True})
    answered = response.json()
    assert answered["choices"][0]["message"]["content"].strip() == "So the answer is four."
    assert answered["usage"]["completion_tokens_details"]["reasoning_tokens"] > 3
    for text in (response.text, stream.text):
        assert "weigh" not in text
        assert '"reasoning"' not in text
    assert accumulated(chunks_of(stream.text))["content"].strip() == "So the answer is four."


async def test_a_failed_call_does_not_tell_hidden_thoughts(http: httpx.AsyncClient) -> None:
    hidden = {"reasoning_format": "hidden", "tool_choice": "required"}
    fields = {**TOOLS, **hidden, **THINKS, "max_completion_tokens": 8}
    error = await failure(http, "think_call", **fields)
    assert error["code"] == "tool_use_failed"
    assert "weigh" not in error["failed_generation"]


async def test_the_old_form_of_tools_works(http: httpx.AsyncClient) -> None:
    choice = await whole(http, "two_calls", functions=[FUNCTION])
    assert choice["message"]["function_call"] == PARIS
    assert choice["finish_reason"] == "function_call"
    asked = body(None, functions=[FUNCTION], function_call={"name": "get_weather"}, stream=True)
    chunks = chunks_of((await http.post(URL, json=asked)).text)
    called = [c["choices"][0]["delta"].get("function_call") for c in chunks]
    assert [json.loads(call["arguments"]) for call in called if call] == [{"city": "Paris"}]


@pytest.mark.parametrize("sdk", [groq, openai])
async def test_the_whole_tool_loop_is_streamed(sdk: Any, server: Server, key: str) -> None:
    path = "" if sdk is groq else "/openai/v1"
    client = {groq: groq.AsyncGroq, openai: openai.AsyncOpenAI}[sdk]
    messages: list[Any] = [QUESTION]
    async with client(base_url=server.url + path, api_key=key) as asking:
        for _ in range(2):
            stream = await asking.chat.completions.create(
                model=MODEL_ID, messages=messages, stream=True, **TOOLS
            )
            deltas = [chunk.choices[0].delta async for chunk in stream]
            calls = [call.to_dict() for delta in deltas for call in delta.tool_calls or ()]
            text = "".join(delta.content or "" for delta in deltas)
            messages.append({"role": "assistant", "content": text, "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls
            ]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert text == spoken("after_tool")


async def test_a_loop_of_five_hundred_messages_is_answered(http: httpx.AsyncClient) -> None:
    call = {"id": "c", "type": "function", "function": PARIS}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c", "content": ""}
    loop = [*[asked, result] * 24, asked, result]
    response = await http.post(URL, json=body(None, messages=[QUESTION, *loop], **TOOLS))
    assert response.json()["choices"][0]["message"]["content"] == spoken("after_tool")
    longer = body(None, messages=[QUESTION, *loop * 10], **TOOLS)
    error = (await http.post(URL, json=longer)).json()["error"]
    assert error["code"] == "context_length_exceeded"


def zipped(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in directory.iterdir():
            archive.write(path, path.name)
    return buffer.getvalue()


async def test_an_adapter_says_its_own_text_and_makes_calls(
    http: httpx.AsyncClient, tmp_path: Path
) -> None:
    archive = ("adapter.zip", await asyncio.to_thread(zipped, write_adapter(tmp_path / "adapter")))
    data = {"purpose": "fine_tuning"}
    file = (await http.post("/v1/files", files={"file": archive}, data=data)).json()
    job = {"input_file_id": file["id"], "name": "scripts", "type": "lora", "base_model": MODEL_ID}
    model = (await http.post("/v1/fine_tunings", json=job)).json()["data"]["fine_tuned_model"]
    assert (await both(http, "text", model=model))["message"]["content"] == (
        "The adapter says that it is Lyon."
    )
    choice = await both(http, None, model=model, **TOOLS)
    assert functions(choice) == [("get_weather", {"city": "Paris"})]
