"""The parts of an answer that only some requests ask for."""

from dataclasses import replace
from typing import Any

import groq
import httpx
import pytest

from app.engine.base import Candidate, Delta, TokenLogprob
from tests.app.api.chat.bodies import MESSAGES, chat_body
from tests.app.api.chat.stubs import Rig
from tests.app.inference.stubs import BASE, CARD, USAGE, answer
from tests.e2e.chat_streams import accumulated, chunks_of

URL = "/openai/v1/chat/completions"
FIRST = TokenLogprob(Candidate("Gr", -0.25), [Candidate("Gr", -0.25), Candidate("é", -2.0)])
SECOND = TokenLogprob(Candidate("üß\u2028", -9999.0), [])
LIKELY = [
    Delta("Gr", logprobs=[FIRST], tokens=1),
    Delta("üß\u2028", logprobs=[SECOND], finish_reason="stop", usage=USAGE, tokens=1),
]
TOLD = [
    {
        "token": "Gr",
        "logprob": -0.25,
        "bytes": [71, 114],
        "top_logprobs": [
            {"token": "Gr", "logprob": -0.25, "bytes": [71, 114]},
            {"token": "é", "logprob": -2.0, "bytes": [195, 169]},
        ],
    },
    {
        "token": "üß\u2028",
        "logprob": -9999.0,
        "bytes": list("üß\u2028".encode()),
        "top_logprobs": [],
    },
]


async def test_logprobs_are_told_whole_and_streamed(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = LIKELY
    asked = {"logprobs": True, "top_logprobs": 2}
    (choice,) = (await http.post(URL, json=chat_body(**asked))).json()["choices"]
    stream = (await http.post(URL, json=chat_body(**asked, stream=True))).text
    streamed = accumulated(chunks_of(stream))
    assert choice["logprobs"] == {"content": TOLD}
    assert (streamed["logprobs"], streamed["content"]) == (TOLD, "Grüß\u2028")
    assert [job.sampling.logprobs for job in rig.engine.jobs] == [2, 2]
    assert "\u2028" not in stream


async def test_the_groq_client_reads_logprobs_in_strict_mode(
    rig: Rig, groq_client: groq.AsyncGroq
) -> None:
    rig.engine.script = LIKELY
    messages: Any = MESSAGES
    create = groq_client.chat.completions.create
    completion = await create(model=BASE, messages=messages, logprobs=True)
    stream = await create(model=BASE, messages=messages, logprobs=True, stream=True)
    told = completion.choices[0].logprobs
    assert told is not None
    streamed = [
        token.token
        async for chunk in stream
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content or []
    ]
    assert [token.token for token in told.content or []] == streamed == ["Gr", "üß\u2028"]


async def test_the_alternatives_are_counted_and_the_chosen_token_is_always_told(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.script = LIKELY
    await http.post(URL, json=chat_body(logprobs=True))
    await http.post(URL, json=chat_body(logprobs=False))
    assert [job.sampling.logprobs for job in rig.engine.jobs] == [0, None]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("logprobs", {"logprobs": True}),
        ("logprobs", {"logprobs": True, "top_logprobs": 3}),
        ("logit_bias", {"logit_bias": {"1": 1}}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_catalog_brings_groqs_refusals_back(
    rig: Rig, http: httpx.AsyncClient, field: str, fields: dict[str, Any], stream: bool
) -> None:
    rig.engine.card = replace(CARD, tells_logprobs=False)
    response = await http.post(URL, json=chat_body(**fields, stream=stream))
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": f"`{field}` is not supported with this model",
        "type": "invalid_request_error",
        "param": field,
    }
    assert rig.engine.jobs == []


async def test_values_that_ask_for_no_logprobs_are_no_refusal(
    rig: Rig, http: httpx.AsyncClient
) -> None:
    rig.engine.card = replace(CARD, tells_logprobs=False)
    rig.engine.script = answer("hi")
    fields = {"logprobs": False, "top_logprobs": 0, "logit_bias": {}, "frequency_penalty": 1}
    assert (await http.post(URL, json=chat_body(**fields))).status_code == 200


async def test_cached_tokens_are_part_of_the_usage(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = answer("hi", usage=replace(USAGE, cached_tokens=4))
    usage = (await http.post(URL, json=chat_body())).json()["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4}
    assert usage["prompt_tokens"] == USAGE.prompt_tokens


async def test_what_changes_nothing_changes_nothing(rig: Rig, http: httpx.AsyncClient) -> None:
    rig.engine.script = answer("hi")
    for fields in ({}, {"user": "u", "metadata": {"a": "b"}, "store": False}):
        response = await http.post(URL, json=chat_body(seed=1, **fields))
        assert response.status_code == 200
    first, second = rig.engine.jobs
    assert first == second
