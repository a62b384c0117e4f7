"""Chat completions over HTTP, called as the official clients call them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import groq
import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from app.api.chat.schemas import ChatCompletionRequest
from app.engine.base import Delta, EngineDead
from tests.app.api.application import BODY_LIMIT, JSON, Client, hang_up_when
from tests.app.api.chat.bodies import MESSAGES, chat_body, encode
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE, answer

URL = "/openai/v1/chat/completions"

FIELDS = st.sampled_from(sorted(ChatCompletionRequest.model_fields))


async def test_the_groq_client_reads_an_answer_in_strict_mode(
    rig: Rig, groq_client: groq.AsyncGroq
) -> None:
    rig.engine.script = answer("hello")
    completion = await groq_client.chat.completions.create(
        model=ADAPTER_MODEL, messages=[{"role": "user", "content": "hi"}], seed=7
    )
    assert completion.choices[0].message.content == "hello"
    assert completion.model == ADAPTER_MODEL
    assert completion.x_groq is not None
    assert completion.x_groq.id.startswith("req_")
    assert completion.x_groq.seed == 7
    assert completion.usage is not None
    assert (completion.usage.total_tokens, completion.usage.total_time) == (10, 0.75)


async def test_an_answer_has_groqs_fields_in_groqs_order(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = answer("hello")
    response = await http.post(URL, json=chat_body(seed=1))
    body = response.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 1_700_000_000
    assert list(body.items()) == [
        ("object", "chat.completion"),
        ("model", BASE),
        (
            "choices",
            [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "hello"},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
        ),
        (
            "usage",
            {
                "queue_time": 0.125,
                "prompt_tokens": 7,
                "prompt_time": 0.25,
                "completion_tokens": 3,
                "completion_time": 0.5,
                "total_tokens": 10,
                "total_time": 0.75,
            },
        ),
        ("usage_breakdown", None),
        ("system_fingerprint", "fp_0123456789"),
        ("x_groq", {"id": response.headers["x-request-id"], "seed": 1}),
        ("service_tier", "on_demand"),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_adapter_s_answer_carries_its_digest_tier_and_wait_as_headers(
    rig: Rig, http: httpx.AsyncClient, stream: bool
) -> None:
    rig.engine.script = answer("arr")
    response = await http.post(URL, json=chat_body(model=ADAPTER_MODEL, stream=stream))
    assert {**response.headers, **ADAPTER_HEADERS} == dict(response.headers)
    plain = await http.post(URL, json=chat_body(stream=stream))
    assert not [name for name in plain.headers if name.startswith("x-adapter")]


async def test_an_error_under_an_adapter_s_lease_carries_its_headers(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = [EngineDead("pid 7")]
    response = await http.post(URL, json=chat_body(model=ADAPTER_MODEL))
    assert response.status_code == 503
    assert {**response.headers, **ADAPTER_HEADERS} == dict(response.headers)


async def test_the_groq_client_reads_a_stream_in_strict_mode(
    rig: Rig, groq_client: groq.AsyncGroq
) -> None:
    rig.engine.script = answer("a\n", '"\u2028', "é🏴‍☠️")
    stream = await groq_client.chat.completions.create(
        model=BASE,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        extra_body={"stream_options": {"include_usage": True}},
    )
    chunks = [chunk async for chunk in stream]
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == 'a\n"\u2028é🏴‍☠️'
    assert chunks[0].x_groq is not None
    assert chunks[0].x_groq.seed == rig.engine.jobs[0].sampling.seed
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].x_groq is not None
    assert chunks[-2].x_groq.usage == chunks[-1].usage
    assert [chunk.usage is not None for chunk in chunks[-2:]] == [False, True]
    assert chunks[-1].choices == []
    assert len({(chunk.id, chunk.created, chunk.system_fingerprint) for chunk in chunks}) == 1


async def test_the_openai_client_reads_a_stream(
    rig: Rig, openai_client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = answer("a", "b")
    stream = await openai_client.chat.completions.create(
        model=BASE, messages=[{"role": "user", "content": "hi"}], stream=True
    )
    texts = [chunk.choices[0].delta.content async for chunk in stream]
    assert texts == ["", "a", "b", None]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model_is_a_plain_404_also_for_a_stream(
    http: httpx.AsyncClient, stream: bool
) -> None:
    response = await http.post(URL, json=chat_body(model="nope", stream=stream))
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"] == {
        "message": "The model `nope` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "code": "model_not_found",
    }


async def test_an_error_before_the_first_token_is_an_http_error(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = [EngineDead("pid 7")]
    response = await http.post(URL, json=chat_body(stream=True))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json() == {
        "error": {
            "message": "The service is temporarily unavailable.",
            "type": "internal_server_error",
        }
    }


async def test_an_error_after_the_first_token_raises_in_the_client(
    rig: Rig, openai_client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = [Delta("a"), EngineDead("pid 7")]
    stream = await openai_client.chat.completions.create(
        model=BASE, messages=[{"role": "user", "content": "hi"}], stream=True
    )
    with pytest.raises(openai.APIError, match="temporarily unavailable"):
        async for _chunk in stream:
            pass


async def test_hanging_up_on_a_stream_aborts_it_in_the_engine(rig: Rig, app: ASGIApp) -> None:
    rig.engine.script = [Delta("a"), Delta("b"), asyncio.Event()]
    client = Client(URL, chat_body(model=ADAPTER_MODEL, stream=True))
    await hang_up_when(client, app, client.streaming)
    assert rig.engine.closed.is_set()
    assert rig.adapters.held == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_before_the_first_token_aborts_it_in_the_engine(
    rig: Rig, app: ASGIApp, stream: bool
) -> None:
    rig.engine.script = [asyncio.Event()]
    client = Client(URL, chat_body(model=ADAPTER_MODEL, stream=stream))
    await hang_up_when(client, app, rig.engine.waiting)
    assert rig.engine.closed.is_set()
    assert rig.adapters.held == 0
    assert client.sent[0]["status"] == 499


async def test_a_body_over_the_limit_is_refused_without_reading_it_all(
    http: httpx.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * BODY_LIMIT:
            sent += 65_536
            yield b"x" * 65_536

    response = await http.post(URL, content=endless())
    assert response.status_code == 413
    assert sent <= BODY_LIMIT + 2 * 65_536


@given(body=JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_as_a_body_makes_a_server_error(
    http: httpx.AsyncClient, body: Any
) -> None:
    response = await http.post(URL, content=encode(body))
    assert 400 <= response.status_code < 500
    assert set(response.json()) == {"error"}
    assert len(response.content) < 2_000


@given(fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_in_any_field_makes_a_server_error(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    rig.engine.script = answer("a")
    response = await http.post(URL, content=encode(chat_body(**fields)))
    assert response.status_code == 200 or 400 <= response.status_code < 500


@given(raw=st.binary(max_size=64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_bytes_as_a_body_make_a_server_error(http: httpx.AsyncClient, raw: bytes) -> None:
    response = await http.post(URL, content=raw)
    assert response.status_code == 400
    assert json.loads(response.content)["error"]["type"] == "invalid_request_error"


async def test_a_message_problem_comes_in_groqs_words(http: httpx.AsyncClient) -> None:
    body = chat_body(messages=[*MESSAGES, {"role": "assistant"}])
    error = (await http.post(URL, json=body)).json()["error"]
    assert error["message"].startswith("'messages.1' : for 'role:assistant' the following must be")
