"""Adapters of a base model whose engines another pool has: what is done here, and what there."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from adapters_registry.cache import DiskCache
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import RecordingHost
from app.adapters.intake import AdapterIntake
from app.adapters.pins import Pins
from app.adapters.publisher import AdapterPublisher
from app.adapters.service import AdapterService, Version
from app.adapters.withdrawals import Withdrawals
from app.db.tables import IdempotencyKeyRow
from app.errors import ApiError
from app.pools.directory import Pool, PoolDirectory, ServedElsewhere
from tests.app.adapters.world import BASE, World

PIN_SECONDS = 60


class OtherPool:
    """A replica on the same database and store, without the engine."""

    def __init__(self, world: World, cache: DiskCache) -> None:
        sessions = world.database.sessions
        self.registry = AdapterRegistry(cache, {}, wait_seconds=5)
        publisher = AdapterPublisher(sessions, world.store, cache, self.registry)
        self.withdrawals = Withdrawals(publisher)
        hosts: dict[str, RecordingHost] = {}
        self.service = AdapterService(
            sessions,
            AdapterIntake(
                world.store, work_dir=world.room, max_bytes=1, foreign_bases=lambda _: ()
            ),
            publisher,
            self.withdrawals,
            Pins(sessions, self.registry, hosts, per_organization=2),
            {},
            self._no_uploads,
            PoolDirectory([Pool("http://elsewhere", (BASE,))]),
        )

    async def _no_uploads(self, org_id: str, file_id: str) -> str:
        raise AssertionError("a registration that goes elsewhere reads no upload")


@pytest.fixture
async def other(world: World) -> AsyncIterator[OtherPool]:
    async with DiskCache(world.room / "other", world.store, max_bytes=1 << 24) as cache:
        other = OtherPool(world, cache)
        yield other
        await other.withdrawals.close()
        await other.registry.close()


@pytest.fixture
async def version(world: World) -> Version:
    return await world.version(await world.upload())


async def test_a_registration_goes_to_the_engine_and_claims_no_key_here(
    world: World, other: OtherPool
) -> None:
    with pytest.raises(ServedElsewhere) as found:
        await other.service.register(
            world.org_id, name="mine", base_model=BASE, input_file_id="file_1", key="once"
        )
    assert found.value.model == BASE
    async with world.database.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(IdempotencyKeyRow)) == 0


async def test_a_registration_with_a_wrong_name_is_refused_here(
    world: World, other: OtherPool
) -> None:
    with pytest.raises(ApiError) as refused:
        await other.service.register(
            world.org_id, name="Not a name", base_model=BASE, input_file_id="file_1"
        )
    assert refused.value.code == "name_invalid"


@pytest.mark.parametrize(
    "ask",
    [
        lambda service, org, id: service.warm(org, id),
        lambda service, org, id: service.pin(org, id, seconds=PIN_SECONDS),
    ],
    ids=["warm", "pin"],
)
async def test_loading_goes_to_the_engine(
    world: World,
    other: OtherPool,
    version: Version,
    ask: Callable[[AdapterService, str, str], Awaitable[object]],
) -> None:
    with pytest.raises(ServedElsewhere) as found:
        await ask(other.service, world.org_id, version.row.id)
    assert found.value.model == version.row.fine_tuned_model


async def test_what_needs_no_engine_is_done_here(
    world: World, other: OtherPool, version: Version
) -> None:
    service, org_id, id = other.service, world.org_id, version.row.id
    await world.service.pin(org_id, id, seconds=PIN_SECONDS)
    found = await service.get(org_id, id)
    assert isinstance(found, Version)
    assert found.row.id == id
    assert [each.row.id for each in await service.all_of(org_id)] == [id]
    assert (await service.activate(org_id, id)).is_active
    await service.unpin(org_id, id)
    await world.pins.follow()
    assert not world.registry.pins


async def test_a_deletion_here_takes_the_adapter_from_everybody(
    world: World, other: OtherPool, version: Version
) -> None:
    await other.service.delete(world.org_id, version.row.id)
    await other.withdrawals.ended()

    assert await world.artifacts() == []
    with pytest.raises(ApiError) as gone:
        await world.resolves(version.row.fine_tuned_model)
    assert gone.value.status == 404


async def test_a_request_that_runs_in_the_other_pool_outlives_the_deletion(
    world: World, other: OtherPool, version: Version, tmp_path: Path
) -> None:
    resolved = await world.resolver.resolve(world.org_id, version.row.fine_tuned_model)
    assert resolved.version is not None
    async with world.registry.lease(resolved.version) as lease:
        await other.service.delete(world.org_id, version.row.id)
        await other.withdrawals.ended()
        assert lease.adapter.path.is_dir()
        assert world.host.known
