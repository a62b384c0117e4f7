"""A small internet for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.app.fetch.world import World, world


@pytest_asyncio.fixture
async def internet() -> AsyncIterator[World]:
    async with world() as made:
        yield made
