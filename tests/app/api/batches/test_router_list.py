"""Pages of batches, for both SDKs."""

import groq
import httpx
import openai
import pytest

from app.api.batches.service import BatchesService
from app.db.engine import Database
from app.ids import new_id
from app.settings import BatchSettings
from tests.app.api.batches.calls import error_of, made


@pytest.fixture
def batches(database: Database) -> BatchesService:
    return BatchesService(
        database.sessions, BatchSettings(), lambda plan: True, quota_bytes=1 << 30
    )


@pytest.fixture
async def ids(http: httpx.AsyncClient, file: str) -> list[str]:
    """Of 23 batches, newest first."""
    return [(await made(http, file))["id"] for _ in range(23)][::-1]


async def test_a_page_has_twenty_unless_wanted_otherwise(
    http: httpx.AsyncClient, ids: list[str]
) -> None:
    page = (await http.get("/batches")).json()
    assert [batch["id"] for batch in page["data"]] == ids[:20]
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[19])
    assert page["paging"] == {"next_cursor": ids[19]}
    page = (await http.get("/batches", params={"limit": 3})).json()
    assert [batch["id"] for batch in page["data"]] == ids[:3]


@pytest.mark.parametrize("name", ["after", "cursor"])
async def test_both_ways_to_go_on_end_at_the_last(
    http: httpx.AsyncClient, ids: list[str], name: str
) -> None:
    page = (await http.get("/batches", params={name: ids[19]})).json()
    assert [batch["id"] for batch in page["data"]] == ids[20:]
    assert page["has_more"] is False
    assert page["paging"] == {"next_cursor": None}


async def test_the_openai_sdk_turns_pages_by_itself(
    openai_sdk: openai.AsyncOpenAI, ids: list[str]
) -> None:
    assert [batch.id async for batch in openai_sdk.batches.list(limit=5)] == ids


async def test_the_groq_sdk_reads_a_page(groq_sdk: groq.AsyncGroq, ids: list[str]) -> None:
    page = await groq_sdk.batches.list(extra_query={"cursor": ids[19]})
    assert [batch.id for batch in page.data] == ids[20:]


async def test_those_of_some_ids_are_all_on_one_page(
    http: httpx.AsyncClient, ids: list[str]
) -> None:
    wanted = [*ids, new_id("batch"), "batch_\0", "?"]
    page = (await http.get("/batches", params={"id": wanted})).json()
    assert [batch["id"] for batch in page["data"]] == ids
    assert page["has_more"] is False
    page = (await http.get("/batches", params={"id": ids[:4], "limit": 3})).json()
    assert [batch["id"] for batch in page["data"]] == ids[:3]
    assert page["has_more"] is True


async def test_ids_are_understood_as_each_sdk_writes_them(
    http: httpx.AsyncClient, ids: list[str]
) -> None:
    for params in ({"id": ",".join(ids[:3])}, {"id[]": ids[:3]}):
        page = (await http.get("/batches", params=params)).json()
        assert [batch["id"] for batch in page["data"]] == ids[:3]


async def test_ids_that_are_none_find_none(http: httpx.AsyncClient, ids: list[str]) -> None:
    assert (await http.get("/batches", params={"id": ["", "x"]})).json()["data"] == []


async def test_two_hundred_ids_are_asked_for_at_most(http: httpx.AsyncClient) -> None:
    ids = [new_id("batch") for _ in range(201)]
    assert (await http.get("/batches", params={"id": ids[:200]})).status_code == 200
    assert error_of(await http.get("/batches", params={"id": ids})) == (400, None, "id")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after": "x"}, "after"),
        ({"after": new_id("batch"), "cursor": new_id("batch")}, "cursor"),
    ],
)
async def test_a_page_that_cannot_be_is_a_400(
    http: httpx.AsyncClient, query: dict[str, str], param: str
) -> None:
    answer = await http.get("/batches", params=query)
    assert error_of(answer) == (400, None, param)
