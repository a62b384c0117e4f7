"""The responses resource in an application of its own, on a scripted engine."""

from collections.abc import AsyncIterator

import httpx2
import openai
import pytest
from starlette.types import ASGIApp

from app.api.responses import router as responses
from tests.app.api.application import application
from tests.app.api.responses.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(responses.router, responses=rig.service)


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
