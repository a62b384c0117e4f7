"""The SQL of batches where two transactions meet."""

import asyncio

import pytest

from app.batches import repository
from app.batches.lines import CHAT
from app.batches.repository import NewBatch
from app.batches.types import Step
from app.db.engine import Database
from app.ids import new_id
from app.pagination import PageRequest
from tests.app.batches.rows import add_chunks, add_file, set_batch
from tests.fixtures.databases import add_organization


@pytest.fixture
async def org_id(database: Database) -> str:
    return await add_organization(database, "mine")


def new_batch(org_id: str, file: str) -> NewBatch:
    return NewBatch(new_id("batch"), org_id, file, CHAT, "24h", 86_400, None, "key_1")


async def added(database: Database, org_id: str) -> str:
    batch = new_batch(org_id, await add_file(database, org_id))
    async with database.sessions.begin() as session:
        await repository.add(session, batch)
    return batch.id


async def test_one_admission_waits_for_the_end_of_another(database: Database, org_id: str) -> None:
    file, counted = await add_file(database, org_id), asyncio.Event()
    go_on = asyncio.Event()

    async def first() -> int:
        async with database.sessions.begin() as session:
            count = await repository.admit_one(session, org_id)
            counted.set()
            await go_on.wait()
            await repository.add(session, new_batch(org_id, file))
            return count

    async def second() -> int:
        async with database.sessions.begin() as session:
            return await repository.admit_one(session, org_id)

    one = asyncio.create_task(first())
    await counted.wait()
    two = asyncio.create_task(second())
    done, _ = await asyncio.wait([two], timeout=0.1)
    assert not done
    go_on.set()
    assert (await one, await two) == (0, 1)


async def test_other_organisations_do_not_count(database: Database, org_id: str) -> None:
    await added(database, await add_organization(database, "theirs"))
    async with database.sessions.begin() as session:
        assert await repository.admit_one(session, org_id) == 0


async def test_its_times_are_those_of_the_database(database: Database, org_id: str) -> None:
    file = await add_file(database, org_id)
    async with database.sessions.begin() as session:
        row = await repository.add(session, new_batch(org_id, file))
    assert row.expires_at == row.created_at + 86_400
    assert row.created_at > 1_700_000_000


async def test_only_a_batch_that_nobody_has_begun_is_taken_back(
    database: Database, org_id: str
) -> None:
    untouched, leased = await added(database, org_id), await added(database, org_id)
    await set_batch(database, leased, token="t")
    async with database.sessions.begin() as session:
        for id in (untouched, leased):
            await repository.take_back(session, org_id, id)
    async with database.sessions() as session:
        assert await repository.find(session, org_id, untouched) is None
        assert await repository.find(session, org_id, leased) is not None


async def test_a_page_and_its_counts_are_one_statement(database: Database, org_id: str) -> None:
    ids = [await added(database, org_id) for _ in range(3)]
    for id in ids:
        await add_chunks(database, org_id, id, (2, 1, 0), (2, 0, 1))
    async with database.sessions() as session:
        rows, has_more = await repository.list_page(session, org_id, PageRequest(2), None)
    assert [row.row.id for row in rows] == ids[:0:-1]
    assert [row[1:] for row in rows] == [(4, 1, 1)] * 2
    assert has_more


async def test_a_step_has_its_input_as_long_as_it_is_held(database: Database, org_id: str) -> None:
    file = await add_file(database, org_id, bytes=7, sha256="ab")
    batch = new_batch(org_id, file)
    async with database.sessions.begin() as session:
        await repository.add(session, batch)
    await set_batch(database, batch.id, token="t")
    async with database.sessions() as session:
        found = await repository.step_input(session, Step(batch.id, org_id, "t"))
        assert found == (CHAT, file, 7, "ab")
        assert await repository.step_input(session, Step(batch.id, org_id, "u")) is None
