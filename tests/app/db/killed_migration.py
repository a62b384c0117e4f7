"""A process that migrates, and is killed as soon as the migrations have made a table.

    python -m tests.app.db.killed_migration URL TABLE

PostgreSQL and SQLite have its statements by then, and no commit.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from app.db.engine import Database
from app.db.migrate import migrate


async def main(url: str, table: str) -> None:
    database = Database(url)

    @event.listens_for(database.engine.sync_engine, "after_cursor_execute")
    def kill(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if statement.split()[:3] == ["CREATE", "TABLE", table]:
            os.kill(os.getpid(), signal.SIGKILL)

    await migrate(database)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
