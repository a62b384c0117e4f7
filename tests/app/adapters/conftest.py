from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db.engine import Database
from tests.app.adapters.world import World, running


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with running(database, tmp_path) as world:
        yield world
