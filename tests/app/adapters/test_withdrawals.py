"""Withdrawals: begun at once, waited for by nobody, seen to their end."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from adapters_registry.errors import StoreUnavailable
from adapters_registry.testing import MemoryStore
from app.adapters import repository
from app.adapters.publisher import AdapterPublisher
from app.adapters.withdrawals import Withdrawals
from app.db.tables import FineTuningRow
from tests.app.adapters.world import World


@pytest.fixture
async def withdrawals(world: World) -> AsyncIterator[Withdrawals]:
    made = Withdrawals(world.publisher)
    yield made
    await made.close()


async def forgotten(world: World) -> FineTuningRow:
    """Register a version and delete its row only."""
    row = (await world.version(await world.upload())).row
    async with world.database.sessions.begin() as session:
        await repository.remove(session, row.org_id, row.id)
    return row


async def test_a_withdrawn_version_leaves_engine_disk_and_store(
    world: World, withdrawals: Withdrawals
) -> None:
    withdrawals.begin(await forgotten(world))
    await withdrawals.ended()

    assert world.host.known == {}
    assert world.cache.used_bytes == 0
    assert await world.artifacts() == []


async def test_a_withdrawal_waits_for_requests_until_it_is_closed(
    world: World, withdrawals: Withdrawals
) -> None:
    row = await forgotten(world)
    async with world.registry.lease(repository.version_of(row)):
        withdrawals.begin(row)
        await withdrawals.close()

    assert len(await world.artifacts()) == 2


async def test_a_withdrawal_that_fails_is_logged(world: World) -> None:
    store = MemoryStore()
    store.error = StoreUnavailable("down")
    publisher = AdapterPublisher(world.database.sessions, store, world.cache, world.registry)
    failing = Withdrawals(publisher)

    row = await forgotten(world)
    with capture_logs() as logs:
        failing.begin(row)
        await failing.ended()

    assert [log["event"] for log in logs] == ["artifact left to the sweeper"]
