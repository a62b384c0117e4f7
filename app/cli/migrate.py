"""`lora-api migrate`: bring the database to this release's schema."""

import asyncio

import typer

from app.cli.environment import read_settings
from app.db.engine import Database, database_url
from app.db.migrate import STATEMENT_SECONDS
from app.db.migrate import migrate as run_migrations
from app.settings import Settings


def migrate() -> None:
    """Upgrade the database; safe to run from several places at once."""
    asyncio.run(_migrate(read_settings()))
    typer.echo("The database schema is up to date.")


async def _migrate(settings: Settings) -> None:
    url = database_url(settings.database, settings.data_dir)
    database = Database(url, statement_seconds=STATEMENT_SECONDS)
    try:
        await run_migrations(database)
    finally:
        await database.close()
