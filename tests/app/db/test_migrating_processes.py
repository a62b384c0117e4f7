"""Processes that migrate: one after the other, all or nothing, whatever becomes of them."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import DBAPIError

from app.cli import migrate as cli_migrate
from app.db import engine
from app.db.engine import Database
from app.db.migrate import ADVISORY_LOCK, STATEMENT_SECONDS, migrate, verify_schema
from app.db.tables import Base
from tests.fixtures.databases import Postgres
from tests.fixtures.server import LORA_API

SECONDS = 60
WAITING = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Failure(Exception):
    """What the database says to a statement that it does not carry out."""


@contextmanager
def failing_at(database: Database, number: int) -> Iterator[list[str]]:
    """Let the statement of this number fail; yield those that were begun."""
    begun: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        begun.append(statement)
        if len(begun) == number:
            raise Failure

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield begun
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def tables(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def deployments(database: Database) -> int:
    """Count the rows that the migrations themselves write, one for each time that they run."""
    async with database.engine.connect() as connection:
        return (await connection.execute(text("SELECT count(*) FROM deployment"))).scalar_one()


@asynccontextmanager
async def migrating(url: str, directory: Path) -> AsyncIterator[Process]:
    environment = {
        **os.environ,
        "LORA_API_DATABASE__URL": url,
        "LORA_API_DATA_DIR": str(directory),
    }
    process = await asyncio.create_subprocess_exec(
        LORA_API, "migrate", env=environment, stdin=DEVNULL, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def wait_for_waiting(connection: asyncpg.Connection, processes: int) -> None:
    async with asyncio.timeout(SECONDS):
        while await connection.fetchval(WAITING) < processes:
            await connection.execute("SELECT pg_sleep(0.05)")


@pytest.fixture
async def blank_postgres_url(postgres: Postgres) -> AsyncIterator[str]:
    async with postgres.database("template0") as url:
        yield url


async def test_processes_migrate_one_after_the_other_and_once(
    blank_postgres_url: str, tmp_path: Path
) -> None:
    url, database = blank_postgres_url, Database(blank_postgres_url)
    holder = await asyncpg.connect(url)
    await holder.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
    async with migrating(url, tmp_path / "a") as one, migrating(url, tmp_path / "b") as other:
        await wait_for_waiting(holder, 2)
        assert await tables(database) == set()
        await holder.close()
        async with asyncio.timeout(SECONDS):
            said = [await process.communicate() for process in (one, other)]
    assert [output for output, _ in said] == [b"The database schema is up to date.\n"] * 2
    assert await deployments(database) == 1
    await verify_schema(database)
    await database.close()


async def test_a_migration_has_a_bound_of_its_own_far_above_that_of_other_statements(
    blank_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_API_DATABASE__URL", blank_postgres_url)
    monkeypatch.setenv("LORA_API_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(cli_migrate, "STATEMENT_SECONDS", 1)
    holder = await asyncpg.connect(blank_postgres_url)
    await holder.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
    with pytest.raises(DBAPIError, match="statement timeout"):
        await asyncio.to_thread(cli_migrate.migrate)
    await holder.close()
    assert STATEMENT_SECONDS > 10 * engine.STATEMENT_SECONDS


async def test_a_killed_migration_leaves_nothing_and_its_lock_to_others(
    blank_database_url: str,
) -> None:
    last = Base.metadata.sorted_tables[-1].name
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.app.db.killed_migration", blank_database_url, last)
    )
    async with asyncio.timeout(SECONDS):
        assert await killed.wait() == -signal.SIGKILL
        database = Database(blank_database_url)
        assert await tables(database) == set()
        await migrate(database)
    await verify_schema(database)
    await database.close()


async def test_a_migration_that_fails_at_any_statement_leaves_nothing(
    blank_database: Database,
) -> None:
    for number in count(1):
        with failing_at(blank_database, number) as begun:
            try:
                await migrate(blank_database)
            except Failure:
                pass
            else:
                break
        assert await tables(blank_database) == set(), begun[-1]
    assert number > len(Base.metadata.tables)
    await verify_schema(blank_database)
