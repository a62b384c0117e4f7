"""Migrations and the refusal of a schema that is not this release's."""

import asyncio

import pytest
from sqlalchemy import text

from app.db.engine import Database
from app.db.errors import SchemaMismatch
from app.db.migrate import migrate, schema_differences, verify_schema


async def execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def differences(database: Database) -> list[object]:
    async with database.engine.connect() as connection:
        return await connection.run_sync(schema_differences)


async def test_migrations_make_exactly_the_tables_of_the_code(blank_database: Database) -> None:
    assert await differences(blank_database) != []
    await migrate(blank_database)
    assert await differences(blank_database) == []


async def test_a_migrated_schema_is_accepted(blank_database: Database) -> None:
    await migrate(blank_database)
    await verify_schema(blank_database)


async def test_migrating_twice_changes_nothing(database: Database) -> None:
    await execute(
        database, "INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'acme', 1)"
    )
    await migrate(database)
    async with database.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM organizations")) == 1


async def test_processes_that_migrate_at_once_wait_for_one_another(blank_database_url: str) -> None:
    databases = [Database(blank_database_url) for _ in range(4)]
    await asyncio.gather(*map(migrate, databases))
    await verify_schema(databases[0])
    for database in databases:
        await database.close()


async def test_a_cancelled_migration_leaves_a_schema_that_can_be_migrated(
    blank_database: Database,
) -> None:
    migration = asyncio.ensure_future(migrate(blank_database))
    await asyncio.sleep(0)
    migration.cancel()
    await asyncio.gather(migration, return_exceptions=True)
    await migrate(blank_database)
    await verify_schema(blank_database)


async def test_an_empty_database_is_refused(blank_database: Database) -> None:
    with pytest.raises(SchemaMismatch, match="is missing") as caught:
        await verify_schema(blank_database)
    assert caught.value.found is None


async def test_a_newer_schema_is_refused(database: Database) -> None:
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer") as caught:
        await verify_schema(database)
    assert caught.value.found == "9999"


async def test_a_newer_schema_is_not_migrated(database: Database) -> None:
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer"):
        await migrate(database)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE fine_tunings",
        "DROP INDEX ix_files_org_id_id",
        "ALTER TABLE files DROP COLUMN sha256",
        "INSERT INTO alembic_version VALUES ('0000')",
    ],
)
async def test_a_half_applied_schema_is_refused(database: Database, damage: str) -> None:
    await execute(database, damage)
    with pytest.raises(SchemaMismatch, match="half-applied"):
        await verify_schema(database)


async def test_tables_of_another_program_are_ignored(database: Database) -> None:
    await execute(database, "CREATE TABLE somebody_elses (id INTEGER PRIMARY KEY)")
    await verify_schema(database)
