"""Usage over HTTP: what is shown, to whom, and what is refused."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.api.usage.cursor import group_id
from app.db.engine import Database
from app.usage.types import Amounts, Entry
from tests.app.api.usage.conftest import URL
from tests.app.usage.entries import DAY, FT, account, add, tokens

YESTERDAY = DAY - timedelta(1)


async def shown(http: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    response = await http.get("/usage", params=asked)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def refused(http: httpx.AsyncClient, **asked: Any) -> tuple[str, str]:
    response = await http.get("/usage", params=asked)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error["param"], error["message"]


async def test_everything_of_a_group_is_told(http: httpx.AsyncClient, database: Database) -> None:
    mine = account(adapter=FT)
    await add(database, {Entry(DAY, mine): Amounts(1, 200, 64, 30, 5, 1500, 250)})
    answer = await shown(http, group_by="day,model,adapter,api_key_id,batch")
    [group] = answer["data"]
    assert group == {
        "id": group["id"],
        "object": "usage",
        "day": "2026-01-31",
        "model": "base",
        "adapter": FT,
        "api_key_id": "key_1",
        "batch": False,
        "requests": 1,
        "prompt_tokens": 200,
        "cached_tokens": 64,
        "completion_tokens": 30,
        "input_characters": 5,
        "input_audio_seconds": 1.5,
        "output_audio_seconds": 0.25,
    }
    assert answer == {
        "object": "list",
        "data": [group],
        "has_more": False,
        "first_id": group["id"],
        "last_id": group["id"],
        "start_date": "2026-01-02",
        "end_date": "2026-01-31",
        "group_by": ["day", "model", "adapter", "api_key_id", "batch"],
    }


async def test_without_a_wish_it_is_the_last_30_days_by_day(
    http: httpx.AsyncClient, database: Database
) -> None:
    days = [DAY - timedelta(ago) for ago in (30, 29, 1, 0)]
    await add(database, {Entry(day, account()): tokens(1) for day in days})
    answer = await shown(http)
    assert [group["day"] for group in answer["data"]] == [day.isoformat() for day in days[1:]]
    assert {group["model"] for group in answer["data"]} == {None}


async def test_what_is_no_adapter_s_and_no_key_s_is_null(
    http: httpx.AsyncClient, database: Database
) -> None:
    await add(database, {Entry(DAY, account(key_id="", is_batch=True)): tokens(1)})
    [group] = (await shown(http, group_by="adapter,api_key_id,batch"))["data"]
    assert (group["adapter"], group["api_key_id"], group["batch"]) == (None, None, True)


@pytest.mark.parametrize("name", ["group_by", "group_by[]"])
async def test_a_list_may_be_written_in_any_way(http: httpx.AsyncClient, name: str) -> None:
    assert (await shown(http, **{name: ["day", "model"]}))["group_by"] == ["day", "model"]
    assert (await shown(http, **{name: "model,day"}))["group_by"] == ["model", "day"]


async def test_an_empty_list_is_one_sum_of_all(http: httpx.AsyncClient, database: Database) -> None:
    assert (await shown(http, group_by=""))["data"] == []
    sums = {
        Entry(day, account(model=model)): tokens(1) for day in (YESTERDAY, DAY) for model in "ab"
    }
    await add(database, sums)
    [group] = (await shown(http, group_by=""))["data"]
    assert (group["requests"], group["day"], group["model"]) == (4, None, None)


async def test_another_organisation_s_usage_is_not_there(
    transport: httpx.ASGITransport, http: httpx.AsyncClient, database: Database
) -> None:
    await add(database, {Entry(DAY, account()): tokens(1)})
    headers = {"authorization": "Bearer org_2"}
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=headers) as other:
        assert (await shown(other))["data"] == []
        everything = "day,model,adapter,api_key_id,batch"
        after = (await shown(http, group_by="day"))["last_id"]
        assert (await shown(other, group_by="day", after=after))["data"] == []
        assert (await shown(other, group_by=everything))["data"] == []


async def test_following_the_last_id_yields_every_group_once(
    http: httpx.AsyncClient, database: Database
) -> None:
    entries = [
        Entry(day, account(key_id=f"key_{number}", adapter=adapter))
        for day in (YESTERDAY, DAY)
        for number in range(5)
        for adapter in ("", FT)
    ]
    await add(database, {entry: tokens(1) for entry in entries})
    seen: list[tuple[str, str, str]] = []
    after: dict[str, str] = {}
    while True:
        page = await shown(http, group_by="day,api_key_id,adapter", limit=3, **after)
        seen += [(one["day"], one["api_key_id"], one["adapter"] or "") for one in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    wanted = [(each.day.isoformat(), each.account.key_id, each.account.adapter) for each in entries]
    assert seen == wanted


@pytest.mark.parametrize(
    ("asked", "param", "word"),
    [
        ({"start_date": "yesterday"}, "start_date", "2026-01-31"),
        ({"start_date": "2026-02-30"}, "start_date", "2026-02-30"),
        ({"end_date": "20260101"}, "end_date", "20260101"),
        ({"end_date": "2026-W01-1"}, "end_date", "such as"),
        ({"end_date": "٢٠٢٦-٠١-٠١"}, "end_date", "such as"),
        ({"end_date": ""}, "end_date", "such as"),
        ({"start_date": "2026-02-01"}, "start_date", "after"),
        ({"start_date": "2025-01-01", "end_date": "2025-04-03"}, "start_date", "92 days"),
        ({"start_date": "0001-01-01", "end_date": "9999-12-31"}, "start_date", "92 days"),
        ({"group_by": "colour"}, "group_by", "`api_key_id`"),
        ({"group_by": "x" * 5000}, "group_by", "…"),
        ({"group_by": "day,day"}, "group_by", "twice"),
        ({"limit": 0}, "limit", "at least"),
        ({"limit": 1001}, "limit", "at most"),
        ({"after": "usage_"}, "after", "not the id"),
        ({"after": "file_01jh6x76wtemjr74t1fh0faj5t"}, "after", "not the id"),
        ({"after": "usage_" + "W" * 10_000}, "after", "not the id"),
        ({"after": group_id(["model"], ["base"])}, "after", "grouped otherwise"),
        ({"after": group_id(["day"], ["\0"])}, "after", "not the id"),
        ({"after": group_id(["day"], [True])}, "after", "not the id"),
        ({"after": group_id(["day"], [DAY, DAY])}, "after", "not the id"),
        ({"after": group_id(["model"], ["\0"]), "group_by": "model"}, "after", "not the id"),
        ({"after": group_id(["model"], ["\ud800"]), "group_by": "model"}, "after", "not the id"),
        ({"after": group_id(["batch"], ["true"]), "group_by": "batch"}, "after", "not the id"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(
    http: httpx.AsyncClient, asked: dict[str, Any], param: str, word: str
) -> None:
    told, message = await refused(http, **asked)
    assert told == param
    assert word in message


async def test_the_first_day_there_is_can_be_the_last_one_asked_for(
    http: httpx.AsyncClient,
) -> None:
    answer = await shown(http, end_date="0001-01-02")
    assert (answer["start_date"], answer["data"]) == ("0001-01-01", [])
