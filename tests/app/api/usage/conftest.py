"""The usage service alone, on both databases; who calls stands in the Authorization header."""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Header

from app import error_handlers
from app.api.usage.router import router
from app.api.usage.service import UsageService
from app.auth.authenticator import Caller
from app.db.engine import Database
from app.dependencies import caller, usage_service
from tests.app.usage.entries import NOON, ORG

URL = "http://api.test/v1"


@pytest.fixture
def transport(database: Database) -> httpx.ASGITransport:
    async def named(authorization: Annotated[str, Header()]) -> Caller:
        return Caller(authorization.removeprefix("Bearer "), "key_1")

    app = FastAPI()
    error_handlers.register(app)
    app.include_router(router, prefix="/v1")
    app.dependency_overrides[caller] = named
    app.dependency_overrides[usage_service] = lambda: UsageService(
        database.sessions, clock=lambda: NOON
    )
    return httpx.ASGITransport(app)


@pytest.fixture
async def http(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    """The client of ORG."""
    headers = {"authorization": f"Bearer {ORG}"}
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=headers) as client:
        yield client
