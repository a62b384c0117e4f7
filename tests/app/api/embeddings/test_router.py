"""Embeddings over HTTP, called as the official clients call them."""

import asyncio
import base64
import json
from typing import Any

import groq
import httpx
import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from app import transport
from app.api.embeddings.schemas import CreateEmbeddingRequest
from app.engine.base import EngineDead
from app.engine.pooling import InputRefused
from tests.app.api.application import JSON, Client, hang_up_when
from tests.app.api.embeddings.stubs import Rig, embedding_body
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE, ORG

URL = "/openai/v1/embeddings"

FIELDS = st.sampled_from(sorted(CreateEmbeddingRequest.model_fields))
EXACT = [float(number) for number in np.array([0.1, -2.5e-8, 3.4e38], np.float32)]


async def test_openais_client_decodes_what_it_asks_for_by_default(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.answers = {"a": EXACT, "bb": [1.0, 0.0, -1.0]}
    # The client's types say numbers, though it asks for base64 and decodes it afterwards.
    lenient = client.copy(_extra_kwargs={"_strict_response_validation": False})
    answer = await lenient.embeddings.create(model=BASE, input=["a", "bb"])
    assert [list(one.embedding) for one in answer.data] == [EXACT, [1.0, 0.0, -1.0]]
    assert [one.index for one in answer.data] == [0, 1]
    assert (answer.model, answer.object) == (BASE, "list")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 3)


async def test_openais_client_reads_numbers_in_strict_mode(
    rig: Rig, client: openai.AsyncOpenAI
) -> None:
    rig.engine.answers = {"a": EXACT}
    answer = await client.embeddings.create(model=BASE, input="a", encoding_format="float")
    assert answer.data[0].embedding == EXACT


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_groqs_client_reads_both_formats(rig: Rig, app: ASGIApp, encoding: Any) -> None:
    rig.engine.answers = {"a": EXACT}
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
    async with groq.AsyncGroq(
        api_key="k",
        base_url="http://api.test",
        http_client=http,
        _strict_response_validation=True,
    ) as client:
        answer = await client.embeddings.create(model=BASE, input="a", encoding_format=encoding)
    told = answer.data[0].embedding
    if isinstance(told, str):
        told = np.frombuffer(base64.b64decode(told), "<f4").tolist()
    assert told == EXACT


async def test_token_ids_reach_the_engine_as_they_are(rig: Rig, client: openai.AsyncOpenAI) -> None:
    await client.embeddings.create(model=BASE, input=[1, 2], encoding_format="float")
    await client.embeddings.create(model=BASE, input=[[1, 2], [3]], encoding_format="float")
    assert [job.inputs for job in rig.engine.jobs] == [[[1, 2]], [[1, 2], [3]]]  # type: ignore[union-attr]


async def test_an_answer_has_groqs_fields_and_no_more(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.answers = {"Once": [0.5, -1.0]}
    response = await http.post(URL, json=embedding_body())
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
        "model": BASE,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }


async def test_an_adapters_answer_tells_its_weights_and_its_limits(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    response = await http.post(URL, json=embedding_body(model=ADAPTER_MODEL))
    assert response.json()["model"] == ADAPTER_MODEL
    told = {**ADAPTER_HEADERS, "x-ratelimit-remaining-tokens": "5996"}
    assert {**response.headers, **told} == dict(response.headers)


async def test_prefixes_of_organisations_are_kept_apart(rig: Rig, http: httpx.AsyncClient) -> None:
    await http.post(URL, json=embedding_body())
    assert rig.engine.jobs[0].cache_salt == f"salt of {ORG}"


@pytest.mark.parametrize("fault", ["empty", "too_long", "unknown_token", "unreadable"])
async def test_an_input_that_the_engine_cannot_take_is_named(
    rig: Rig, http: httpx.AsyncClient, fault: Any
) -> None:
    rig.engine.refusal = InputRefused(3, fault)
    response = await http.post(URL, json=embedding_body(input=["a", "b", "c", "d"]))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "input.3")
    assert error["message"].startswith("'input.3' : value ")


async def test_an_unknown_model_is_a_404(http: httpx.AsyncClient) -> None:
    response = await http.post(URL, json=embedding_body(model="nope"))
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_dead_engine_is_a_503(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.answers = {"Once": EngineDead("pid 7")}
    response = await http.post(URL, json=embedding_body())
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "The service is temporarily unavailable."


async def test_hanging_up_leaves_no_run(rig: Rig, app: ASGIApp) -> None:
    rig.engine.answers = {"wait": asyncio.Event()}
    client = Client(URL, embedding_body(model=ADAPTER_MODEL, input=["wait"] * 3))
    await hang_up_when(client, app, rig.engine.waiting)
    assert (rig.engine.running, rig.adapters.held) == (0, 0)
    assert client.sent[0]["status"] == 499


async def test_a_large_answer_is_written_as_it_is_read(rig: Rig, app: ASGIApp) -> None:
    rig.engine.answers = {"Once": [0.1] * 1000}
    client = Client(URL, embedding_body(input=["Once"] * 500))
    await asyncio.wait_for(client.call(app), 10)
    pieces = [message.get("body", b"") for message in client.sent]
    assert max(map(len, pieces)) < 500_000
    told = json.loads(b"".join(pieces))["data"]
    assert [one["index"] for one in told] == list(range(500))
    assert all(len(one["embedding"]) == 1000 for one in told)


async def test_who_reads_nothing_of_a_large_answer_is_let_go(
    rig: Rig, app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.05)
    rig.engine.answers = {"Once": [0.1] * 1000}
    client = Client(URL, embedding_body(input=["Once"] * 500))
    client.reads = asyncio.Event()
    await asyncio.wait_for(client.call(app), 10)
    assert sum(len(message.get("body", b"")) for message in client.sent) < 1_000_000


@given(fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_in_any_field_makes_a_server_error(
    http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    response = await http.post(URL, content=json.dumps(embedding_body(**fields)).encode())
    assert response.status_code == 200 or 400 <= response.status_code < 500
