"""What no row names leaves this replica; what a row names, or what is in use, stays."""

import os
from collections.abc import Iterator

import pytest

from app.adapters.sweeper import Sweeper
from tests.app.adapters.world import World, remove_row
from tests.app.storage.world import Swept


@pytest.fixture
def swept() -> Swept:
    return Swept()


def sweeper(world: World, swept: Swept) -> Sweeper:
    return Sweeper(world.database.sessions, world.cache, world.registry, swept)


def age(world: World) -> None:
    """Make every entry of the disk cache look as if it was used long ago."""
    for path in _entries(world):
        os.utime(path, (0, 0))


def _entries(world: World) -> Iterator[os.PathLike[str]]:
    return (path for path in (world.room / "cache").iterdir() if len(path.name) == 64)


async def test_what_another_replica_deleted_leaves_this_one(world: World, swept: Swept) -> None:
    kept = await world.register(await world.upload(seed=1), "kept")
    gone = await world.register(await world.upload(seed=2), "gone")
    await remove_row(world, gone)

    await sweeper(world, swept).sweep()
    assert len(list(_entries(world))) == 2

    age(world)
    await sweeper(world, swept).sweep()
    (entry,) = _entries(world)
    row = await world.service.get_model(world.org_id, kept)
    assert entry.name == row.digest
    assert [version.digest for version in world.registry.residents()] == [row.digest]
    assert swept.kinds == ["replica"]


async def test_a_deleted_version_on_disk_alone_goes_too(world: World, swept: Swept) -> None:
    gone = await world.register(await world.upload())
    version = (await world.resolver.resolve(world.org_id, gone)).version
    await world.registry.forget("base")
    await remove_row(world, gone)
    age(world)

    await sweeper(world, swept).sweep()

    assert version.digest not in [entry.name for entry in _entries(world)]


async def test_a_stream_on_a_deleted_version_holds_up_no_sweep_and_ends_well(
    world: World, swept: Swept
) -> None:
    gone = await world.register(await world.upload())
    version = (await world.resolver.resolve(world.org_id, gone)).version
    async with world.registry.lease(version) as lease:
        await remove_row(world, gone)
        age(world)
        await sweeper(world, swept).sweep()
        assert lease.adapter.path.is_dir()
        assert world.host.known == {lease.adapter.engine_id: lease.adapter}

    await world.registry.discard(version)
    assert world.host.known == {}
    assert list(_entries(world)) == []
