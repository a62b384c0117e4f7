"""Rate limits on clocks that are moved by hand, counted in memory and on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from app.ids import new_id
from app.limits.counters import MemoryCounters
from app.limits.failover import FailoverCounters
from app.limits.shared_counters import SharedCounters
from tests.app.limits.world import Clock, Observer, Tenants

Place = Literal["memory", "redis"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def org_id() -> str:
    """An organisation that nobody else has charged, on the shared server either."""
    return new_id("org")


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where charges are counted; asking for it runs a test once in each."""
    chosen: Place = request.param
    return chosen


@pytest.fixture
async def counters(
    place: Place, request: pytest.FixtureRequest, clock: Clock, observer: Observer
) -> AsyncIterator[FailoverCounters]:
    shared = None
    if place == "redis":
        shared = SharedCounters(request.getfixturevalue("redis").url, timeout_seconds=10)
    counters = FailoverCounters(
        shared, MemoryCounters(clock), observer, retry_seconds=5, clock=clock
    )
    yield counters
    await counters.close()
    assert observer.failures == 0


@pytest.fixture
def tenant(org_id: str, counters: FailoverCounters, clock: Clock) -> Tenants:
    return Tenants(org_id, counters, clock)


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A port of loopback that accepts and then says nothing."""
    closed = asyncio.Event()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    closed.set()
    server.close()
    await server.wait_closed()
