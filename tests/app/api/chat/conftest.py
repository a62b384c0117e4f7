"""The chat resource in an application of its own, on a scripted engine."""

from collections.abc import AsyncIterator

import groq
import httpx
import httpx2
import openai
import pytest
from starlette.types import ASGIApp

from app.api.chat import router as chat
from tests.app.api.application import application
from tests.app.api.chat.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(chat.router, chat=rig.service)


@pytest.fixture
async def groq_client(http: httpx.AsyncClient) -> groq.AsyncGroq:
    return groq.AsyncGroq(
        api_key="k",
        base_url="http://api.test",
        http_client=http,
        max_retries=0,
        _strict_response_validation=True,
    )


@pytest.fixture
async def openai_client(app: ASGIApp) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    async with openai.AsyncOpenAI(
        api_key="k", base_url="http://api.test/openai/v1", http_client=http, max_retries=0
    ) as client:
        yield client
