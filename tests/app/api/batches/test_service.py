"""Creating batches while things go wrong: one whole batch for a key, whatever happened before."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text

from app.api.batches.schemas import BatchObject, CreateBatchRequest
from app.api.batches.service import BatchesService
from app.auth.authenticator import Caller
from app.batches.lines import CHAT
from app.db.engine import Database
from app.db.tables import BatchRow
from app.files.repository import find_file
from app.settings import BatchSettings
from tests.app.api.batches.conftest import QUOTA
from tests.app.batches.rows import add_file
from tests.app.idempotency.faults import cancel_at, cancel_in_statement, dead_from


class Replica(BatchesService):
    """The batches service of one process, with one file to make batches of."""

    def __init__(self, database: Database, org_id: str, file: str) -> None:
        super().__init__(database.sessions, BatchSettings(), lambda plan: True, quota_bytes=QUOTA)
        self.database, self.org_id, self.file = database, org_id, file

    async def make(self, key: str | None) -> BatchObject:
        wanted = CreateBatchRequest(input_file_id=self.file, endpoint=CHAT, completion_window="24h")
        return await self.create(Caller(self.org_id, "key_1"), wanted, key=key)

    async def ids(self) -> list[str]:
        page = await self.list(self.org_id, limit=100, after=None)
        return [batch.id for batch in page.data]


@pytest.fixture
async def one(database: Database, mine: str) -> Replica:
    return Replica(database, mine, await add_file(database, mine))


@pytest.fixture
async def two(database_url: str, one: Replica) -> AsyncIterator[Replica]:
    database = Database(database_url)
    yield Replica(database, one.org_id, one.file)
    await database.close()


async def cancelled(side: Replica, key: str | None, step: int, at: str) -> bool:
    """Cancel a create at a step; False if it has no such step."""
    if at == "statement":
        return await cancel_in_statement(step, side.database, side.make(key))
    return await cancel_at(step, side.make(key))


async def test_a_batch_keeps_the_key_that_it_was_created_with(one: Replica) -> None:
    batch = await one.make(None)
    async with one.database.sessions() as session:
        keys = (await session.scalars(select(BatchRow.key_id).filter_by(id=batch.id))).all()
    assert keys == ["key_1"]


async def test_fifty_creates_on_two_replicas_are_one_batch(one: Replica, two: Replica) -> None:
    batches = await asyncio.gather(*(side.make("key") for side in [one, two] * 25))
    assert batches == [batches[0]] * 50
    assert await one.ids() == [batches[0].id]


@pytest.mark.parametrize("at", ["suspension", "statement"])
async def test_a_cancellation_at_any_step_leaves_one_batch_after_the_retry(
    one: Replica, at: str
) -> None:
    step, has_come, wanted = 0, True, 0
    while has_come:
        step += 1
        has_come = await cancelled(one, f"key {step}", step, at)
        assert len(await one.ids()) in (wanted, wanted + 1), step
        batch = await one.make(f"key {step}")
        wanted += 1
        assert len(await one.ids()) == wanted, step
        assert (await one.ids())[0] == batch.id
    assert step > 4


@pytest.mark.parametrize("at", ["suspension", "statement"])
async def test_a_cancellation_at_any_step_leaves_nothing_of_a_create_without_key(
    one: Replica, at: str
) -> None:
    step = 1
    while await cancelled(one, None, step, at):
        assert await one.ids() == [], step
        step += 1
    assert step > 2


async def test_a_crash_at_any_statement_leaves_one_batch_after_the_retry(
    one: Replica, two: Replica
) -> None:
    step, has_come, wanted = 0, True, 0
    while has_come:
        step += 1
        with dead_from(step, one.database) as taken:
            await asyncio.gather(one.make(f"key {step}"), return_exceptions=True)
        has_come = len(taken) >= step
        async with two.database.sessions.begin() as session:
            await session.execute(text("UPDATE idempotency_keys SET claimed_until = 1"))
        batch = await two.make(f"key {step}")
        wanted += 1
        found = await two.ids()
        assert (len(found), found[0]) == (wanted, batch.id), step
    assert step > 5


async def test_a_create_waits_for_whoever_deletes_its_file(one: Replica, two: Replica) -> None:
    async with two.database.sessions.begin() as session:
        assert await find_file(session, one.org_id, one.file, lock=True)
        making = asyncio.create_task(one.make(None))
        done, _ = await asyncio.wait([making], timeout=0.2)
        assert not done
        await session.execute(text("DELETE FROM files"))
    result = (await asyncio.gather(making, return_exceptions=True))[0]
    assert getattr(result, "status", None) == 404
    assert await one.ids() == []
