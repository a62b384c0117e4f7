"""Creates that meet one another: an organisation's share, and idempotency keys."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.batches.lines import CHAT
from app.db.engine import Database
from app.db.tables import FileRow
from tests.app.api.batches.calls import error_of, made, post
from tests.app.api.batches.conftest import MOST_UNFINISHED, QUOTA
from tests.app.batches.rows import add_file, set_batch

KEY = {"Idempotency-Key": "nightly-1"}


class TestTooMany:
    """An organisation's share of what may be unfinished."""

    async def test_fifty_creates_at_once_make_as_many_as_there_may_be(
        self, http: httpx.AsyncClient, other: httpx.AsyncClient, file: str
    ) -> None:
        answers = await asyncio.gather(*(post(http, file) for _ in range(50)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(answers) - len(refused) == MOST_UNFINISHED
        assert {error_of(answer) for answer in refused} == {(429, "too_many_active_batches", None)}
        assert {answer.headers["x-should-retry"] for answer in refused} == {"false"}
        assert len((await http.get("/batches")).json()["data"]) == MOST_UNFINISHED

    async def test_who_keeps_all_the_files_there_may_be_has_no_room_for_results(
        self, http: httpx.AsyncClient, database: Database, file: str
    ) -> None:
        async with database.sessions.begin() as session:
            await session.execute(update(FileRow).values(bytes=QUOTA))
        answer = await post(http, file)
        assert error_of(answer) == (413, "file_quota_exceeded", "input_file_id")
        assert (await http.get("/batches")).json()["data"] == []

    async def test_one_that_has_ended_makes_room(
        self, http: httpx.AsyncClient, database: Database, file: str
    ) -> None:
        batches = [(await made(http, file))["id"] for _ in range(MOST_UNFINISHED)]
        assert (await post(http, file)).status_code == 429
        await set_batch(database, batches[2], status="cancelled")
        assert (await post(http, file)).status_code == 200

    async def test_other_organisations_have_their_own(
        self,
        http: httpx.AsyncClient,
        other: httpx.AsyncClient,
        database: Database,
        theirs: str,
        file: str,
    ) -> None:
        for _ in range(MOST_UNFINISHED):
            await made(http, file)
        assert (await post(other, await add_file(database, theirs))).status_code == 200


class TestKeys:
    """Creates with an Idempotency-Key."""

    async def test_fifty_posts_at_once_make_one_batch_and_get_one_body(
        self, http: httpx.AsyncClient, file: str
    ) -> None:
        answers = await asyncio.gather(*(post(http, file, headers=KEY) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert len((await http.get("/batches")).json()["data"]) == 1

    @pytest.mark.parametrize(
        "parts",
        [{"metadata": {"a": "b"}}, {"completion_window": "25h"}, {"endpoint": "/v1/responses"}],
    )
    async def test_another_request_under_the_key_is_a_409(
        self, http: httpx.AsyncClient, file: str, parts: dict[str, Any]
    ) -> None:
        await post(http, file, headers=KEY)
        answer = await post(http, file, headers=KEY, **parts)
        assert error_of(answer) == (409, "idempotency_key_reused", "Idempotency-Key")

    async def test_an_alias_of_the_endpoint_is_the_same_request(
        self, http: httpx.AsyncClient, file: str
    ) -> None:
        answers = [
            await post(http, file, headers=KEY, endpoint=url) for url in (CHAT, f"/openai{CHAT}")
        ]
        assert answers[0].content == answers[1].content

    async def test_a_refused_create_uses_no_key(
        self, http: httpx.AsyncClient, database: Database, mine: str, file: str
    ) -> None:
        wrong = await add_file(database, mine, purpose="fine_tuning")
        assert (await post(http, wrong, headers=KEY)).status_code == 400
        assert (await post(http, file, headers=KEY)).status_code == 200
