"""Clients of whatever a resource's tests call `app`."""

from collections.abc import AsyncIterator

import httpx
import httpx2
import openai
import pytest
from starlette.types import ASGIApp


@pytest.fixture
async def http(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, which checks the type of all that it gets."""
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    async with openai.AsyncOpenAI(
        api_key="k",
        base_url="http://api.test/openai/v1",
        http_client=http,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client
