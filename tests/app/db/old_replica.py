"""A replica of an older release that runs on while its database is migrated under it.

To be run with that release's `app` first on the path. It migrates, works, says what it is, waits
for a line, and does on the new schema what it did on its own. Of the older code it uses what no
release may change: `Database`, `migrate`, `verify_schema` and the tables.
"""

import asyncio
import json
import sys

from sqlalchemy.ext.asyncio import AsyncConnection

import app
from app.db.engine import Database
from app.db.errors import SchemaMismatch
from app.db.migrate import migrate, verify_schema
from app.db.tables import Base
from tests.app.db import rows

TABLES = Base.metadata.sorted_tables
BEFORE, AFTER, OF_NEW_CODE = 10, 20, 30
"""Numbers of rows: the full one that stays has this number, the sparse one the next."""


async def main(url: str) -> None:
    database = Database(url)
    await migrate(database)
    await verify_schema(database)
    await work(database, BEFORE)
    columns = {table.name: [column.name for column in table.columns] for table in TABLES}
    say({"code": app.__file__, "columns": columns})
    await asyncio.to_thread(sys.stdin.readline)
    await work(database, AFTER)
    async with database.engine.begin() as connection:
        await take_over(connection, OF_NEW_CODE)
    say({"refusal": await refusal(database)})
    await database.close()


async def work(database: Database, number: int) -> None:
    """Write, read, change and delete in every table; leave the changed row of this number."""
    async with database.engine.begin() as connection:
        for table in TABLES:
            await rows.add(connection, table, rows.row(table, number))
            await rows.add(connection, table, rows.row(table, number + 1, is_sparse=True))
    async with database.engine.begin() as connection:
        for table in TABLES:
            await rows.change(connection, table, number)
            found = await rows.read(connection, table, number)
            assert found == rows.changed(table, number), table.name
        await take_over(connection, number + 1, is_sparse=True)


async def take_over(connection: AsyncConnection, number: int, *, is_sparse: bool = False) -> None:
    """Read, change and delete the rows of this number, whoever wrote them."""
    for table in TABLES:
        found = await rows.read(connection, table, number)
        assert found is not None, table.name
        assert rows.row(table, number, is_sparse=is_sparse).items() <= found.items(), table.name
        await rows.change(connection, table, number)
    for table in reversed(TABLES):
        await rows.remove(connection, table, number)
        assert await rows.read(connection, table, number) is None, table.name


async def refusal(database: Database) -> str:
    """Return why this code would not start on the database any more."""
    try:
        await verify_schema(database)
    except SchemaMismatch as error:
        return error.reason
    return ""


def say(report: object) -> None:
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
