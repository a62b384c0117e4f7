"""Bring a database to this release's schema, or refuse to work with one that is not at it.

All revisions run in one transaction under a lock, on both kinds of database, so a migration that
fails or is killed leaves the schema as it was.
"""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.db.engine import Database
from app.db.errors import SchemaMismatch
from app.db.tables import Base

DIRECTORY = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x6C6F7261
STATEMENT_SECONDS = 600
"""For the database that is given to `migrate`: a statement of a migration may take long."""


async def migrate(database: Database) -> None:
    """Upgrade to the newest schema; a second caller waits, then finds nothing to do.

    **Raises:** SchemaMismatch, if the database was migrated by a newer release.
    """
    async with database.engine.begin() as connection:
        if not database.is_sqlite:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        await connection.run_sync(_upgrade)


async def verify_schema(database: Database) -> None:
    """Return if the schema is exactly this release's. **Raises:** SchemaMismatch."""
    async with database.engine.connect() as connection:
        await connection.run_sync(_verify)


def schema_differences(connection: Connection) -> list[Any]:
    """List what separates the connected database from `tables.py`; tables of others are ignored."""
    options = {"include_name": _is_ours, "compare_type": True, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, Base.metadata))


def _upgrade(connection: Connection) -> None:
    scripts = _scripts()
    found = _revision(connection, scripts)
    if found is not None and found not in _known(scripts):
        raise SchemaMismatch("is of a newer release", found=found, expected=_head(scripts))
    config = Config()
    config.set_main_option("script_location", str(DIRECTORY))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _verify(connection: Connection) -> None:
    scripts = _scripts()
    found, expected = _revision(connection, scripts), _head(scripts)
    if found is None:
        raise SchemaMismatch("is missing", found=found, expected=expected)
    if found not in _known(scripts):
        raise SchemaMismatch("is of a newer release", found=found, expected=expected)
    if found != expected:
        raise SchemaMismatch("is older", found=found, expected=expected)
    if schema_differences(connection):
        raise SchemaMismatch("is half-applied", found=found, expected=expected)


def _revision(connection: Connection, scripts: ScriptDirectory) -> str | None:
    found = MigrationContext.configure(connection).get_current_heads()
    if len(found) > 1:
        revisions = ", ".join(sorted(found))
        raise SchemaMismatch("is half-applied", found=revisions, expected=_head(scripts))
    return found[0] if found else None


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(DIRECTORY))


def _head(scripts: ScriptDirectory) -> str | None:
    return scripts.get_current_head()


def _known(scripts: ScriptDirectory) -> set[str]:
    return {script.revision for script in scripts.walk_revisions()}


def _is_ours(name: str | None, type_: str, _parents: object) -> bool:
    return type_ != "table" or name in Base.metadata.tables
