"""Legacy completions over HTTP, called as the official client calls them."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from app.api.completions.schemas import CompletionRequest
from app.engine.base import Delta, EngineDead
from tests.app.api.application import JSON, Client, hang_up_when
from tests.app.api.completions.stubs import Rig, completion_body, token, told
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE, answer

URL = "/openai/v1/completions"

FIELDS = st.sampled_from(sorted(CompletionRequest.model_fields))


async def test_the_client_reads_an_answer_in_strict_mode(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = told(
        ("Once", [token("Once", -0.5, ("Twice", -1.0))]), (" upon", [token(" upon", -0.25)])
    )
    completion = await client.completions.create(model=ADAPTER_MODEL, prompt="x", logprobs=2)
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason, choice.index) == ("Once upon", "stop", 0)
    assert completion.model == ADAPTER_MODEL
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["Once", " upon"]
    assert choice.logprobs.token_logprobs == [-0.5, -0.25]
    assert choice.logprobs.text_offset == [0, 4]
    assert choice.logprobs.top_logprobs == [{"Once": -0.5, "Twice": -1.0}, {" upon": -0.25}]
    assert completion.usage is not None
    assert completion.usage.total_tokens == 10


async def test_an_answer_has_openais_fields_and_those_of_a_chat_completion(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = answer("hello")
    response = await http.post(URL, json=completion_body(seed=1))
    body = response.json()
    assert body.pop("id").startswith("cmpl-")
    assert body.pop("created") > 1_700_000_000
    assert list(body.items()) == [
        ("object", "text_completion"),
        ("model", BASE),
        ("choices", [{"text": "hello", "index": 0, "logprobs": None, "finish_reason": "stop"}]),
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
        ("system_fingerprint", "fp_0123456789"),
        ("x_groq", {"id": response.headers["x-request-id"], "seed": 1}),
        ("service_tier", "on_demand"),
    ]


async def test_the_client_reads_a_stream_of_several_choices(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.scripts = {
        "a": answer("a\n", '"\u2028', "é🏴‍☠️"),
        "b": answer("x", "y"),
    }
    # The type says that each chunk has a reason; OpenAI's own chunks have none but at the end.
    lenient = client.copy(_extra_kwargs={"_strict_response_validation": False})
    stream = await lenient.completions.create(
        model=BASE, prompt=["a", "b"], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == ['a\n"\u2028é🏴‍☠️', "xy"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 20
    assert len({(chunk.id, chunk.created, chunk.system_fingerprint) for chunk in chunks}) == 1


async def test_the_client_sends_token_ids(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.engine.script = answer("x")
    await client.completions.create(model=BASE, prompt=[1, 2])
    await client.completions.create(model=BASE, prompt=[[1, 2], [3]])
    assert [job.prompt for job in rig.engine.jobs] == [[1, 2], [1, 2], [3]]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_adapters_answer_carries_its_digest_tier_and_wait_as_headers(
    rig: Rig, http: httpx.AsyncClient, stream: bool
) -> None:
    rig.engine.script = answer("arr")
    response = await http.post(URL, json=completion_body(model=ADAPTER_MODEL, stream=stream))
    assert {**response.headers, **ADAPTER_HEADERS} == dict(response.headers)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model_is_a_plain_404_also_for_a_stream(
    http: httpx.AsyncClient, stream: bool
) -> None:
    response = await http.post(URL, json=completion_body(model="nope", stream=stream))
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["code"] == "model_not_found"


async def test_an_error_before_the_first_token_is_an_http_error(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = [EngineDead("pid 7")]
    response = await http.post(URL, json=completion_body(stream=True, prompt=["a", "b"]))
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "The service is temporarily unavailable."


async def test_an_error_after_the_first_token_raises_in_the_client(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.script = [Delta("a"), EngineDead("pid 7")]
    lenient = client.copy(_extra_kwargs={"_strict_response_validation": False})
    stream = await lenient.completions.create(model=BASE, prompt="x", stream=True)
    with pytest.raises(openai.APIError, match="temporarily unavailable"):
        async for _chunk in stream:
            pass


async def test_hanging_up_on_a_stream_leaves_no_run(rig: Rig, app: ASGIApp) -> None:
    rig.engine.script = [Delta("a"), Delta("b"), asyncio.Event()]
    client = Client(URL, completion_body(model=ADAPTER_MODEL, prompt=["a", "b", "c"], stream=True))
    await hang_up_when(client, app, client.streaming)
    assert client.sent[0]["status"] == 200
    assert len(rig.engine.runs) > 0
    assert (rig.engine.running, rig.adapters.held) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_before_the_first_token_leaves_no_run(
    rig: Rig, app: ASGIApp, stream: bool
) -> None:
    rig.engine.script = [asyncio.Event()]
    body = completion_body(model=ADAPTER_MODEL, prompt=["a", "b", "c"], stream=stream)
    client = Client(URL, body)
    await hang_up_when(client, app, rig.engine.waiting)
    assert (rig.engine.running, rig.adapters.held) == (0, 0)
    assert client.sent[0]["status"] == 499


@given(fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_in_any_field_makes_a_server_error(
    rig: Rig, http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    rig.engine.script = answer("a")
    response = await http.post(URL, content=json.dumps(completion_body(**fields)).encode())
    assert response.status_code == 200 or 400 <= response.status_code < 500
