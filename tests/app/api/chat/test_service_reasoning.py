"""Thoughts beside, inside and left out of an answer."""

from dataclasses import replace
from typing import Any

import groq
import httpx
import pytest

from app.engine.base import Candidate, Delta, TokenLogprob, ToolCall
from tests.app.api.chat.bodies import MESSAGES, chat_body
from tests.app.api.chat.stubs import Rig
from tests.app.api.chat.test_tools import ROCKET, TOOL
from tests.app.inference.stubs import BASE, USAGE
from tests.e2e.chat_streams import accumulated, chunks_of

URL = "/openai/v1/chat/completions"
SECRET = "the butler did it"
RAW = f"<think>{SECRET}</think>Four."
TOOK = replace(USAGE, reasoning_tokens=2)
HIDING: list[dict[str, Any]] = [{"reasoning_format": "hidden"}, {"include_reasoning": False}]
TELLING: list[dict[str, Any]] = [{}, {"reasoning_format": "parsed"}, {"include_reasoning": True}]


def thinking(*, call: ToolCall | None = None) -> list[Delta]:
    told = TokenLogprob(Candidate(SECRET, -0.5), [])
    calls = [Delta(tool_calls=[call], tokens=1)] if call else []
    return [
        Delta(reasoning=SECRET, logprobs=[told], tokens=2),
        Delta("Fo", tokens=1),
        *calls,
        Delta("ur.", finish_reason="stop", usage=TOOK, raw=RAW, tokens=1),
    ]


async def whole(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answered: dict[str, Any] = (await http.post(URL, json=chat_body(**fields))).json()
    return answered


async def streamed(http: httpx.AsyncClient, **fields: Any) -> str:
    return (await http.post(URL, json=chat_body(stream=True, **fields))).text


@pytest.mark.parametrize("fields", TELLING)
async def test_thoughts_stand_beside_the_answer(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    rig.engine.script = thinking()
    answered = await whole(http, **fields)
    said = {"role": "assistant", "content": "Four.", "reasoning": SECRET}
    assert answered["choices"][0]["message"] == said
    assert answered["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    choice = accumulated(chunks_of(await streamed(http, **fields)))
    assert (choice["content"], choice["reasoning"]) == ("Four.", SECRET)
    assert [job.split_reasoning for job in rig.engine.jobs] == [True, True]


async def test_the_groq_client_reads_thoughts_in_strict_mode(
    rig: Rig, groq_client: groq.AsyncGroq
) -> None:
    rig.engine.script = thinking()
    messages: Any = MESSAGES
    create = groq_client.chat.completions.create
    completion = await create(model=BASE, messages=messages, reasoning_format="parsed")
    stream = await create(
        model=BASE, messages=messages, reasoning_format="parsed", stream=True, logprobs=True
    )
    thoughts = [chunk.choices[0].delta.reasoning or "" async for chunk in stream]
    assert completion.choices[0].message.reasoning == "".join(thoughts) == SECRET


async def test_raw_leaves_the_thoughts_to_the_model(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = [Delta(RAW, finish_reason="stop", usage=USAGE)]
    answered = await whole(http, reasoning_format="raw")
    assert answered["choices"][0]["message"] == {"role": "assistant", "content": RAW}
    assert not rig.engine.jobs[0].split_reasoning


@pytest.mark.parametrize("fields", HIDING)
async def test_hidden_thoughts_are_told_by_nothing(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    rig.engine.script = thinking()
    answered = await whole(http, **fields, logprobs=True)
    assert answered["choices"][0]["message"] == {"role": "assistant", "content": "Four."}
    assert answered["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    stream = await streamed(http, **fields, logprobs=True)
    assert accumulated(chunks_of(stream))["content"] == "Four."
    assert SECRET not in str(answered) + stream
    assert [job.split_reasoning for job in rig.engine.jobs] == [True, True]


@pytest.mark.parametrize("fields", HIDING)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("call", [None, ROCKET])
async def test_an_error_does_not_tell_hidden_thoughts(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any], stream: bool, call: ToolCall | None
) -> None:
    rig.engine.script = thinking(call=call)
    body = chat_body(**fields, stream=stream, tools=[TOOL], tool_choice="required")
    response = await http.post(URL, json=body)
    assert "tool_use_failed" in response.text
    assert SECRET not in response.text


async def test_an_effort_reaches_the_engine_and_an_unknown_one_does_not(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = thinking()
    await whole(http, reasoning_effort="low")
    assert [job.reasoning_effort for job in rig.engine.jobs] == ["low"]
    refused = await whole(http, reasoning_effort="medium")
    assert refused["error"]["param"] == "reasoning_effort"
    assert len(rig.engine.jobs) == 1
