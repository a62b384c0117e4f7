"""Locks between replicas that share a PostgreSQL database.

A lock lives as long as its transaction, on a connection that nothing else uses: a replica that
dies or is cut off lets go of it. It prevents double work and is no licence: who holds one may have
lost it, and what is done under it must be harmless when done twice.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import sha256

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.db.engine import Database

SETTINGS = {
    # The connection is idle for as long as the holder works.
    "idle_in_transaction_session_timeout": "0",
    # A holder whose machine is gone is noticed after a minute, not after two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@asynccontextmanager
async def try_lock(database: Database, name: str) -> AsyncIterator[bool]:
    """Yield whether the lock was free; if so it is held until the block ends.

    Never waits for a holder. On SQLite, which one process has to itself, it is always free.
    **Raises:** SQLAlchemyError, OSError where the database does not answer.
    """
    if database.is_sqlite:
        yield True
        return
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(_own_connection(database))
        is_held = await _acquire(connection, name)
        if not is_held:
            await stack.aclose()
        yield is_held


async def lock_transaction(session: AsyncSession, name: str) -> None:
    """Let one transaction after the other pass here; each holds the lock until its end.

    On SQLite transactions follow one another anyway.
    """
    if session.get_bind().dialect.name != "sqlite":
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _key(name)})


@asynccontextmanager
async def _own_connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """Open a connection that leaves its place in the pool to others."""
    connection = await database.engine.connect()
    try:
        await connection.run_sync(Connection.detach)
        yield connection
    finally:
        with suppress(DBAPIError):  # lost since, and the lock with it
            await connection.close()


async def _acquire(connection: AsyncConnection, name: str) -> bool:
    for setting, value in SETTINGS.items():
        await connection.execute(text(f"SET LOCAL {setting} = {value}"))
    query = text("SELECT pg_try_advisory_xact_lock(:key)")
    is_free: bool = (await connection.execute(query, {"key": _key(name)})).scalar_one()
    return is_free


def _key(name: str) -> int:
    """Return the 64-bit number by which PostgreSQL knows the lock."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
