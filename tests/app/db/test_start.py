"""A server does not start on a schema that is not its own, and says so before it loads a model."""

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from app.catalog import Catalog, ModelSpec
from app.db.engine import Database
from app.db.errors import SchemaMismatch
from app.drain import Drain
from app.main import create_app
from app.settings import DatabaseSettings, Settings

NEWER = "UPDATE alembic_version SET version_num = '9999'"
CATALOG = Catalog(models=(ModelSpec(id="never-loaded", task="embedding", source="nowhere"),))


async def refusal(data_dir: Path, url: str | None = None) -> str:
    """Start a server on the database, else on the embedded one; return why it did not start."""
    database = DatabaseSettings(url=None if url is None else SecretStr(url))
    settings = Settings(data_dir=data_dir, database=database)
    server = create_app(settings, CATALOG, Drain(0))
    with capture_logs() as logs, pytest.raises(SchemaMismatch) as caught:
        async with server.router.lifespan_context(server):
            pass
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("cannot start", str(caught.value))
    ]
    return caught.value.reason


async def execute(url: str, statement: str) -> None:
    database = Database(url)
    async with database.engine.begin() as connection:
        await connection.execute(text(statement))
    await database.close()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (NEWER, "is of a newer release"),
        ("UPDATE alembic_version SET version_num = '0001'", "is older"),
        ("DROP TABLE fine_tunings", "is half-applied"),
        ("INSERT INTO alembic_version VALUES ('0001')", "is half-applied"),
    ],
)
async def test_a_server_refuses_to_start_on_a_schema_that_is_not_its_own(
    database_url: str, tmp_path: Path, statement: str, reason: str
) -> None:
    await execute(database_url, statement)
    assert await refusal(tmp_path / "data", database_url) == reason


async def test_a_server_refuses_to_start_on_an_empty_shared_database(
    blank_database_url: str, tmp_path: Path
) -> None:
    assert await refusal(tmp_path / "data", blank_database_url) == "is missing"


async def test_a_server_refuses_to_start_on_an_embedded_database_of_a_newer_release(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    embedded = shutil.copy(migrated_sqlite, tmp_path / "database.sqlite3")
    await execute(f"sqlite+aiosqlite:///{embedded}", NEWER)
    assert await refusal(tmp_path) == "is of a newer release"
