"""A client over HTTP of whatever a resource's tests call `app`."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp


@pytest.fixture
async def http(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client
