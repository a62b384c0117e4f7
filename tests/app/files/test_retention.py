"""What is old goes, row and bytes; what is young, wanted or of another kind stays."""

import asyncio
from typing import get_args

import pytest
from sqlalchemy import event, select, text

from app.batches.types import Status
from app.db.tables import UNFINISHED, BatchChunkRow
from app.files import repository, retention
from tests.app.files.test_repository import until_one_waits
from tests.app.files.world import KEEP_SECONDS, World, batch_row
from tests.fixtures.databases import Dialect

OLD = KEEP_SECONDS + 60
YOUNG = KEEP_SECONDS - 60


@pytest.mark.parametrize("purpose", ["batch", "batch_output"])
async def test_old_files_of_batches_go_with_their_bytes(world: World, purpose: str) -> None:
    await world.file(purpose=purpose, age=OLD)
    young = await world.file(purpose=purpose, age=YOUNG)

    await world.retention().run_round()

    assert await world.files() == await world.stored_files() == {young}
    assert world.swept.kinds == ["file"]


async def test_uploaded_adapters_stay_however_old(world: World) -> None:
    file_id = await world.file(purpose="fine_tuning", age=10 * OLD)
    await world.retention().run_round()
    assert await world.files() == await world.stored_files() == {file_id}


async def test_an_old_file_stays_until_no_batch_reads_it(world: World) -> None:
    file_id = await world.file(age=OLD)
    first, second = await world.batch(file_id), await world.batch(file_id)
    assert first is not None
    assert second is not None

    await world.end(first)
    await world.retention().run_round()
    assert await world.stored_files() == {file_id}

    await world.end(second, "cancelled")
    await world.retention().run_round()
    assert await world.files() == await world.stored_files() == set()
    assert await world.batches() == {first, second}


@pytest.mark.parametrize("status", get_args(Status))
async def test_batches_go_long_after_their_end(world: World, status: str) -> None:
    rows = [batch_row(world.org_id, "file_gone", status) for _ in range(2)]
    ids = [row.id for row in rows]
    async with world.database.sessions.begin() as session:
        session.add_all(rows)
    if status not in UNFINISHED:
        await world.end(ids[0], status, age=OLD)
        await world.end(ids[1], status, age=YOUNG)

    await world.retention().run_round()

    left = set(ids) if status in UNFINISHED else {ids[1]}
    assert await world.batches() == left
    assert world.swept.kinds == ["batch"] * (2 - len(left))


async def test_a_chunk_that_was_left_behind_goes_with_its_batch(world: World) -> None:
    batch_id = await world.batch(await world.file())
    assert batch_id is not None
    chunk = BatchChunkRow(
        batch_id=batch_id,
        number=0,
        org_id=world.org_id,
        model="",
        adapter="",
        start=0,
        length=1,
        lines=1,
        state="dropped",
        parts="[]",
        completed=0,
        failed=0,
        leased_until=0,
        attempts=0,
    )
    async with world.database.sessions.begin() as session:
        session.add(chunk)
    await world.end(batch_id, "expired", age=OLD)

    await world.retention().run_round()

    assert await world.batches() == set()
    async with world.database.sessions() as session:
        assert (await session.scalars(select(BatchChunkRow))).all() == []


async def test_many_replicas_remove_many_in_small_steps_and_no_file_that_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 3)
    files = [await world.file(age=OLD) for _ in range(20)]
    read = set(files[::4])
    for file_id in read:
        await world.batch(file_id)
    for file_id in files[:5]:
        batch_id = await world.batch(file_id)
        assert batch_id is not None
        await world.end(batch_id, age=OLD)

    await asyncio.gather(*(world.retention().run_round() for _ in range(4)))

    assert await world.files() == await world.stored_files() == read
    assert len(await world.batches()) == len(read)
    assert sorted(world.swept.kinds) == ["batch"] * 5 + ["file"] * 15


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_file_that_a_batch_is_about_to_read_is_left_alone(
    world: World, dialect: Dialect
) -> None:
    file_id = await world.file(age=OLD)
    async with world.database.sessions.begin() as session:
        assert await repository.find_file(session, world.org_id, file_id, lock=True)
        await world.retention().run_round()
        session.add(batch_row(world.org_id, file_id))

    await world.retention().run_round()
    assert await world.files() == {file_id}


GATE = "SELECT pg_advisory_xact_lock(7)"


def gated(
    _connection: object, _cursor: object, statement: str, parameters: object, *_: object
) -> tuple[str, object]:
    """Let a statement that looks for old files wait at the gate with what it sees already fixed."""
    if "SKIP LOCKED" in statement and "FROM files" in statement:
        statement = statement.replace("WHERE ", f"WHERE ({GATE}) IS NOT NULL AND ", 1)
    return statement, parameters


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_batch_that_comes_after_the_round_has_looked_keeps_its_file(
    world: World, dialect: Dialect
) -> None:
    file_id = await world.file(age=OLD)
    engine = world.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", gated, retval=True)
    async with world.database.sessions.begin() as session:
        await session.execute(text(GATE))
        round_ = asyncio.create_task(world.retention().run_round())
        await until_one_waits(world.database)
        assert await world.batch(file_id) is not None
    await round_

    assert await world.files() == await world.stored_files() == {file_id}


async def test_batches_that_come_meanwhile_find_their_files_or_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 2)
    files = [await world.file(age=OLD) for _ in range(60)]

    rounds = [world.retention().run_round() for _ in range(3)]
    await asyncio.gather(*(world.batch(id) for id in reversed(files)), *rounds)

    async with world.database.sessions() as session:
        orphans = "SELECT id FROM batches WHERE input_file_id NOT IN (SELECT id FROM files)"
        assert (await session.execute(text(orphans))).all() == []
    assert await world.files() == await world.stored_files()
