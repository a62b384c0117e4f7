"""The chat resource in an application of its own, on a scripted engine."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app import dependencies, error_handlers
from app.api.chat import router as chat
from app.auth.authenticator import Caller
from tests.app.api.chat.stubs import ORG, REQUEST, Rig

BODY_LIMIT = 256 * 1024


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    api = FastAPI(openapi_url=None)
    error_handlers.register(api)
    api.include_router(chat.router, prefix="/openai/v1")
    api.dependency_overrides[dependencies.caller] = lambda: Caller(ORG, "key_1")
    state = {"request_id": REQUEST, "chat": rig.service, "body_limit_bytes": BODY_LIMIT}

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await api(scope, receive, send)

    return with_state


@pytest.fixture
async def http(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client
