from pathlib import Path

import pytest

from app.db.engine import Database
from tests.app.files.crashes import MortalStore
from tests.app.files.world import World
from tests.fixtures.databases import add_organization


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    org_id = await add_organization(database, "mine")
    return World(database, MortalStore(tmp_path / "store"), org_id, tmp_path)
