"""An upgrade that rolls: replicas of the release before work on while the schema is migrated."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.db.migrate import migrate, verify_schema
from app.db.tables import Base
from tests.app.db import rows
from tests.app.db.history import ROOT, extract

TABLES = Base.metadata.sorted_tables
BEFORE, AFTER, OF_NEW_CODE = 10, 20, 30
"""The numbers of rows that `old_replica` works with."""

Columns = Mapping[str, list[str]]


@pytest.fixture(scope="session")
def old_code(old_commit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages as they were before the newest migration."""
    directory = tmp_path_factory.mktemp("old-code").resolve()
    extract(old_commit, directory, "app", "adapters_registry")
    return directory


@asynccontextmanager
async def old_replica(code: Path, url: str) -> AsyncIterator[Process]:
    # `-m` puts the working directory first: so `app` is the old one, and `tests` this one.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.app.db.old_replica", url),
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def first_report(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return json.loads(await process.stdout.readline())


async def last_report(process: Process) -> dict[str, Any]:
    """Let the replica go on, and return what it says when it is done."""
    async with asyncio.timeout(60):
        output, _ = await process.communicate(b"go on\n")
    assert process.returncode == 0, "the old replica failed: see its standard error"
    return json.loads(output)


async def write(database: Database, known: Columns) -> None:
    """Write one row of the new code into each table that the old code knows."""
    async with database.engine.begin() as connection:
        for table in TABLES:
            if table.name in known:
                await rows.add(connection, table, rows.row(table, OF_NEW_CODE))


async def assert_has_rows(database: Database, known: Columns, number: int) -> None:
    """Read with the new code what the old one wrote and changed."""
    async with database.engine.connect() as connection:
        for table in TABLES:
            expected = rows.changed(table, number)
            found = await rows.read(connection, table, number) or {}
            for column in known.get(table.name, ()):
                assert found.get(column) == expected[column], f"{table.name}.{column}"


async def test_code_of_before_the_newest_migration_works_on_the_schema_after_it(
    old_code: Path, blank_database_url: str
) -> None:
    database = Database(blank_database_url)
    async with old_replica(old_code, blank_database_url) as replica:
        before = await first_report(replica)
        assert Path(before["code"]).is_relative_to(old_code)
        await migrate(database)
        await verify_schema(database)
        await write(database, before["columns"])
        assert replica.returncode is None
        after = await last_report(replica)
    await assert_has_rows(database, before["columns"], BEFORE)
    await assert_has_rows(database, before["columns"], AFTER)
    await database.close()
    assert after == {"refusal": "is of a newer release"}
