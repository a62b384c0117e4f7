"""Two organisations, the batches service and its clients, on both databases."""

from collections.abc import AsyncIterator
from typing import Annotated

import groq
import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI, Header
from starlette.types import Receive, Scope, Send

from app import error_handlers
from app.api.batches.router import router
from app.api.batches.service import BatchesService
from app.auth.authenticator import Caller
from app.db.engine import Database
from app.dependencies import batches_service, caller
from app.settings import BatchSettings
from tests.app.batches.rows import add_file
from tests.fixtures.databases import add_organization

MOST_UNFINISHED = 5
QUOTA = 1 << 30
POOR = "poor"
"""A plan without batches."""


@pytest.fixture
def batches(database: Database) -> BatchesService:
    settings = BatchSettings(active_per_organization=MOST_UNFINISHED)
    return BatchesService(database.sessions, settings, lambda plan: plan != POOR, quota_bytes=QUOTA)


@pytest.fixture
async def mine(database: Database) -> str:
    return await add_organization(database, "mine")


@pytest.fixture
async def theirs(database: Database) -> str:
    return await add_organization(database, "theirs")


@pytest.fixture
async def transport(batches: BatchesService) -> httpx.ASGITransport:
    """The router alone; who calls, with which plan, is what stands in the Authorization header."""

    async def named(authorization: Annotated[str, Header()]) -> Caller:
        org_id, _, plan = authorization.removeprefix("Bearer ").partition("/")
        return Caller(org_id, "key_1", plan or None)

    app = FastAPI()
    error_handlers.register(app)
    app.include_router(router, prefix="/openai/v1")
    app.dependency_overrides[caller] = named
    app.dependency_overrides[batches_service] = lambda: batches

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"body_limit_bytes": 1 << 20}
        await app(scope, receive, send)

    return httpx.ASGITransport(with_state)


@pytest.fixture
async def file(database: Database, mine: str) -> str:
    return await add_file(database, mine)


def client_of(token: str, transport: httpx.ASGITransport) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=transport, base_url="http://api/openai/v1", headers=headers)


@pytest.fixture
async def http(mine: str, transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(mine, transport) as client:
        yield client


@pytest.fixture
async def other(theirs: str, transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(theirs, transport) as client:
        yield client


@pytest.fixture
async def openai_sdk(
    mine: str, transport: httpx.ASGITransport
) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(transport.app))
    async with openai.AsyncOpenAI(
        base_url="http://api/openai/v1",
        api_key=mine,
        http_client=http,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
async def groq_sdk(mine: str, transport: httpx.ASGITransport) -> AsyncIterator[groq.AsyncGroq]:
    http = httpx.AsyncClient(transport=transport)
    async with groq.AsyncGroq(
        base_url="http://api",
        api_key=mine,
        http_client=http,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client
