"""Quotas hold and inputs of batches stay, however many clients ask at once."""

import asyncio
from typing import get_args

import pytest
from sqlalchemy import text

from app.batches.types import Status
from app.db.engine import Database
from app.db.tables import UNFINISHED
from app.files import repository
from app.files.errors import FileInUse, QuotaExceeded
from tests.app.files.world import World, batch_row, file_row
from tests.fixtures.databases import Dialect, add_organization


async def add(world: World, size: int, quota: int, org_id: str | None = None) -> None:
    row = file_row(org_id or world.org_id, size=size)
    async with world.database.sessions.begin() as session:
        await repository.add_file(session, row, quota_bytes=quota)


async def used(world: World) -> int:
    async with world.database.sessions() as session:
        return await repository.used_bytes(session, world.org_id)


async def delete(world: World, file_id: str) -> bool:
    async with world.database.sessions.begin() as session:
        return await repository.delete_file(session, world.org_id, file_id)


async def until_one_waits(database: Database) -> None:
    """Return once a transaction waits for a lock of another."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with database.engine.connect() as connection:
        while not await connection.scalar(text(waiting)):
            pass  # each query gives the other tasks their turn


async def test_fifty_uploads_at_once_never_exceed_the_quota(world: World) -> None:
    ended = await asyncio.gather(*(add(world, 10, 305) for _ in range(50)), return_exceptions=True)

    refused = [each for each in ended if isinstance(each, QuotaExceeded)]
    assert len(refused) == sum(each is not None for each in ended) == 20
    assert await used(world) == 300


async def test_a_file_may_fill_the_quota_to_the_last_byte(world: World) -> None:
    await add(world, 99, 100)
    await add(world, 1, 100)
    with pytest.raises(QuotaExceeded) as caught:
        await add(world, 1, 100)
    assert (caught.value.used, caught.value.quota_bytes) == (100, 100)
    assert await used(world) == 100


async def test_nobody_fills_the_quota_of_another(world: World) -> None:
    other = await add_organization(world.database, "other")
    await add(world, 100, 100)
    await add(world, 100, 100, other)
    assert await used(world) == 100


async def test_results_of_batches_count_and_are_never_refused(world: World) -> None:
    async with world.database.sessions.begin() as session:
        session.add(file_row(world.org_id, purpose="batch_output", size=1000))
    assert await used(world) == 1000
    with pytest.raises(QuotaExceeded):
        await add(world, 1, 1000)


async def test_more_bytes_than_four_gigabytes_are_summed(world: World) -> None:
    assert await used(world) == 0
    for _ in range(3):
        await add(world, 1 << 40, 1 << 50)
    assert await used(world) == 3 << 40


@pytest.mark.parametrize("status", get_args(Status))
async def test_a_file_is_kept_while_a_batch_has_not_ended(world: World, status: str) -> None:
    file_id = await world.file()
    row = batch_row(world.org_id, file_id, status)
    batch_id = row.id
    async with world.database.sessions.begin() as session:
        session.add(row)

    if status in UNFINISHED:
        with pytest.raises(FileInUse) as caught:
            await delete(world, file_id)
        assert caught.value.batch_id == batch_id
    else:
        assert await delete(world, file_id)
    assert (file_id in await world.files()) == (status in UNFINISHED)


async def test_a_file_is_deleted_once_and_by_its_owner_alone(world: World) -> None:
    file_id = await world.file()
    other = await add_organization(world.database, "other")
    async with world.database.sessions.begin() as session:
        assert not await repository.delete_file(session, other, file_id)
    deleted = await asyncio.gather(*(delete(world, file_id) for _ in range(5)))
    assert sorted(deleted) == [False] * 4 + [True]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_deletion_waits_for_a_batch_that_is_being_created(
    world: World, dialect: Dialect
) -> None:
    file_id = await world.file()
    async with world.database.sessions.begin() as session:
        assert await repository.find_file(session, world.org_id, file_id, lock=True)
        deletion = asyncio.create_task(delete(world, file_id))
        await until_one_waits(world.database)
        session.add(batch_row(world.org_id, file_id))

    with pytest.raises(FileInUse):
        await deletion
    assert await world.files() == {file_id}


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_creation_waits_for_a_deletion_and_finds_no_file(
    world: World, dialect: Dialect
) -> None:
    file_id = await world.file()
    async with world.database.sessions.begin() as session:
        assert await repository.delete_file(session, world.org_id, file_id)
        creation = asyncio.create_task(world.batch(file_id))
        await until_one_waits(world.database)

    assert await creation is None
    assert await world.batches() == set()


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_deletion_waits_for_an_addition_whose_end_is_not_known(
    world: World, dialect: Dialect
) -> None:
    row = file_row(world.org_id)
    async with world.database.sessions.begin() as session:
        await repository.add_file(session, row, quota_bytes=1)
        deletion = asyncio.create_task(delete(world, row.id))
        await until_one_waits(world.database)

    assert await deletion
    assert await world.files() == set()


async def test_creations_and_deletions_at_once_leave_no_batch_without_its_file(
    world: World,
) -> None:
    files = [await world.file() for _ in range(20)]

    await asyncio.gather(
        *(work(id) for id in files for work in (world.batch, lambda id: delete(world, id))),
        return_exceptions=True,
    )

    async with world.database.sessions() as session:
        orphans = "SELECT id FROM batches WHERE input_file_id NOT IN (SELECT id FROM files)"
        assert (await session.execute(text(orphans))).all() == []
    assert len(await world.files()) == len(await world.batches())
