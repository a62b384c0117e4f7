"""The connection to SQLite or PostgreSQL: one engine, one session factory, and how each is tuned.

It refuses every other kind of database. Sessions are for short units of work: none may stay open
across an engine call, an object store call or a stream, and none may be opened inside another.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from app.db.errors import DatabaseUnavailable, InvalidDatabaseUrl
from app.settings import DatabaseSettings

STATEMENT_SECONDS = 30
IDLE_TRANSACTION_SECONDS = 60
CONNECT_SECONDS = 10
POOL_WAIT_SECONDS = 30
CHECK_SECONDS = 5
READ_ONLY_SQL_TRANSACTION = "25006"
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {STATEMENT_SECONDS * 1000}",
)


class Database:
    """One database, PostgreSQL or a SQLite file.

    `sessions` makes sessions that keep loaded values after a commit. **Raises:**
    InvalidDatabaseUrl. Nothing is connected before the first use. On PostgreSQL a statement ends
    after `statement_seconds`.
    """

    def __init__(
        self, url: str, *, pool_size: int = 10, statement_seconds: int = STATEMENT_SECONDS
    ) -> None:
        address = _supported(url)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        self.engine = (
            _sqlite(address)
            if self.is_sqlite
            else _postgresql(address, pool_size, statement_seconds)
        )
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def check(self) -> None:
        """Return when the database answers. **Raises:** DatabaseUnavailable, after 5 seconds."""
        try:
            async with asyncio.timeout(CHECK_SECONDS), self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise DatabaseUnavailable("the database does not answer") from error

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()


def database_url(settings: DatabaseSettings, data_dir: Path) -> str:
    """Return the configured URL, else that of the embedded SQLite file in the data directory.

    Makes the data directory if it is missing.
    """
    if settings.url is not None:
        return settings.url.get_secret_value()
    data_dir.mkdir(parents=True, exist_ok=True)
    path = (data_dir / "database.sqlite3").resolve()
    return URL.create("sqlite+aiosqlite", database=str(path)).render_as_string()


def _supported(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise InvalidDatabaseUrl from None
    driver = DRIVERS.get(address.drivername)
    if driver is None or not address.database or address.database == ":memory:":
        raise InvalidDatabaseUrl
    return _asyncpg_query(address.set(drivername=driver))


def _asyncpg_query(address: URL) -> URL:
    """Give asyncpg its own name for libpq's `sslmode`, which most providers' URLs carry."""
    if "sslmode" not in address.query:
        return address
    mode = address.query["sslmode"]
    return address.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})


class _Connection(sqlite3.Connection):
    """Lets go of its lock when it is closed.

    SQLite keeps a closed connection, and its transaction, alive as long as a statement is open,
    and a query that is cancelled before its rows are fetched leaves one open.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()


def _sqlite(address: URL) -> AsyncEngine:
    # One connection: SQLite lets one writer in at a time, and waiting for a place in this queue is
    # fair and cheap where waiting for SQLite's lock is neither.
    engine = create_async_engine(
        address,
        hide_parameters=True,
        connect_args={"factory": _Connection},
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
    )
    event.listen(engine.sync_engine, "connect", _tune_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _tune_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver must not open transactions of its own: it opens them late and deferred.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that turns from reading to writing fails at once, without the busy
    # timeout, when another process has written in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql(address: URL, pool_size: int, statement_seconds: int) -> AsyncEngine:
    server_settings = {
        "application_name": "lora-inference-api",
        "statement_timeout": str(statement_seconds * 1000),
        "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_SECONDS * 1000),
    }
    arguments: dict[str, Any] = {
        "server_settings": server_settings,
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds + 5,
    }
    engine = create_async_engine(
        address,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args=arguments,
    )
    _leave_read_only_servers(engine.sync_engine)
    return engine


def _leave_read_only_servers(engine: Engine) -> None:
    # After a failover an open connection may lead to what is now a replica; it pings well and
    # refuses every write until it is closed.
    @event.listens_for(engine, "handle_error")
    def drop(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_SQL_TRANSACTION:
            context.is_disconnect = True
