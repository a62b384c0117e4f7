"""Reranking over HTTP; no official client has it, so that it is called as curl would."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from app.api.reranking.schemas import RerankingRequest, RerankingResponse
from app.engine.base import EngineDead
from app.engine.pooling import InputRefused, RerankingJob
from tests.app.api.application import JSON, Client, hang_up_when
from tests.app.api.reranking.stubs import Rig, reranking_body
from tests.app.inference.stubs import ADAPTER_HEADERS, ADAPTER_MODEL, BASE, ORG

URL = "/openai/v1/reranking"

FIELDS = st.sampled_from(sorted(RerankingRequest.model_fields))
SCORES = st.lists(st.floats(0, 1, width=32).map(lambda score: round(score, 1)), min_size=1)


async def test_the_answer_is_documents_and_scores_and_no_more(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.answers = {"one": [0.25], "two": [0.75]}
    response = await http.post(URL, json=reranking_body())
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "results": [{"doc": "two", "score": 0.75}, {"doc": "one", "score": 0.25}]
    }


@given(scores=SCORES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_scores_descend_and_equal_ones_keep_the_callers_order(
    rig: Rig, http: httpx.AsyncClient, scores: list[float]
) -> None:
    docs = [f"{index:03}" for index in range(len(scores[:100]))]
    rig.engine.answers = {doc: [score] for doc, score in zip(docs, scores, strict=False)}
    response = await http.post(URL, json=reranking_body(docs=docs))
    results = response.json()["results"]
    assert sorted(result["doc"] for result in results) == docs
    order = [(-result["score"], result["doc"]) for result in results]
    assert order == sorted(order)


async def test_the_same_document_twice_is_there_twice(rig: Rig, http: httpx.AsyncClient) -> None:
    response = await http.post(URL, json=reranking_body(docs=["same", "same"]))
    assert [result["doc"] for result in response.json()["results"]] == ["same", "same"]


async def test_the_engine_is_given_all_that_the_request_says(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    await http.post(URL, json=reranking_body(instruction="Find it."))
    await http.post(URL, json=reranking_body())
    salt = f"salt of {ORG}"
    assert rig.engine.jobs == [
        RerankingJob("Which?", ["one", "two"], salt, "Find it."),
        RerankingJob("Which?", ["one", "two"], salt, None),
    ]


async def test_a_client_of_openais_can_post_it(rig: Rig, client: openai.AsyncOpenAI) -> None:
    answer = await client.post("/reranking", cast_to=httpx.Response, body=reranking_body())
    assert RerankingResponse.model_validate_json(answer.content).results[0].doc == "one"


async def test_an_adapters_answer_tells_its_weights_and_its_limits(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    response = await http.post(URL, json=reranking_body(model=ADAPTER_MODEL))
    told = {**ADAPTER_HEADERS, "x-ratelimit-remaining-tokens": "5994"}
    assert {**response.headers, **told} == dict(response.headers)


async def test_a_document_that_the_engine_cannot_take_is_named(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.refusal = InputRefused(1, "too_long", 9000)
    response = await http.post(URL, json=reranking_body())
    assert response.status_code == 400
    assert response.json()["error"]["message"] == (
        "'docs.1' : value is longer than the model's context window"
    )


async def test_a_score_that_is_no_number_is_a_server_error(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.answers = {"two": [float("nan")]}
    response = await http.post(URL, json=reranking_body())
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "Internal Server Error"


@pytest.mark.parametrize(("model", "status"), [("nope", 404), (BASE, 503)])
async def test_other_failures_have_their_own_status(
    rig: Rig, http: httpx.AsyncClient, model: str, status: int
) -> None:
    rig.engine.answers = {"one": EngineDead("pid 7")}
    response = await http.post(URL, json=reranking_body(model=model))
    assert response.status_code == status


async def test_hanging_up_leaves_no_run(rig: Rig, app: ASGIApp) -> None:
    rig.engine.answers = {"one": asyncio.Event()}
    client = Client(URL, reranking_body(model=ADAPTER_MODEL))
    await hang_up_when(client, app, rig.engine.waiting)
    assert (rig.engine.running, rig.adapters.held) == (0, 0)
    assert client.sent[0]["status"] == 499


@given(fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_value_in_any_field_makes_a_server_error(
    http: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    response = await http.post(URL, content=json.dumps(reranking_body(**fields)).encode())
    assert response.status_code == 200 or 400 <= response.status_code < 500
