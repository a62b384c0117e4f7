"""Registrations with an Idempotency-Key, over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from app.db.tables import OrganizationRow
from tests.app.adapters.world import BASE, World

URL = "/v1/fine_tunings"
KEY = {"Idempotency-Key": "register mine"}


@pytest.fixture
async def body(world: World) -> dict[str, Any]:
    return {"input_file_id": await world.upload(), "name": "mine", "base_model": BASE}


async def test_fifty_posts_at_once_register_one_version_and_get_one_body(
    http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    answers = await asyncio.gather(*(http.post(URL, json=body, headers=KEY) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len((await http.get(URL)).json()["data"]) == 1


async def test_the_same_request_in_other_words_is_the_same_request(
    http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    first = await http.post(URL, json=body, headers=KEY)
    turned = dict(reversed(body.items())) | {"type": "lora"}
    assert (await http.post(URL, json=turned, headers=KEY)).content == first.content


async def test_another_name_under_the_key_is_a_409(
    http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    await http.post(URL, json=body, headers=KEY)
    answer = await http.post(URL, json=body | {"name": "other"}, headers=KEY)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_key_reused"


async def test_the_same_key_of_another_organisation_finds_nothing_of_this_one(
    http: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    world: World,
    body: dict[str, Any],
) -> None:
    id = stranger.headers["authorization"].removeprefix("Bearer ")
    async with world.database.sessions.begin() as session:
        session.add(OrganizationRow(id=id, name="stranger", created_at=0))
    await http.post(URL, json=body, headers=KEY)
    answer = await stranger.post(URL, json=body, headers=KEY)
    assert answer.status_code == 404
    assert world.org_id not in answer.text


async def test_a_malformed_key_is_a_400(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.post(URL, json=body, headers={"Idempotency-Key": "x" * 256})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
