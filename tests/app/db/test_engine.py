"""The connection: what each dialect is tuned for, and how it fails."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.db.engine import Database, database_url
from app.db.errors import DatabaseUnavailable, InvalidDatabaseUrl
from app.db.migrate import migrate
from app.db.tables import FileRow, OrganizationRow
from app.settings import DatabaseSettings
from tests.fixtures.databases import Postgres


def organization(number: int) -> OrganizationRow:
    return OrganizationRow(id=f"org_{number}", name=f"org-{number}", created_at=0)


async def count(database: Database) -> int:
    async with database.sessions() as session:
        return await session.scalar(select(func.count()).select_from(OrganizationRow)) or 0


async def read_then_write(database: Database, number: int) -> None:
    async with database.sessions.begin() as session:
        await session.scalar(select(func.count()).select_from(OrganizationRow))
        session.add(organization(number))


async def add_twice(database: Database) -> None:
    async with database.sessions.begin() as session:
        session.add(organization(1))
        await session.flush()
        await session.execute(
            text("INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'other', 0)")
        )


async def write_read_only(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("SET TRANSACTION READ ONLY"))
        await connection.execute(text("CREATE TABLE refused (id INTEGER)"))


async def backend(database: Database) -> int:
    async with database.engine.connect() as connection:
        return await connection.scalar(text("SELECT pg_backend_pid()")) or 0


async def test_a_database_that_answers_passes_the_check(database: Database) -> None:
    await database.check()


async def test_two_processes_that_read_then_write_never_find_the_database_locked(
    database_url: str,
) -> None:
    databases = [Database(database_url), Database(database_url)]
    await asyncio.gather(*(read_then_write(databases[n % 2], n) for n in range(100)))
    assert await count(databases[0]) == 100
    for database in databases:
        await database.close()


async def test_foreign_keys_are_enforced(database: Database) -> None:
    row = dict[str, Any](filename="a", purpose="batch", bytes=0, sha256="", created_at=0)
    with pytest.raises(IntegrityError):
        async with database.sessions.begin() as session:
            session.add(FileRow(id="file_1", org_id="org_none", **row))


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await add_twice(database)
    assert await count(database) == 0


async def test_a_cancelled_transaction_leaves_nothing_and_the_pool_whole(
    database: Database,
) -> None:
    entered = asyncio.Event()

    async def stay() -> None:
        async with database.sessions.begin() as session:
            session.add(organization(1))
            await session.flush()
            entered.set()
            await asyncio.Event().wait()

    for _ in range(20):
        entered.clear()
        task = asyncio.ensure_future(stay())
        await entered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await count(database) == 0


async def test_loaded_values_outlive_the_session(database: Database) -> None:
    async with database.sessions.begin() as session:
        row = organization(1)
        session.add(row)
    assert row.name == "org-1"


async def test_sqlite_writes_ahead_and_waits_for_other_writers(tmp_path: Path) -> None:
    database = Database(database_url(DatabaseSettings(), tmp_path / "data"))
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    async with database.engine.connect() as connection:
        values = [await connection.scalar(text(f"PRAGMA {name}")) for name in names]
    await database.close()
    assert values == ["wal", 1, 1, 30_000]
    assert (tmp_path / "data" / "database.sqlite3").exists()


async def test_postgresql_statements_are_bounded_in_time(
    postgres: Postgres, migrated_postgres: str
) -> None:
    database = Database(postgres.url(migrated_postgres), pool_size=1)
    async with database.engine.connect() as connection:
        shown = await connection.scalar(text("SHOW statement_timeout"))
    await database.close()
    assert shown == "30s"


async def test_the_server_ends_a_statement_before_the_client_gives_it_up(
    postgres: Postgres, migrated_postgres: str
) -> None:
    database = Database(postgres.url(migrated_postgres), pool_size=1, statement_seconds=1)
    async with database.engine.connect() as connection:
        with pytest.raises(DBAPIError, match="statement timeout"):
            await connection.execute(text("SELECT pg_sleep(30)"))
    await database.close()


async def test_a_connection_to_a_server_turned_read_only_is_dropped(
    postgres: Postgres, migrated_postgres: str
) -> None:
    database = Database(postgres.url(migrated_postgres), pool_size=1)
    before = await backend(database)
    assert await backend(database) == before
    with pytest.raises(DBAPIError) as caught:
        await write_read_only(database)
    assert caught.value.connection_invalidated
    assert await backend(database) != before
    await database.close()


async def test_a_server_that_is_away_fails_the_check() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        await database.check()
    await database.close()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://host/name", "sqlite://", "sqlite:///:memory:"]
)
def test_any_other_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidDatabaseUrl):
        Database(url)


def test_a_refused_url_is_not_repeated() -> None:
    with pytest.raises(InvalidDatabaseUrl) as caught:
        Database("mysql://user:hunter2@host/name")
    assert "hunter2" not in str(caught.value)


def test_the_url_of_a_provider_is_understood() -> None:
    database = Database("postgres://user:secret@host/name?sslmode=require")
    assert database.engine.url.drivername == "postgresql+asyncpg"
    assert database.engine.url.query == {"ssl": "require"}


async def test_queries_cancelled_at_any_moment_leave_sqlite_unlocked(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/database.sqlite3")
    await migrate(database)
    async with database.sessions.begin() as session:
        session.add(organization(1))
    random = Random(1)
    async with asyncio.timeout(20):
        for _ in range(150):
            waits = (random.random() * 0.006 for _ in range(3))
            queries = [asyncio.wait_for(count(database), wait) for wait in waits]
            await asyncio.gather(*queries, return_exceptions=True)
        assert await count(database) == 1
        async with database.sessions.begin() as session:
            session.add(organization(2))
    await database.close()
