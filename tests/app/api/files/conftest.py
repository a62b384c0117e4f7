"""Two organisations, a directory store, the files service and its clients, on both databases."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

import groq
import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI, Header

from adapters_registry.directory import DirectoryStore
from app import error_handlers
from app.api.files.router import router
from app.api.files.service import FilesService
from app.auth.authenticator import Caller
from app.db.engine import Database
from app.dependencies import caller, files_service
from app.settings import FileSettings, LimitSettings
from tests.fixtures.databases import add_organization

LIMITS = LimitSettings(upload_bytes=6 << 20, batch_file_bytes=1000)
SETTINGS = FileSettings(quota_bytes=16 << 20)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def files(database: Database, store: DirectoryStore) -> FilesService:
    return FilesService(database.sessions, store, LIMITS, SETTINGS, clock=lambda: 1_700_000_000.9)


@pytest.fixture
def leftovers(tmp_path: Path) -> Callable[[], list[Path]]:
    """Tell what the directory store has begun and not yet ended."""
    return lambda: list((tmp_path / "store" / "~incoming").glob("*"))


@pytest.fixture
async def mine(database: Database) -> str:
    return await add_organization(database, "mine")


@pytest.fixture
async def theirs(database: Database) -> str:
    return await add_organization(database, "theirs")


@pytest.fixture
async def transport(files: FilesService) -> httpx.ASGITransport:
    """The router alone; who calls is what the test writes into the Authorization header."""

    async def named(authorization: Annotated[str, Header()]) -> Caller:
        return Caller(org_id=authorization.removeprefix("Bearer "), key_id="key_1")

    app = FastAPI()
    error_handlers.register(app)
    app.include_router(router, prefix="/openai/v1")
    app.dependency_overrides[caller] = named
    app.dependency_overrides[files_service] = lambda: files
    return httpx.ASGITransport(app)


def client_of(org_id: str, transport: httpx.ASGITransport) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {org_id}"}
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
