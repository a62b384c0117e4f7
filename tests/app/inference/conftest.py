"""An intake of images for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.app.fetch.world import world
from tests.app.inference.gallery import Gallery


@pytest_asyncio.fixture
async def gallery() -> AsyncIterator[Gallery]:
    async with world() as internet:
        gallery = Gallery(internet, [])
        yield gallery
        for images in gallery.made:
            images.close()
