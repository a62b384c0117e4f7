"""Two organisations, a directory store and the files service, on both databases."""

from pathlib import Path

import pytest

from adapters_registry.directory import DirectoryStore
from app.api.files.service import FilesService
from app.db.engine import Database
from app.db.tables import OrganizationRow
from app.ids import new_id
from app.settings import LimitSettings

LIMITS = LimitSettings(upload_bytes=2 << 20, batch_file_bytes=1000)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def temp_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "uploads"
    directory.mkdir()
    return directory


@pytest.fixture
def files(database: Database, store: DirectoryStore, temp_dir: Path) -> FilesService:
    return FilesService(database.sessions, store, temp_dir, LIMITS, clock=lambda: 1_700_000_000.9)


async def _organization(database: Database, name: str) -> str:
    row = OrganizationRow(id=new_id("org"), name=name, created_at=0)
    async with database.sessions.begin() as session:
        session.add(row)
    return row.id


@pytest.fixture
async def mine(database: Database) -> str:
    return await _organization(database, "mine")


@pytest.fixture
async def theirs(database: Database) -> str:
    return await _organization(database, "theirs")
