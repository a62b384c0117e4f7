"""The responses resource in an application of its own, on a scripted engine."""

from collections.abc import AsyncIterator

import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app import dependencies, error_handlers
from app.api.responses import router as responses
from app.auth.authenticator import Caller
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from tests.app.api.responses.stubs import Rig
from tests.app.inference.stubs import ORG

BODY_LIMIT = 256 * 1024


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    api = FastAPI(openapi_url=None)
    error_handlers.register(api)
    api.include_router(responses.router, prefix="/openai/v1")
    api.dependency_overrides[dependencies.caller] = lambda: Caller(ORG, "key_1")
    state = {"responses": rig.service, "body_limit_bytes": BODY_LIMIT}
    observed = ObservabilityMiddleware(api, Metrics())

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await observed(scope, receive, send)

    return with_state


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
