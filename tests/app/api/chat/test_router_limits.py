"""Service tiers and rate limits as a client sees them: in headers, errors and answers."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from app.engine.base import Delta, EngineDead
from app.errors import ApiError
from tests.app.api.application import Client, hang_up_when
from tests.app.api.chat.bodies import chat_body
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import USAGE, answer
from tests.e2e.chat_streams import chunks_of

URL = "/openai/v1/chat/completions"
LEFT = "x-ratelimit-remaining-tokens"
PROMPT, USED = USAGE.prompt_tokens, USAGE.prompt_tokens + USAGE.completion_tokens
FULL = ApiError(429, "Rate limit reached", type="tokens", code="rate_limit_exceeded")


def paid(rig: Rig) -> list[list[int]]:
    return [budget.settled for budget in rig.limits.budgets]


async def test_an_answer_tells_what_is_left_after_it(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = answer("hi")
    response = await http.post(URL, json=chat_body(max_completion_tokens=50))
    assert response.headers[LEFT] == str(6000 - USED)


async def test_a_stream_tells_what_is_left_while_it_runs(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = answer("hi")
    body = chat_body(max_completion_tokens=50, stream=True)
    response = await http.post(URL, json=body)
    assert response.headers[LEFT] == str(6000 - PROMPT - 50)
    assert paid(rig) == [[USED]]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_tells_what_is_left(rig: Rig, http: httpx.AsyncClient, stream: bool) -> None:
    rig.engine.script = [EngineDead()]
    response = await http.post(URL, json=chat_body(stream=stream))
    assert (response.status_code, response.headers[LEFT]) == (503, "6000")
    assert paid(rig) == [[0]]


@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_is_a_plain_429_also_for_a_stream(
    rig: Rig, http: httpx.AsyncClient, stage: str, stream: bool
) -> None:
    getattr(rig.limits, stage)["on_demand"] = FULL
    response = await http.post(URL, json=chat_body(stream=stream))
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert rig.engine.runs == []


@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
@pytest.mark.parametrize("stream", [False, True])
async def test_auto_answers_at_the_tier_that_has_room_and_says_so(
    rig: Rig, http: httpx.AsyncClient, stage: str, stream: bool
) -> None:
    rig.engine.script = answer("hi")
    getattr(rig.limits, stage).update(performance=FULL, on_demand=FULL)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    body = chat_body(service_tier="auto", stream=stream, **options)
    response = await http.post(URL, json=body)
    answered = chunks_of(response.text)[-1] if stream else response.json()
    assert answered["service_tier"] == "flex"
    assert paid(rig)[-1] == [USED]


async def test_a_tier_outside_the_plan_is_a_400(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.limits.tiers = {"on_demand"}
    response = await http.post(URL, json=chat_body(service_tier="performance"))
    assert (response.status_code, response.json()["error"]["code"]) == (
        400,
        "not_available_for_plan",
    )


async def test_a_client_that_hangs_up_pays_for_what_was_generated(rig: Rig, app: ASGIApp) -> None:
    rig.engine.script = [Delta("a", tokens=1), Delta("b", tokens=2), asyncio.Event()]
    client = Client(URL, chat_body(stream=True))
    await hang_up_when(client, app, rig.engine.waiting)
    assert paid(rig) == [[PROMPT + 3]]


async def test_an_answer_that_is_refused_is_paid(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = answer("no JSON")
    body = chat_body(
        messages=[{"role": "user", "content": "json"}], response_format={"type": "json_object"}
    )
    response = await http.post(URL, json=body)
    assert (response.status_code, response.headers[LEFT]) == (400, str(6000 - USED))


@pytest.mark.parametrize("stage", ["no_requests", "no_tokens"])
async def test_a_refusal_tells_each_limit_once(
    rig: Rig, http: httpx.AsyncClient, stage: str
) -> None:
    refusal = ApiError(429, "Rate limit reached", headers={LEFT: "12"})
    getattr(rig.limits, stage)["on_demand"] = refusal
    response = await http.post(URL, json=chat_body())
    assert response.headers.get_list(LEFT) == ["12"]
