"""Steps that are taken while somebody else ends them: on PostgreSQL a statement may look before."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import Text, cast, func, or_, text

from app.batches import steps
from app.batches.steps import ClaimedStep
from app.batches.types import ChunkSpec
from app.db.engine import Database
from tests.app.batches.farm import Farm, lines, until

GATE = 7
CHUNKS = [ChunkSpec("base", "", 0, 10, 3)]


async def claim(farm: Farm) -> ClaimedStep | None:
    async with farm.database.sessions.begin() as session:
        return await steps.claim(session, uuid4().hex, lease_seconds=60)


async def waits(database: Database) -> bool:
    """Tell whether some statement waits for the gate."""
    query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with database.sessions() as session:
        return bool(await session.scalar(query))


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_batch_that_is_planned_as_another_looks_keeps_its_chunks(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await farm.add(lines(3)), await farm.add(lines(3))
    late = [await claim(farm) for _ in range(2)]
    assert late[0] is not None
    assert late[1] is not None
    async with farm.database.sessions.begin() as session:
        assert await steps.planned(session, late[0].step, CHUNKS)
    await farm.end_leases()
    # What is not due has the look wait in the midst of it, when it has its snapshot.
    at_gate = cast(func.pg_advisory_xact_lock(GATE), Text) == "never"
    monkeypatch.setattr(steps, "_DUE", or_(steps._DUE, at_gate))
    async with farm.database.sessions.begin() as gate:
        await gate.execute(text(f"SELECT pg_advisory_xact_lock({GATE})"))
        looking = asyncio.create_task(claim(farm))
        await until(lambda: waits(farm.database))
        async with farm.database.sessions.begin() as session:
            assert await steps.planned(session, late[1].step, CHUNKS)
    assert await looking is None
    for batch_id in (first, second):
        assert (await farm.row(batch_id)).status == "in_progress"
        assert [chunk.state for chunk in await farm.chunks(batch_id)] == ["queued"]
