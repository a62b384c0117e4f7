"""More adapters than one page of an S3 listing holds, on a real S3 server."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from uuid import uuid4

import pytest

from adapters_registry.artifacts import ARTIFACT_FILES
from adapters_registry.s3 import S3Store
from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_sync import Status
from app.db.engine import Database
from tests.app.adapters.bucket import PREFIX, Bucket, bucket_of
from tests.app.adapters.world import BASE, World, running
from tests.fixtures.seaweedfs import SeaweedFS

BROKEN = 1100
GOOD = 3
PUTS_AT_ONCE = 16
MOST_SECONDS = 120.0
"""Minutes would be a fault; a machine under load gets some room."""


@pytest.fixture
async def world(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[World]:
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'test.sqlite3')}")
    async with running(database, tmp_path) as world:
        yield world
    await database.close()


@pytest.fixture
async def bucket(world: World, seaweedfs: SeaweedFS) -> AsyncIterator[Bucket]:
    store = S3Store(
        seaweedfs.bucket, prefix=f"test-{uuid4().hex}", endpoint_url=seaweedfs.endpoint_url
    )
    made = bucket_of(world, store=store)
    yield made
    await made.withdrawals.close()
    await store.close()


async def fill(bucket: Bucket, room: Path) -> None:
    nothing = room / "nothing"
    nothing.write_bytes(b"?")
    places = asyncio.Semaphore(PUTS_AT_ONCE)

    async def put(key: str) -> None:
        async with places:
            await bucket.store.put(key, nothing)

    sources = [f"{PREFIX}acme/{BASE}/broken-{number}" for number in range(BROKEN)]
    await asyncio.gather(*(put(f"{s}/{file}") for s in sources for file in ARTIFACT_FILES))


async def timed_round(bucket: Bucket) -> float:
    begun = perf_counter()
    await bucket.sync.run_round()
    return perf_counter() - begun


async def test_a_bucket_of_many_pages_is_synced_whole(bucket: Bucket, tmp_path: Path) -> None:
    await fill(bucket, tmp_path)
    for number in range(GOOD):
        await bucket.write(f"good-{number}", seed=number)

    for name in ("first", "working", "quiet"):
        seconds = await timed_round(bucket)
        print(f"{name} round: {seconds:.2f} s")
        assert seconds < MOST_SECONDS

    assert bucket.sync.stats.outcomes == {Outcome.REFUSED: BROKEN, Outcome.PUBLISHED: GOOD}
    statuses = bucket.sync.stats.adapters[BASE]
    assert statuses == {Status.FAILED: BROKEN, Status.READY: GOOD}
    assert len(await bucket.verdicts()) == BROKEN
    for number in range(GOOD):
        assert await bucket.answers(f"good-{number}")
