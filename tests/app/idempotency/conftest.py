"""A toy resource over two replicas of one database: creates that make a row and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text

from app.db.engine import Database
from app.db.tables import FileRow
from app.idempotency.claim import Claim
from app.idempotency.creates import KeyedCreates
from app.idempotency.request import CreateRequest
from app.ids import new_id
from tests.fixtures.databases import add_organization


class Resource:
    """One replica. A create waits at `gate`, and `begun` tells that it does."""

    def __init__(self, database: Database, org_id: str) -> None:
        self.database = database
        self.org_id = org_id
        self.creates = KeyedCreates(database.sessions)
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    def wait(self, seconds: float) -> None:
        """Let requests from now on wait so long for another."""
        self.creates = KeyedCreates(self.database.sessions, wait_seconds=seconds)

    async def create(
        self, content: str = "a", *, key: str | None = "key", org_id: str | None = None
    ) -> str:
        """Return the id of the row that the request stands for."""
        org = org_id or self.org_id

        async def make(claim: Claim) -> str:
            self.begun.set()
            await self.gate.wait()
            if self.error:
                raise self.error
            return await self._insert(org, content, claim)

        request = CreateRequest.of(org, key, "POST /rows", content)
        return await self.creates.once(request, make, self._find)

    async def rows(self) -> list[str]:
        async with self.database.sessions() as session:
            return list(await session.scalars(select(FileRow.id)))

    async def keys(self) -> int:
        async with self.database.sessions() as session:
            count = await session.scalar(text("SELECT count(*) FROM idempotency_keys"))
        return int(count or 0)

    async def execute(self, statement: str) -> None:
        async with self.database.sessions.begin() as session:
            await session.execute(text(statement))

    async def expire_leases(self) -> None:
        await self.execute("UPDATE idempotency_keys SET claimed_until = 1")

    async def _insert(self, org_id: str, content: str, claim: Claim) -> str:
        row = FileRow(
            id=new_id("file"),
            org_id=org_id,
            filename=content,
            purpose="batch",
            bytes=1,
            sha256="",
            created_at=0,
        )
        async with self.database.sessions.begin() as session:
            session.add(row)
            await claim.record(session, row.id)
        return row.id

    async def _find(self, id: str) -> str | None:
        async with self.database.sessions() as session:
            return await session.scalar(select(FileRow.id).where(FileRow.id == id))


@pytest.fixture
async def mine(database: Database) -> str:
    return await add_organization(database, "mine")


@pytest.fixture
async def theirs(database: Database) -> str:
    return await add_organization(database, "theirs")


@pytest.fixture
async def resource(database: Database, mine: str) -> Resource:
    return Resource(database, mine)


@pytest.fixture
async def replica(database_url: str, mine: str) -> AsyncIterator[Resource]:
    """Another process that shares the database."""
    database = Database(database_url)
    yield Resource(database, mine)
    await database.close()
