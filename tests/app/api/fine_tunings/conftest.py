"""The fine-tunings and models resources over one replica's real adapters."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Header
from starlette.types import ASGIApp, Receive, Scope, Send

from app import dependencies, error_handlers
from app.api.fine_tunings.router import router as fine_tunings
from app.api.models.router import router as models
from app.api.models.service import ModelsService
from app.auth.authenticator import Caller
from app.db.engine import Database
from tests.app.adapters.world import BASE, World, running


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with running(database, tmp_path) as world:
        yield world


@pytest.fixture
def app(world: World) -> ASGIApp:
    """Both routers alone; who calls is what the test writes into the Authorization header."""

    async def named(authorization: Annotated[str, Header()]) -> Caller:
        return Caller(org_id=authorization.removeprefix("Bearer "), key_id="key_1")

    api = FastAPI(openapi_url=None, redirect_slashes=False)
    error_handlers.register(api)
    for router in (fine_tunings, models):
        api.include_router(router, prefix="/v1")
    api.dependency_overrides[dependencies.caller] = named
    state = {
        "adapters": world.service,
        "models": ModelsService({BASE: world.engine}, {}, world.service, started_at=1),
        "body_limit_bytes": 1 << 16,
    }

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await api(scope, receive, send)

    return with_state


@pytest.fixture
async def http(app: ASGIApp, world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, world.org_id) as client:
        yield client


@pytest.fixture
async def stranger(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, "org_01jh6x76wtemjr74t1fh0faj5t") as client:
        yield client


def client_of(app: ASGIApp, org_id: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {org_id}"}
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)
