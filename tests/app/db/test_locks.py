"""Locks between replicas: one holder, none for ever, and no connection taken from anybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import engine
from app.db.engine import Database
from app.db.locks import try_lock
from tests.fixtures.databases import Postgres

IDLE_IN_TRANSACTION = "state = 'idle in transaction' AND datname = current_database()"


@pytest.fixture
async def postgres_url(postgres: Postgres, migrated_postgres: str) -> AsyncIterator[str]:
    async with postgres.database(migrated_postgres) as url:
        yield url


@pytest.fixture
async def replicas(postgres_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two replicas whose pools have one connection each."""
    one, other = Database(postgres_url, pool_size=1), Database(postgres_url, pool_size=1)
    yield one, other
    await one.close()
    await other.close()


async def is_free(database: Database, name: str) -> bool:
    async with try_lock(database, name) as held:
        return held


async def number(database: Database, query: str) -> int:
    async with database.engine.connect() as connection:
        return (await connection.execute(text(query))).scalar_one()


async def idle_in_transaction(database: Database, *, seconds: float) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
        await asyncio.sleep(seconds)
        await connection.execute(text("SELECT 1"))


async def waiting_transactions(database: Database) -> int:
    return await number(
        database, f"SELECT count(*) FROM pg_stat_activity WHERE {IDLE_IN_TRANSACTION}"
    )


async def end_waiting_transactions(database: Database) -> None:
    ended = await number(
        database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        f" WHERE {IDLE_IN_TRANSACTION}",
    )
    assert ended == 1


async def test_a_lock_is_free_again_after_its_block(database: Database) -> None:
    assert await is_free(database, "a")
    assert await is_free(database, "a")


async def test_one_replica_holds_a_lock(replicas: tuple[Database, Database]) -> None:
    one, other = replicas
    async with try_lock(one, "a") as held:
        assert held
        assert not await is_free(other, "a")
        assert await is_free(other, "b")
    assert await is_free(other, "a")


async def test_a_block_that_fails_lets_go(replicas: tuple[Database, Database]) -> None:
    one, other = replicas
    with pytest.raises(ZeroDivisionError):
        async with try_lock(one, "a"):
            raise ZeroDivisionError
    assert await is_free(other, "a")


async def test_a_holder_that_is_cancelled_lets_go(replicas: tuple[Database, Database]) -> None:
    one, other = replicas
    entered = asyncio.Event()

    async def hold() -> None:
        async with try_lock(one, "a"):
            entered.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await entered.wait()
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    assert await is_free(other, "a")


async def test_locks_leave_the_whole_pool_to_others(replicas: tuple[Database, Database]) -> None:
    one, _ = replicas
    async with AsyncExitStack() as stack, asyncio.timeout(10):
        for name in ("a", "b", "c"):
            assert await stack.enter_async_context(try_lock(one, name))
        assert await number(one, "SELECT 1") == 1


async def test_a_lock_that_is_taken_keeps_no_transaction_open(
    replicas: tuple[Database, Database],
) -> None:
    one, other = replicas
    async with try_lock(one, "a"), try_lock(other, "a") as held:
        assert not held
        assert await waiting_transactions(other) == 1
    assert await waiting_transactions(other) == 0


async def test_a_lock_outlasts_the_limit_on_idle_transactions(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IDLE_TRANSACTION_SECONDS", 0.1)
    one, other = Database(postgres_url), Database(postgres_url)
    async with try_lock(one, "a"):
        with pytest.raises(DBAPIError):
            await idle_in_transaction(other, seconds=0.3)
        assert not await is_free(other, "a")
    await one.close()
    await other.close()


async def test_a_lock_lost_with_its_connection_does_not_stop_the_holder(
    replicas: tuple[Database, Database],
) -> None:
    one, other = replicas
    async with try_lock(one, "a") as held:
        assert held
        await end_waiting_transactions(other)
    assert await is_free(other, "a")
    assert await number(one, "SELECT 1") == 1
