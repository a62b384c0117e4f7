"""What the gauges of batches are read from, on both databases."""

from typing import Any

import pytest
from sqlalchemy import select

from app.batches.stats import QueueStats, QueueWatch, read_stats
from app.db.clock import NOW
from app.db.engine import Database
from app.db.tables import BatchChunkRow, BatchRow
from app.ids import new_id
from tests.fixtures.databases import add_organization


@pytest.fixture
async def org_id(database: Database) -> str:
    return await add_organization(database, "acme")


async def clock(database: Database) -> int:
    async with database.sessions() as session:
        return int((await session.execute(select(NOW))).scalar_one())


async def add_batch(
    database: Database, org_id: str, status: str, *chunks: dict[str, Any], age: int = 0
) -> None:
    """Insert a batch that was made so many seconds ago, and its chunks."""
    now, batch_id = await clock(database), new_id("batch")
    batch = BatchRow(
        id=batch_id,
        org_id=org_id,
        input_file_id=new_id("file"),
        endpoint="/v1/chat/completions",
        window="24h",
        status=status,
        total=0,
        completed=0,
        failed=0,
        created_at=now - age,
        expires_at=now + 86_400,
        leased_until=0,
        attempts=0,
    )
    async with database.sessions.begin() as session:
        session.add(batch)
        await session.flush()
        session.add_all(
            chunk(batch_id, org_id, number, now, **fields) for number, fields in enumerate(chunks)
        )


def chunk(
    batch_id: str, org_id: str, number: int, now: int, *, left: int = 60, **fields: Any
) -> BatchChunkRow:
    """Return a queued chunk of ten lines, with a lease that ends in `left` seconds."""
    usual = {
        "model": "base",
        "adapter": "",
        "start": 0,
        "length": 1,
        "lines": 10,
        "state": "queued",
        "parts": "[]",
        "completed": 0,
        "failed": 0,
        "attempts": 0,
    }
    return BatchChunkRow(
        batch_id=batch_id,
        number=number,
        org_id=org_id,
        leased_until=now + left,
        **{**usual, **fields},
    )


async def stats(database: Database) -> QueueStats:
    async with database.sessions() as session:
        return await read_stats(session)


async def test_without_batches_all_is_zero(database: Database) -> None:
    assert await stats(database) == QueueStats()


async def test_unfinished_batches_are_counted_by_status(database: Database, org_id: str) -> None:
    for status in ("validating", "in_progress", "in_progress", "finalizing", "cancelling"):
        await add_batch(database, org_id, status)
    for status in ("completed", "failed", "expired", "cancelled"):
        await add_batch(database, org_id, status, age=500)

    seen = await stats(database)

    assert seen.batches == {"validating": 1, "in_progress": 2, "finalizing": 1, "cancelling": 1}
    assert seen.oldest_seconds < 100


async def test_lines_without_a_result_are_counted_by_model(database: Database, org_id: str) -> None:
    await add_batch(
        database,
        org_id,
        "in_progress",
        {"state": "queued", "completed": 3, "failed": 1},
        {"state": "queued", "model": "other"},
        {"state": "queued", "model": ""},
        {"state": "running", "completed": 2},
        {"state": "done", "completed": 10},
        {"state": "dropped"},
    )
    await add_batch(database, org_id, "in_progress", {"state": "queued"})

    seen = await stats(database)

    assert seen.queued_lines == {"base": 16, "other": 10, "": 10}
    assert seen.running_lines == {"base": 8}


async def test_only_running_chunks_whose_lease_is_over_are_overdue(
    database: Database, org_id: str
) -> None:
    await add_batch(
        database,
        org_id,
        "in_progress",
        {"state": "running", "left": -5},
        {"state": "running", "left": -5, "model": "other"},
        {"state": "running", "left": 60},
        {"state": "queued", "left": -5},
    )
    assert (await stats(database)).overdue_chunks == 2


async def test_the_oldest_batch_and_the_oldest_that_waits_are_told_apart(
    database: Database, org_id: str
) -> None:
    await add_batch(database, org_id, "finalizing", age=900)
    await add_batch(database, org_id, "in_progress", {"state": "running"}, age=800)
    await add_batch(database, org_id, "in_progress", {"attempts": 1}, {}, age=700)
    await add_batch(database, org_id, "in_progress", {}, {}, age=600)
    await add_batch(database, org_id, "validating", age=500)

    seen = await stats(database)

    assert 900 <= seen.oldest_seconds < 960
    assert 600 <= seen.oldest_waiting_seconds < 660


async def test_an_observer_is_shown_what_there_is(database: Database, org_id: str) -> None:
    class Observer:
        seen: QueueStats | None = None

        def queue_seen(self, stats: QueueStats) -> None:
            self.seen = stats

    await add_batch(database, org_id, "validating")
    observer = Observer()
    await QueueWatch(database.sessions, observer).look()
    assert observer.seen is not None
    assert observer.seen.batches == {"validating": 1}
