"""Two replicas that sync one bucket over one PostgreSQL database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from adapters_registry.testing import RecordingHost, until
from app.adapters.bucket_actions import Outcome
from app.db.engine import Database
from tests.adapters_registry.adapters import SHAPES
from tests.app.adapters.bucket import Bucket, bucket_of
from tests.app.adapters.world import running
from tests.fixtures.databases import Postgres

ADAPTERS = 12
END_OF_LOCKS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE state = 'idle in transaction' AND datname = current_database()"
)


@pytest.fixture
async def buckets(
    postgres: Postgres, migrated_postgres: str, tmp_path: Path
) -> AsyncIterator[list[Bucket]]:
    """Two replicas' syncs over the same bucket; each has a pool of one connection."""
    async with postgres.database(migrated_postgres) as url, AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            database = Database(url, pool_size=1)
            stack.push_async_callback(database.close)
            host = RecordingHost(4, slots=2, shapes=SHAPES)
            world = await stack.enter_async_context(running(database, tmp_path, host=host))
            bucket = bucket_of(world)
            stack.push_async_callback(bucket.withdrawals.close)
            made.append(bucket)
        await made[0].keep()
        yield made


def canaries(buckets: list[Bucket]) -> int:
    return sum(len(bucket.world.engine.runs) for bucket in buckets)


def outcomes(buckets: list[Bucket]) -> dict[Outcome, int]:
    one, other = (bucket.sync.stats.outcomes for bucket in buckets)
    return dict(one + other)


async def run_rounds_at_once(buckets: list[Bucket]) -> None:
    await asyncio.gather(*(bucket.sync.run_round() for bucket in buckets))


async def test_replicas_that_sync_at_once_do_everything_once(buckets: list[Bucket]) -> None:
    sources = [await buckets[0].write(f"a{n}", seed=n) for n in range(ADAPTERS)]
    await buckets[0].write("broken", rank=4)
    for _ in range(5):
        await run_rounds_at_once(buckets)
    assert canaries(buckets) == ADAPTERS
    assert outcomes(buckets)[Outcome.PUBLISHED] == ADAPTERS
    # A process tries once what it finds refused, as its settings may differ.
    assert outcomes(buckets)[Outcome.REFUSED] in (1, 2)

    for source in sources:
        await buckets[0].remove(source)
    for _ in range(5):
        await run_rounds_at_once(buckets)
    assert outcomes(buckets)[Outcome.RETIRED] == ADAPTERS


async def test_a_replica_leaves_out_what_another_works_on(buckets: list[Bucket]) -> None:
    one, other = buckets
    await one.write("mine")
    await one.sync.run_round()
    await other.sync.run_round()
    one.world.host.open.clear()
    working = asyncio.create_task(one.sync.run_round())
    await until(lambda: one.world.host.loads)

    rounds = other.sync.stats.rounds
    await other.sync.run_round()
    assert other.sync.stats.rounds == rounds

    one.world.host.open.set()
    await working
    await other.sync.run_round()
    assert canaries(buckets) == 1
    assert await other.answers("mine")


async def test_rounds_of_two_replicas_right_after_each_other_are_not_taken_for_quiet(
    buckets: list[Bucket],
) -> None:
    await buckets[0].write("mine")

    for bucket in buckets:
        await bucket.sync.run_round()

    assert outcomes(buckets) == {}


async def test_a_lock_that_is_lost_does_no_harm(buckets: list[Bucket]) -> None:
    one, other = buckets
    await one.write("mine", seed=1)
    await one.sync.run_round()
    await other.sync.run_round()
    one.world.host.open.clear()
    working = asyncio.create_task(one.sync.run_round())
    await until(lambda: one.world.host.loads)

    async with one.world.database.engine.begin() as connection:
        await connection.execute(text(END_OF_LOCKS))
    await other.write("mine", seed=2)
    await other.settle()
    newest = await other.answers("mine")
    one.world.host.open.set()
    await working

    await one.settle()
    await other.settle()
    assert await one.answers("mine") == await other.answers("mine") == newest
    assert len(await one.world.artifacts()) == 4
