"""The configured database for commands that work on it directly; their errors, said and ended."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import typer

from app.auth.errors import AuthError
from app.db.engine import Database, database_url
from app.db.errors import DatabaseError
from app.db.migrate import migrate, verify_schema
from app.limits.plans import PlansError
from app.settings import Settings

Result = TypeVar("Result")


@asynccontextmanager
async def configured_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database at this release's schema, close it after. **Raises:** DatabaseError."""
    database = Database(database_url(settings.database, settings.data_dir))
    is_embedded = settings.database.url is None
    try:
        # Nobody else prepares the embedded database; a shared one is migrated on purpose only.
        await (migrate(database) if is_embedded else verify_schema(database))
        yield database
    finally:
        await database.close()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what the work returns. **Raises:** typer.Exit 1, after saying what went wrong."""
    try:
        return asyncio.run(work)
    except (AuthError, DatabaseError, PlansError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
