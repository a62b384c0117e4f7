"""A farm on each database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.db.engine import Database
from tests.app.batches.farm import Farm
from tests.app.batches.processes import Died


@pytest.fixture
async def farm(database: Database, tmp_path: Path) -> Farm:
    return await Farm.open(database, tmp_path)


@pytest.fixture(autouse=True)
async def deaths_are_told_once() -> AsyncIterator[None]:
    """Leave out of the log what asyncio says of tasks whose process died: nobody awaits those."""
    # It stays: such a task is told of when it is collected.
    asyncio.get_running_loop().set_exception_handler(_tell_all_but_deaths)
    with capture_logs():  # writing out as many failures takes longer than the tests
        yield


def _tell_all_but_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, Died):
        loop.default_exception_handler(context)
